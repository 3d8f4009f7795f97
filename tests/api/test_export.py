"""A job's rows in one file: Parquet, CSV, JSON lines; whole, in part, or the answers alone."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import orchestrator
from orchestrator import ConfigError, JobHandle, JobInterrupted, JobNotFinished
from orchestrator.api.table_files import json_lines, write_table
from orchestrator.cli.main import app
from orchestrator.testing import Failure, FakeProvider, fake_provider

ROWS = 6
FAILED = 3
FORMULAS = ["=1+1", "+cmd", "-1+1", "@sum(a)", "\t=1", "\r=1", "\uff1d1+1"]
TEXTS = ["plain", "-5", "+3.5e-7", "1,000", 'say "so",\nand go', "", None]


def answer(body: dict[str, Any]) -> Any:
    text = body["messages"][0]["content"]
    return Failure() if text == f"row {FAILED}" else f"answer to {text}"


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProvider]:
    with fake_provider(answer) as found:
        yield found


@pytest.fixture(scope="module")
def handle(fake: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> JobHandle:
    """Return a job that has ended, with one failed row."""
    work = tmp_path_factory.mktemp("work")
    table = pa.table({"text": [f"row {row}" for row in range(ROWS)], "number": pa.array([1, None, 3, 4, 5, 6])})
    result = orchestrator.run(table, prompt="{text}", model="any", work=work, **fake.options)
    return orchestrator.open_job(result.job_id, work=work)


def exported(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path)
    if path.suffix == ".jsonl":
        return pa.Table.from_pylist([json.loads(line) for line in path.read_text().splitlines()])
    return pa.Table.from_pylist(list(csv.DictReader(io.StringIO(path.read_text(), newline=""))))


@pytest.mark.parametrize("name", ["answers.parquet", "answers.csv", "answers.jsonl"])
def test_the_rows_of_the_output_are_in_one_file_in_order(handle: JobHandle, tmp_path: Path, name: str) -> None:
    count = handle.export(tmp_path / name)

    found = exported(tmp_path / name)
    assert count == found.num_rows == ROWS
    assert found["text"].to_pylist() == [f"row {row}" for row in range(ROWS)]
    assert found.column_names == handle.results().schema().names


def test_rows_and_columns_can_be_chosen(handle: JobHandle, tmp_path: Path) -> None:
    handle.export(tmp_path / "a.jsonl", kind="failed", columns=["llm_error_code", "text"])
    handle.export(tmp_path / "b.jsonl", kind=["failed", "succeeded"], columns=["text"])

    assert (tmp_path / "a.jsonl").read_text() == '{"llm_error_code":"content_filter","text":"row 3"}\n'
    assert exported(tmp_path / "b.jsonl").num_rows == ROWS
    with pytest.raises(
        ConfigError, match=r"no column 'txt' in the output; did you mean text\? There are: text, number"
    ):
        handle.export(tmp_path / "c.jsonl", columns=["txt"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl"]


def test_a_file_that_is_there_is_replaced_only_where_that_is_asked_for(handle: JobHandle, tmp_path: Path) -> None:
    (tmp_path / "answers.csv").write_text("mine")

    with pytest.raises(ConfigError, match=r"answers\.csv exists: name another file"):
        handle.export(tmp_path / "answers.csv")
    assert (tmp_path / "answers.csv").read_text() == "mine"
    assert handle.export(tmp_path / "answers.csv", force=True) == ROWS
    assert [path.name for path in tmp_path.iterdir()] == ["answers.csv"]


@pytest.mark.parametrize("name", ["answers", "answers.txt", "answers.xlsx"])
def test_a_format_that_is_not_known_is_refused(handle: JobHandle, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"name the file \.parquet, \.csv or \.jsonl"):
        handle.export(tmp_path / name)


def test_a_folder_is_no_file(handle: JobHandle, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a folder: name a file in it, such as .*/answers\.csv"):
        handle.export(tmp_path)


def test_a_file_that_cannot_be_written_to_its_end_does_not_appear(handle: JobHandle, tmp_path: Path) -> None:
    part = next(Path(handle.results().path).glob("part-*.parquet"))
    content = part.read_bytes()
    try:
        part.write_bytes(content[:20] + b"\xff" * 200 + content[220:])
        with pytest.raises(orchestrator.OrchestratorError):
            handle.export(tmp_path / "answers.csv")
    finally:
        part.write_bytes(content)
    assert not list(tmp_path.iterdir())


def as_csv(table: pa.Table, **options: Any) -> list[list[str]]:
    file = io.BytesIO()
    write_table(file, "csv", table.schema, iter(table.to_batches()), **options)
    return list(csv.reader(io.StringIO(file.getvalue().decode(), newline="")))


def test_no_text_in_a_csv_file_is_a_formula() -> None:
    """Rule: an apostrophe in front, as OWASP has it; numbers and all other texts are as they are."""
    table = pa.table({"=head": pa.array(FORMULAS + TEXTS, pa.string())})

    [head, *rows] = as_csv(table)

    assert head == ["'=head"]
    assert [row[0] if row else "" for row in rows] == [f"'{text}" for text in FORMULAS] + [text or "" for text in TEXTS]
    assert [row[0] for row in as_csv(table, exact_text=True)[: len(FORMULAS) + 1]] == ["=head", *FORMULAS]


def test_values_of_every_kind_have_a_form_in_json_and_csv() -> None:
    table = pa.table(
        {
            "amount": pa.array([Decimal("0.000000001")], pa.decimal128(18, 9)),
            "big": pa.array([2**64 - 1], pa.uint64()),
            "bytes": [b"\x00\xff"],
            "list": pa.array([[{"x": 1, "y": b"a"}]]),
            "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
            "kind": pa.array(["a"]).dictionary_encode(),
            "moment": pa.array([1_700_000_000_123_456_789], pa.timestamp("ns", "UTC")),
            "nan": [float("nan")],
        }
    )

    [row] = [json.loads(line) for line in json_lines(table.to_batches()[0]).splitlines()]
    [head, cells] = as_csv(table)

    assert row["amount"] == "0.000000001"
    assert (row["big"], row["bytes"], row["list"], row["map"]) == (
        2**64 - 1,
        "AP8=",
        [{"x": 1, "y": "YQ=="}],
        [["k", 1]],
    )
    assert (row["kind"], row["nan"]) == ("a", None)
    assert row["moment"].endswith("20.123456789+00:00")
    written = dict(zip(head, cells, strict=True))
    assert (written["amount"], written["list"], written["kind"]) == ("0.000000001", '[{"x":1,"y":"YQ=="}]', "a")
    assert written["moment"].endswith("20.123456789Z")


def test_a_job_under_way_gives_the_rows_that_are_answered_so_far(tmp_path: Path) -> None:
    """Each with the columns of its row; the others are left out, and nothing of the job changes."""
    stop, asked = threading.Event(), list[str]()

    def stopping(body: dict[str, Any]) -> Any:
        asked.append(body["messages"][0]["content"])
        if len(asked) == 2:
            stop.set()
        return answer(body)

    with fake_provider(stopping) as fake:
        job = orchestrator.Job(
            dataset=pa.table({"text": [f"row {row}" for row in range(ROWS)], "id": list("abcdef")}),
            prompt="{text}",
            model="any",
            work=tmp_path / "work",
            policy={"chunk_requests_max": 1, "batches_in_flight_max": 1},
            **fake.options,
        )
        with pytest.raises(JobInterrupted):
            orchestrator.run(job, stop=stop)
        [handle] = orchestrator.jobs(work=tmp_path / "work")
        with pytest.raises(JobNotFinished, match="--partial"):
            handle.export(tmp_path / "answers.csv")

        count = handle.export(tmp_path / "answers.parquet", partial=True)
        found = pq.read_table(tmp_path / "answers.parquet")
        assert 0 < count == found.num_rows == handle.status().totals.settled < ROWS
        assert found["id"].to_pylist() == list("abcdef")[:count]
        assert found["llm_response"].to_pylist() == [f"answer to row {row}" for row in range(count)]


def command(handle: JobHandle, *arguments: str | Path) -> Any:
    [name, *rest] = map(str, arguments)
    return CliRunner().invoke(app, [name, handle.job_id, "--work", handle.work, *rest])


def test_the_command_writes_the_file_and_says_how_many_rows(handle: JobHandle, tmp_path: Path) -> None:
    done = command(handle, "export", "-o", tmp_path / "a.csv", "--rows", "failed", "--columns", "text, llm_status")

    assert done.stdout == f"{tmp_path / 'a.csv'}: 1 row\n"
    assert (tmp_path / "a.csv").read_text() == '"text","llm_status"\n"row 3","failed"\n'


def test_results_that_are_not_for_a_terminal_are_json_lines_and_nothing_else(handle: JobHandle) -> None:
    done = command(handle, "results")

    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == [f"row {row}" for row in range(ROWS)]
    few = command(handle, "results", "--limit", "2", "--columns", "number")
    assert few.stdout == '{"number":1}\n{"number":null}\n'
