"""The fault plan in OpenAI's dialect: each fault once, and its effect on the bill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.gateway.wire import AnswerLost
from tests.gateway.in_process import DURATION_S, Gateway, a_gateway, a_row, lines_of
from tests.gateway.openai_scenes import (
    a_line,
    answers,
    content,
    create,
    ended,
    failures,
    jsonl,
    listed,
    listed_ids,
    names,
    poll,
    send_create,
    send_file,
    some_lines,
    upload,
)

Call = Callable[[Gateway, str, str], httpx.Response]

CALLS: dict[str, Call] = {
    "upload": lambda gateway, _file, _batch: send_file(gateway, jsonl(some_lines(1))),
    "files": lambda gateway, file, _batch: gateway.send("GET", f"/v1/files/{file}"),
    "delete": lambda gateway, file, _batch: gateway.send("DELETE", f"/v1/files/{file}"),
    "create": lambda gateway, file, _batch: send_create(gateway, file),
    "list": lambda gateway, _file, _batch: gateway.send("GET", "/v1/batches"),
    "status": lambda gateway, _file, batch: gateway.send("GET", f"/v1/batches/{batch}"),
    "cancel": lambda gateway, _file, batch: gateway.send("POST", f"/v1/batches/{batch}/cancel"),
}


def effects(gateway: Gateway) -> tuple[int, list[str], list[str]]:
    """What calls leave behind: the number of files, batches by list, statuses of batches."""
    gateway.set_faults({})
    files = gateway.send("GET", "/v1/files").json()["data"]
    batches = listed(gateway)["data"]
    return len(files), [each["id"] for each in batches], [each["status"] for each in batches]


@pytest.mark.parametrize("route", CALLS)
def test_any_route_can_refuse_and_then_nothing_has_happened(tmp_path: Path, route: str) -> None:
    with a_gateway(tmp_path) as gateway:
        batch = create(gateway, some_lines(1))
        before = effects(gateway)
        gateway.set_faults({route: {"refuse": {"429": 1, "503": 1}, "retry_after_s": 1.5}})
        refused = [CALLS[route](gateway, batch["input_file_id"], batch["id"]) for _ in range(2)]

        assert [answer.status_code for answer in refused] == [429, 503]
        assert {answer.headers["retry-after"] for answer in refused} == {"1.5"}
        assert refused[0].json()["error"]["code"] == "rate_limit_exceeded"
        assert effects(gateway) == before
        assert CALLS[route](gateway, batch["input_file_id"], batch["id"]).status_code == 200


@pytest.mark.parametrize("fault", ["accept_then", "lost", "hang"])
@pytest.mark.parametrize("route", ["upload", "create", "delete", "cancel"])
def test_an_answer_can_be_lost_when_the_deed_is_done(tmp_path: Path, route: str, fault: str) -> None:
    """Answered with 500, cut, or never answered: afterwards the effect is there."""
    with a_gateway(tmp_path) as gateway:
        batch = create(gateway, some_lines(1))
        files, batches, _ = effects(gateway)
        gateway.set_faults({route: {fault: {"500": 1} if fault == "accept_then" else 1}})
        if fault == "accept_then":
            assert CALLS[route](gateway, batch["input_file_id"], batch["id"]).status_code == 500
        else:
            with pytest.raises(AnswerLost):
                CALLS[route](gateway, batch["input_file_id"], batch["id"])
        files_after, batches_after, statuses = effects(gateway)

        assert gateway.clock.slept_s == ([0.0] if fault == "lost" else [60.0] if fault == "hang" else [])
        assert files_after == files + {"upload": 1, "delete": -1}.get(route, 0)
        assert len(batches_after) == len(batches) + (1 if route == "create" else 0)
        assert (statuses == ["cancelling"]) == (route == "cancel")


def test_a_create_whose_answer_was_lost_is_found_by_its_mark(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"create": {"accept_then": {"500": 1}}}) as gateway:
        file_id = upload(gateway, some_lines(3))
        assert send_create(gateway, file_id, metadata={"token": "abc"}).status_code == 500
        [found] = listed(gateway)["data"]
        gateway.end()

        assert (found["metadata"], found["input_file_id"]) == ({"token": "abc"}, file_id)
        assert len(answers(gateway, poll(gateway, found["id"]))) == 3


def test_a_late_create_arrives_when_nobody_expects_it(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"create": {"late": 1, "late_s": 30.0}}) as gateway:
        file_id = upload(gateway, some_lines(1))
        with pytest.raises(AnswerLost):
            send_create(gateway, file_id)
        gateway.clock.now_s += 29.5
        assert (listed_ids(gateway), gateway.bill()["creates"]) == ([], 0)
        assert gateway.send("GET", "/admin/batches").json()["batches"] == []
        gateway.clock.now_s += 0.5

        [batch] = listed(gateway)["data"]
        assert (batch["status"], batch["created_at"]) == ("validating", int(gateway.clock.now_s))
        assert gateway.bill()["creates"] == 1


def test_a_late_create_never_arrives_once_its_input_file_is_gone(tmp_path: Path) -> None:
    """The fence: once a delete was answered no batch is made from that file, not even by a delayed create."""
    with a_gateway(tmp_path, {"create": {"late": 1, "late_s": 30.0}}) as gateway:
        file_id = upload(gateway, some_lines(1))
        with pytest.raises(AnswerLost):
            send_create(gateway, file_id)
        gateway.clock.now_s += 29
        gateway.send("DELETE", f"/v1/files/{file_id}")
    with a_gateway(tmp_path) as gateway:
        gateway.end()

        assert listed_ids(gateway) == []
        assert gateway.bill()["creates"] == 0


def test_a_late_inline_create_arrives_too(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"create": {"late": 1, "late_s": 30.0}}) as gateway:
        with pytest.raises(AnswerLost):
            gateway.send("POST", "/v1/batches", json={"requests": [a_row()]})
        assert gateway.send("GET", "/admin/batches").json()["batches"] == []
        gateway.clock.now_s += 30
        [batch] = gateway.send("GET", "/admin/batches").json()["batches"]

        assert gateway.status(batch["id"])["status"] == "NOT_START"


def test_a_list_can_lag_behind_what_a_look_already_shows(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"list": {"lag_s": 30.0}}) as gateway:
        batch_id = create(gateway, some_lines(1))["id"]
        gateway.clock.now_s += 29.5
        assert poll(gateway, batch_id)["status"] == "in_progress"
        assert listed_ids(gateway) == []
        gateway.clock.now_s += 0.5

        assert listed_ids(gateway) == [batch_id]


def test_a_list_finds_a_batch_finalizing_until_its_results_are_written(tmp_path: Path) -> None:
    """A list of a hundred ended batches does not wait for their result files; it starts writing them."""
    with a_gateway(tmp_path) as gateway:
        create(gateway, some_lines(1))
        gateway.end()
        first = listed(gateway)["data"][0]
        gateway.app.state.service.settling.submit(lambda: None).result()
        second = listed(gateway)["data"][0]

        assert (first["status"], first["output_file_id"], first["completed_at"]) == ("finalizing", None, None)
        assert second["status"] == "completed"
        assert len(answers(gateway, second)) == 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [("fail", "invalid_request"), ("token_limit", "token_limit_exceeded"), ("fail_partial", "server_error")],
)
def test_a_batch_can_fail(tmp_path: Path, fault: str, code: str) -> None:
    with a_gateway(tmp_path, {"batch": {fault: 1}}) as gateway:
        batch, sound = ended(gateway, some_lines(4)), ended(gateway, some_lines(4))

        assert (batch["status"], sound["status"]) == ("failed", "completed")
        assert [error["code"] for error in batch["errors"]["data"]] == [code]
        if fault == "fail_partial":
            assert len(answers(gateway, batch)) == 2
        else:
            assert batch["failed_at"] == batch["created_at"] + int(0.1 * DURATION_S)
            assert (batch["output_file_id"], batch["error_file_id"], batch["in_progress_at"]) == (None, None, None)


def test_a_look_can_show_what_is_not_so(tmp_path: Path) -> None:
    faults = {"not_found": 1, "error_body": 1, "code_body": 1, "stale": 1, "unknown": 1, "unknown_word": "paused"}
    with a_gateway(tmp_path, {"status": faults}) as gateway:
        batch_id = create(gateway, some_lines(1))["id"]
        gateway.end()
        looks = [gateway.send("GET", f"/v1/batches/{batch_id}") for _ in range(6)]

        assert [look.status_code for look in looks] == [404, 200, 200, 200, 200, 200]
        assert looks[1].json()["error"]["type"] == "server_error"
        assert looks[2].json()["code"] == 503
        assert [look.json()["status"] for look in looks[3:]] == ["validating", "paused", "completed"]


def test_a_look_can_be_lost(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"status": {"lost": 1}}) as gateway:
        batch_id = create(gateway, some_lines(1))["id"]
        with pytest.raises(AnswerLost):
            poll(gateway, batch_id)

        assert poll(gateway, batch_id)["status"] == "validating"


def test_a_completed_batch_can_hide_its_output_file_at_first(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"status": {"empty_result_url": 2}}) as gateway:
        batch_id = ended(gateway, some_lines(2))["id"]
        [second] = listed(gateway)["data"]
        third = poll(gateway, batch_id)

        assert (second["status"], second["output_file_id"]) == ("completed", None)
        assert second["request_counts"]["completed"] == 2
        assert len(answers(gateway, third)) == 2


def test_counts_can_be_wrong(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"status": {"counts_off_by": -1}}) as gateway:
        assert ended(gateway, some_lines(3))["request_counts"] == {"total": 3, "completed": 2, "failed": 0}


@pytest.mark.parametrize("kind", ["output", "error"])
@pytest.mark.parametrize("fault", ["missing", "duplicate", "foreign_custom_id", "null_custom_id", "not_json"])
def test_lines_of_both_files_can_be_struck(tmp_path: Path, fault: str, kind: str) -> None:
    """Three rows; the first is struck, in the output file or, where every row fails, in the error file."""
    rows = {"fail": {"500": 1.0}} if kind == "error" else {}
    with a_gateway(tmp_path, {"rows": rows, "lines": {fault: 1, "in_order": 1}}) as gateway:
        batch = ended(gateway, some_lines(3))
        lines = content(gateway, batch[f"{kind}_file_id"]).splitlines()

        if fault == "not_json":
            assert not lines[0].startswith(b"{")
            return
        found = [line["custom_id"] for line in lines_of(b"\n".join(lines))]
        assert found[-2:] == ["row-1", "row-2"]
        match fault:
            case "missing":
                assert len(found) == 2
            case "duplicate":
                assert found[:2] == ["row-0", "row-0"]
            case "foreign_custom_id":
                assert found[0].startswith("ffffffff-0-")
            case "null_custom_id":
                assert found[0] is None


def test_lines_of_rows_that_never_ran_can_be_struck(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"batch": {"expire": 1, "done_share": 0.0}, "lines": {"missing": 1}}) as gateway:
        batch = ended(gateway, some_lines(3))

        assert batch["output_file_id"] is None
        assert names(failures(gateway, batch)) == {"row-1", "row-2"}


def test_both_files_can_be_cut_and_only_the_lost_answer_is_excused(tmp_path: Path) -> None:
    faults = {"batch": {"expire": 1, "done_share": 0.5}, "lines": {"cut_last": 1}}
    with a_gateway(tmp_path, faults) as gateway:
        lines = some_lines(4)
        batch = ended(gateway, lines)
        output, errors = content(gateway, batch["output_file_id"]), content(gateway, batch["error_file_id"])
        gateway.set_faults({})
        ended(gateway, lines)
        bill = gateway.bill()

        for cut in (output, errors):
            assert len(lines_of(cut[: cut.rindex(b"\n")])) == 1
            assert not cut.endswith(b"\n")
        assert (bill["paid_twice"], bill["excused"]) == (2, 1)


def test_a_download_can_be_refused_or_cut_and_then_a_second_payment_is_excused(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"download": {"refuse": {"503": 1}, "cut_unannounced": 1}}) as gateway:
        lines = some_lines(3)
        batch = ended(gateway, lines)
        path = f"/v1/files/{batch['output_file_id']}/content"
        assert gateway.send("GET", path).status_code == 503
        cut = gateway.send("GET", path).content
        ended(gateway, lines)
        excused = gateway.bill()["excused"]
        whole = gateway.send("GET", path).content

        assert whole.startswith(cut)
        assert len(cut) == len(whole) // 2
        assert excused == 3
        assert gateway.bill()["excused"] == 0


def test_a_cut_error_file_excuses_nobody(tmp_path: Path) -> None:
    """It holds nothing that was paid for."""
    with a_gateway(tmp_path, {"rows": {"fail": {"500": 1}}, "download": {"cut_unannounced": 1}}) as gateway:
        lines = some_lines(3)
        batch = ended(gateway, lines)
        gateway.send("GET", f"/v1/files/{batch['error_file_id']}/content")
        ended(gateway, lines)

        assert (gateway.bill()["paid_twice"], gateway.bill()["excused"]) == (2, 0)


def test_faults_are_counted_over_both_dialects_and_outlive_a_restart(tmp_path: Path) -> None:
    faults: dict[str, Any] = {"create": {"refuse": {"500": 2}}, "cancel": {"refuse": {"500": 2}}}
    with a_gateway(tmp_path, faults) as gateway:
        file_id = upload(gateway, [a_line()])
        assert send_create(gateway, file_id).status_code == 500
        assert gateway.send("POST", "/v1/batches", json={"requests": [a_row()]}).status_code == 500
        filed, inline = send_create(gateway, file_id).json()["id"], gateway.create([a_row()])
        assert gateway.send("POST", f"/v1/batches/{filed}/cancel").json()["error"]["type"] == "server_error"
    with a_gateway(tmp_path) as gateway:
        refused = gateway.send("POST", f"/v1/batches/{inline}/cancel")

        assert (refused.status_code, refused.json()["error"]["code"]) == (500, 500)
        assert gateway.send("POST", f"/v1/batches/{inline}/cancel").status_code == 200
