"""What the fault plan does to rows and result lines; a damaged line is billed, a failed row is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.gateway.settings import LineShape
from tests.gateway.in_process import a_gateway, a_row, lines_of, some_rows

ALL = 1.0


def content_of(line: dict[str, Any]) -> str:
    return str(line["response"]["body"]["choices"][0]["message"]["content"])


def damaged(tmp_path: Path, faults: dict[str, Any], count: int = 1, **settings: Any) -> bytes:
    """Return a result file under [lines] `faults`, after making sure that every row of it was billed."""
    with a_gateway(tmp_path, {"lines": faults}, **settings) as gateway:
        results = gateway.run(some_rows(count))
        assert gateway.bill()["answers"] == count
    return results


def test_rows_fail_the_first_time_and_succeed_the_second(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"rows": {"fail": {"429": 1, "500": 2}}}) as gateway:
        batch_id = gateway.create(some_rows(5))
        lines = lines_of(gateway.results(batch_id))
        shown = gateway.status(batch_id)
        again = lines_of(gateway.run(some_rows(5)))
        bill = gateway.bill()

    assert sorted((line["custom_id"], line["response"]["status_code"]) for line in lines) == [
        ("row-0", 429), ("row-1", 500), ("row-2", 500), ("row-3", 200), ("row-4", 200)
    ]  # fmt: skip
    assert (shown["status"], shown["completed_count"], shown["failed_count"]) == ("SUCCESS", 2, 3)
    assert {line["response"]["status_code"] for line in again} == {200}
    assert (bill["answers"], bill["paid_twice"]) == (2 + 5, 2)


def test_rows_can_fail_for_ever_or_a_number_of_times(tmp_path: Path) -> None:
    for times, statuses in ((0, [400, 400, 400, 400]), (2, [400, 400, 200, 200])):
        with a_gateway(tmp_path / str(times), {"rows": {"fail": {"400": ALL}, "times": times}}) as gateway:
            seen = [lines_of(gateway.run([a_row()]))[0]["response"]["status_code"] for _ in range(4)]

        assert seen == statuses


def test_a_share_of_rows_fails_by_custom_id(tmp_path: Path) -> None:
    """The same rows fail whatever batch they are in and whatever other rows it has."""
    with a_gateway(tmp_path, {"rows": {"fail": {"500": 0.3}, "times": 0}}) as gateway:
        together = lines_of(gateway.run(some_rows(100)))
        apart = lines_of(gateway.run(some_rows(100)[50:]))
    failed = {line["custom_id"] for line in together if line["response"]["status_code"] == 500}

    assert 15 < len(failed) < 45
    assert {line["custom_id"] for line in apart if line["response"]["status_code"] == 500} == failed & {
        f"row-{number}" for number in range(50, 100)
    }


def test_the_content_filter_refuses_a_row_every_time_and_unbilled(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"rows": {"filtered": ALL}}) as gateway:
        gateway.run([a_row()])
        [line] = lines_of(gateway.run([a_row()]))

        assert line["response"]["status_code"] == 400
        assert line["response"]["body"]["error"]["code"] == "content_filter"
        assert gateway.bill()["answers"] == 0


def test_failed_rows_can_leave_no_line(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"rows": {"fail": {"500": 2}, "no_line": True}}) as gateway:
        assert len(lines_of(gateway.run(some_rows(5)))) == 3


def test_lines_can_be_missing(tmp_path: Path) -> None:
    kept = {line["custom_id"] for line in lines_of(damaged(tmp_path, {"missing": 2}, count=5))}

    assert kept == {"row-2", "row-3", "row-4"}


@pytest.mark.parametrize("shape", list(LineShape))
def test_a_custom_id_can_be_null_or_foreign(tmp_path: Path, shape: LineShape) -> None:
    [null] = lines_of(damaged(tmp_path / "null", {"null_custom_id": ALL}, line_shape=shape))
    [foreign] = lines_of(damaged(tmp_path / "foreign", {"foreign_custom_id": ALL}, line_shape=shape))

    assert null["custom_id"] is None
    assert foreign["custom_id"].startswith("ffffffff-0-")


@pytest.mark.parametrize("shape", list(LineShape))
@pytest.mark.parametrize("fault", ["not_json", "invalid_utf8", "nan", "huge_number", "deep_nesting"])
def test_a_damaged_line_is_one_line_that_a_strict_reader_refuses(tmp_path: Path, fault: str, shape: LineShape) -> None:
    [line, rest] = damaged(tmp_path, {fault: ALL}, line_shape=shape).split(b"\n")

    assert rest == b""
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError, RecursionError)):
        msgspec.json.decode(line)
    if fault == "invalid_utf8":
        with pytest.raises(UnicodeDecodeError):
            line.decode()
    else:
        line.decode()


def test_an_answer_can_be_empty(tmp_path: Path) -> None:
    [line] = lines_of(damaged(tmp_path, {"empty_content": ALL}))

    assert content_of(line) == ""


def test_lines_can_come_twice_the_same_or_differing(tmp_path: Path) -> None:
    same = lines_of(damaged(tmp_path / "same", {"duplicate": ALL}))
    first, second = lines_of(damaged(tmp_path / "differing", {"duplicate_differing": ALL}))

    assert len(same) == 2
    assert same[0] == same[1]
    assert first["custom_id"] == second["custom_id"]
    assert content_of(first) != content_of(second)


def test_a_raw_line_separator_can_stand_inside_a_string(tmp_path: Path) -> None:
    results = damaged(tmp_path, {"line_separator": ALL})

    assert results.count(b"\n") == 1
    assert len(results.decode().splitlines()) > 1
    assert "\u2028" in content_of(json.loads(results))


def test_files_can_have_a_bom_crlf_and_blank_lines(tmp_path: Path) -> None:
    results = damaged(tmp_path, {"bom": 1, "crlf": 1, "blank_line": 1}, count=3)

    assert results.startswith(b"\xef\xbb\xbf")
    assert results.count(b"\r\n") == results.count(b"\n") == 4
    lines = results.removeprefix(b"\xef\xbb\xbf").split(b"\r\n")
    assert lines.count(b"") == 1 + 1  # the blank one, and the end of the file
    assert {json.loads(line)["custom_id"] for line in lines if line} == {"row-0", "row-1", "row-2"}


def test_a_file_can_be_in_the_order_of_the_rows(tmp_path: Path) -> None:
    order = [line["custom_id"] for line in lines_of(damaged(tmp_path, {"in_order": 1}, count=20))]

    assert order == [f"row-{number}" for number in range(20)]


@pytest.mark.parametrize("shape", list(LineShape))
def test_the_last_line_can_be_cut(tmp_path: Path, shape: LineShape) -> None:
    results = damaged(tmp_path, {"cut_last": 1, "in_order": 1}, count=3, line_shape=shape)

    assert results.count(b"\n") == 2
    assert [line["custom_id"] for line in lines_of(results[: results.rindex(b"\n")])] == ["row-0", "row-1"]
    with pytest.raises(json.JSONDecodeError):
        json.loads(results.rpartition(b"\n")[2])


def test_the_last_line_can_be_cut_inside_a_character(tmp_path: Path) -> None:
    results = damaged(tmp_path, {"cut_in_character": 1}, count=3)

    with pytest.raises(UnicodeDecodeError, match="unexpected end of data"):
        results.decode()
    assert len(lines_of(results[: results.rindex(b"\n")])) == 2


def test_damage_strikes_a_custom_id_once_unless_told_otherwise(tmp_path: Path) -> None:
    with a_gateway(tmp_path / "once", {"lines": {"missing": ALL}}) as gateway:
        assert [len(lines_of(gateway.run([a_row()]))) for _ in range(3)] == [0, 1, 1]
    with a_gateway(tmp_path / "always", {"lines": {"missing": ALL, "times": 0}}) as gateway:
        assert [len(lines_of(gateway.run([a_row()]))) for _ in range(3)] == [0, 0, 0]


def test_file_faults_are_counted_over_the_batches_of_the_plan(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {}) as gateway:
        gateway.run([a_row()])
        gateway.set_faults({"lines": {"bom": 1}})
        assert [gateway.run([a_row()]).startswith(b"\xef\xbb\xbf") for _ in range(2)] == [True, False]
        gateway.set_faults({"lines": {"bom": 1}})
        assert gateway.run([a_row()]).startswith(b"\xef\xbb\xbf")
