"""OpenAI's batches: the object in each state, the two result files, the list, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.gateway.openai_intake import CreateRequest, OpenAIRefused, check_input
from tests.gateway.in_process import DURATION_S, START_S, a_gateway, a_row
from tests.gateway.openai_scenes import (
    ENDPOINT,
    a_line,
    answers,
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

NO_COUNTS = {"total": 0, "completed": 0, "failed": 0}


def test_a_created_batch_is_shown_as_the_vendor_shows_it(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        file_id = upload(gateway, some_lines(3))
        answer = send_create(gateway, file_id, metadata={"token": "abc"})
        shown = answer.json()

        assert shown == {
            "id": shown["id"],
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "model": None,
            "errors": None,
            "input_file_id": file_id,
            "completion_window": "24h",
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": int(START_S),
            "expires_at": int(START_S) + 86_400,
            "in_progress_at": None,
            "finalizing_at": None,
            "completed_at": None,
            "failed_at": None,
            "expired_at": None,
            "cancelling_at": None,
            "cancelled_at": None,
            "request_counts": NO_COUNTS,
            "usage": None,
            "metadata": {"token": "abc"},
        }
        assert poll(gateway, shown["id"]) == shown


def test_a_batch_goes_through_its_states_and_its_times_show_them(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        batch_id = create(gateway, some_lines(10))["id"]
        seen = []
        for share in (0.0, 0.1, 0.5, 0.9, 1.0):
            gateway.clock.now_s = START_S + share * DURATION_S
            shown = poll(gateway, batch_id)
            seen.append((shown["status"], shown["request_counts"]["total"], shown["request_counts"]["completed"]))

        assert seen == [
            ("validating", 0, 0),
            ("in_progress", 10, 0),
            ("in_progress", 10, 5),
            ("finalizing", 10, 10),
            ("completed", 10, 10),
        ]
        times = [shown[f"{name}_at"] - int(START_S) for name in ("in_progress", "finalizing", "completed")]
        assert times == [10, 90, 100]
        assert (shown["model"], shown["error_file_id"], shown["errors"]) == ("gpt-4o-mini", None, None)


def test_an_answer_line_holds_the_answer_and_its_usage_and_the_batch_adds_them_up(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        batch = ended(gateway, some_lines(5))
        lines = answers(gateway, batch)

        assert names(lines) == {f"row-{number}" for number in range(5)}
        assert len({line["id"] for line in lines}) == 5
        for line in lines:
            assert line["error"] is None
            assert line["response"]["status_code"] == 200
            said = line["response"]["body"]["choices"][0]["message"]["content"]
            assert said == f"[simulated] Question {line['custom_id'].removeprefix('row-')}?"
        usages = [line["response"]["body"]["usage"] for line in lines]
        assert batch["usage"] == {
            "input_tokens": sum(usage["prompt_tokens"] for usage in usages),
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": sum(usage["completion_tokens"] for usage in usages),
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": sum(usage["total_tokens"] for usage in usages),
        }
        shown = gateway.send("GET", f"/v1/files/{batch['output_file_id']}").json()
        assert (shown["purpose"], shown["filename"]) == ("batch_output", f"{batch['id']}_output.jsonl")


def test_failed_rows_are_in_the_error_file_with_no_error_of_their_own(tmp_path: Path) -> None:
    """As with the real service: `error` is null, and the failure is a status inside `response`."""
    with a_gateway(tmp_path, {"rows": {"fail": {"500": 2}}}) as gateway:
        batch = ended(gateway, some_lines(5))

        assert batch["request_counts"] == {"total": 5, "completed": 3, "failed": 2}
        assert names(answers(gateway, batch)) == {"row-2", "row-3", "row-4"}
        assert names(failures(gateway, batch)) == {"row-0", "row-1"}
        for line in failures(gateway, batch):
            assert (line["error"], line["response"]["status_code"]) == (None, 500)


def test_a_batch_without_a_success_is_completed_and_has_no_output_file(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"rows": {"fail": {"500": 1.0}}}) as gateway:
        batch = ended(gateway, some_lines(3))

        assert (batch["status"], batch["output_file_id"]) == ("completed", None)
        assert len(failures(gateway, batch)) == 3
        assert gateway.bill()["answers"] == 0


def test_an_expired_batch_keeps_its_answers_and_names_the_others(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"batch": {"expire": 1, "done_share": 0.5}}) as gateway:
        batch = ended(gateway, some_lines(10))
        lines, others = answers(gateway, batch), failures(gateway, batch)

        assert (batch["status"], batch["expired_at"]) == ("expired", int(START_S + DURATION_S))
        assert (batch["completed_at"], batch["finalizing_at"]) == (None, None)
        assert len(lines) == len(others) == 5
        assert names(lines) | names(others) == {f"row-{number}" for number in range(10)}
        assert {(line["response"], line["error"]["code"]) for line in others} == {(None, "batch_expired")}
        assert len({line["id"] for line in others}) == 1  # so an id identifies nothing
        assert gateway.bill()["answers"] == 5


def test_a_cancelled_batch_keeps_its_answers_and_names_the_others(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        batch_id = create(gateway, some_lines(10))["id"]
        gateway.clock.now_s = START_S + 0.5 * DURATION_S
        cancelling = gateway.send("POST", f"/v1/batches/{batch_id}/cancel").json()
        again = gateway.send("POST", f"/v1/batches/{batch_id}/cancel").json()
        gateway.end()
        batch = poll(gateway, batch_id)

        assert cancelling == again
        assert (cancelling["status"], cancelling["cancelling_at"]) == ("cancelling", int(START_S + 50))
        assert (batch["status"], batch["cancelled_at"]) == ("cancelled", int(START_S + 60))
        assert batch["request_counts"] == {"total": 10, "completed": 5, "failed": 0}
        assert len(answers(gateway, batch)) == 5
        assert {line["error"]["code"] for line in failures(gateway, batch)} == {"batch_cancelled"}
        assert gateway.bill()["answers"] == 5


def test_a_batch_cancelled_before_it_was_validated_has_no_files(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        batch_id = create(gateway, [a_line(url="/v1/embeddings")])["id"]
        gateway.send("POST", f"/v1/batches/{batch_id}/cancel")
        gateway.end()
        batch = poll(gateway, batch_id)

        assert (batch["status"], batch["output_file_id"], batch["error_file_id"]) == ("cancelled", None, None)
        assert (batch["request_counts"], batch["in_progress_at"]) == (NO_COUNTS, None)


def test_a_batch_that_has_ended_cannot_be_cancelled(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        batch = ended(gateway, some_lines(1))
        answer = gateway.send("POST", f"/v1/batches/{batch['id']}/cancel")

        assert (answer.status_code, poll(gateway, batch["id"])["status"]) == (409, "completed")


@pytest.mark.parametrize(
    ("lines", "code", "line"),
    [
        (b"", "empty_file", None),
        (b"\n\n", "empty_file", None),
        (jsonl([a_line()]) + b"{not json}\n", "invalid_json_line", 2),
        (b"\n" + jsonl([a_line(), a_line()]), "duplicate_custom_id", 3),
        (jsonl([a_line(url="/v1/embeddings")]), "url_mismatch", 1),
        (jsonl([a_line("a"), a_line("b", body={"model": "gpt-4o", "messages": []})]), "model_mismatch", 2),
        (jsonl([a_line(body={})]), "missing_required_parameter", 1),
        (jsonl([a_line(body={"model": "gpt-4o"})]), "missing_required_parameter", 1),
        (jsonl([a_line(body=[])]), "invalid_request", 1),
        (jsonl([a_line(method="GET")]), "invalid_request", 1),
        (jsonl([a_line("")]), "invalid_request", 1),
        (jsonl([a_line("\ud800")]), "invalid_json_line", 1),
        (jsonl(some_lines(6)), "too_many_tasks", None),
    ],
)
def test_a_bad_input_file_is_a_batch_that_fails_and_says_where(
    tmp_path: Path, lines: bytes, code: str, line: int | None
) -> None:
    """The create is accepted; what is wrong shows when the batch has been validated, and nothing is billed."""
    with a_gateway(tmp_path, requests_max=5) as gateway:
        batch_id = send_create(gateway, send_file(gateway, lines).json()["id"]).json()["id"]
        before = poll(gateway, batch_id)
        gateway.clock.now_s += 0.1 * DURATION_S
        batch = poll(gateway, batch_id)

        assert (before["status"], before["errors"]) == ("validating", None)
        assert (batch["status"], batch["failed_at"]) == ("failed", int(gateway.clock.now_s))
        [error] = batch["errors"]["data"]
        assert (error["code"], error["line"]) == (code, line)
        assert (batch["output_file_id"], batch["error_file_id"], batch["request_counts"]) == (None, None, NO_COUNTS)
        assert gateway.bill()["answers"] == 0


def test_of_very_many_bad_lines_fifty_are_named(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        batch = ended(gateway, [a_line(f"row-{number}", url="/v1/other") for number in range(200)])

        assert [error["line"] for error in batch["errors"]["data"]] == list(range(1, 51))


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"endpoint": "/v1/completions"}, "endpoint"),
        ({"completion_window": "48h"}, "completion_window"),
        ({"input_file_id": "file-unknown"}, "input_file_id"),
        ({"input_file_id": 7}, None),
        ({"metadata": {"key": 7}}, None),
        ({"metadata": {"k" * 65: "value"}}, None),
        ({"metadata": {"key": "v" * 513}}, None),
        ({"metadata": {f"key-{number}": "value" for number in range(17)}}, None),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 60}}, None),
    ],
)
def test_a_bad_create_is_a_400_in_openais_envelope(tmp_path: Path, changes: dict[str, Any], param: str | None) -> None:
    with a_gateway(tmp_path) as gateway:
        answer = send_create(gateway, upload(gateway, some_lines(1)), **changes)

        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        assert listed_ids(gateway) == []


def test_metadata_of_the_largest_size_comes_back_as_it_went(tmp_path: Path) -> None:
    metadata = {f"{number:064}": "v" * 512 for number in range(16)}
    with a_gateway(tmp_path) as gateway:
        created = create(gateway, some_lines(1), metadata=metadata)

        assert created["metadata"] == metadata
        assert listed(gateway)["data"] == [created]


def test_batches_are_listed_newest_first_and_by_pages(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        made = []
        for _ in range(5):
            made.append(create(gateway, some_lines(1))["id"])
            gateway.clock.now_s += 1
        first = listed(gateway, limit=2)
        last = listed(gateway, limit=2, after=made[1])
        newer = create(gateway, some_lines(1))["id"]

        assert listed_ids(gateway) == [newer, *made[::-1]]
        assert [each["id"] for each in first["data"]] == [made[4], made[3]]
        assert (first["object"], first["first_id"], first["last_id"]) == ("list", made[4], made[3])
        assert (first["has_more"], last["has_more"]) == (True, False)
        assert [each["id"] for each in listed(gateway, limit=2, after=made[3])["data"]] == [made[2], made[1]]


def test_an_empty_list_is_a_list(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        gateway.create([a_row()])

        assert listed(gateway) == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def test_a_delete_of_the_input_fails_a_batch_that_is_validating_and_no_later_one(tmp_path: Path) -> None:
    """Until the file is validated, deleting it fails the batch for good (the fence); later it changes nothing."""
    with a_gateway(tmp_path) as gateway:
        fenced = create(gateway, some_lines(2))
        gateway.send("DELETE", f"/v1/files/{fenced['input_file_id']}")
    with a_gateway(tmp_path) as gateway:
        running = create(gateway, some_lines(2))
        gateway.clock.now_s += 0.1 * DURATION_S
        gateway.send("DELETE", f"/v1/files/{running['input_file_id']}")
        gateway.end()

        assert poll(gateway, fenced["id"])["status"] == "failed"
        assert poll(gateway, fenced["id"])["errors"]["data"][0]["code"] == "input_file_not_found"
        assert len(answers(gateway, poll(gateway, running["id"]))) == 2
        assert gateway.bill()["answers"] == 2


def test_a_create_under_way_when_its_input_is_deleted_makes_nothing(tmp_path: Path) -> None:
    """The delete is recorded while the bytes are still there: the create checks the record."""
    with a_gateway(tmp_path) as gateway:
        file_id = upload(gateway, some_lines(1))
        openai = gateway.app.state.openai
        order = CreateRequest(input_file_id=file_id, endpoint=ENDPOINT, completion_window="24h")
        path = openai.store.file_path(file_id)
        checked = check_input(path, endpoint=ENDPOINT, requests_max=1, accepts_duplicates=False)
        batch, extras = openai._new(order, checked, path, START_S)
        sent = path.read_bytes()
        gateway.send("DELETE", f"/v1/files/{file_id}")
        path.write_bytes(sent)
        with pytest.raises(OpenAIRefused, match="No such File object"):
            openai._add(order, path, batch, extras)

        assert listed_ids(gateway) == list((tmp_path / "requests").iterdir()) == []


def test_output_is_kept_as_long_as_was_asked(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        batch = ended(gateway, some_lines(1), output_expires_after={"anchor": "created_at", "seconds": 3_600})
        gateway.clock.now_s = START_S + DURATION_S + 3_599
        assert len(answers(gateway, batch)) == 1
        gateway.clock.now_s += 1

        assert gateway.send("GET", f"/v1/files/{batch['output_file_id']}/content").status_code == 404


def test_each_dialects_batches_answer_in_its_own_shape(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        inline, filed = gateway.create([a_row()]), create(gateway, some_lines(1))["id"]

        assert gateway.status(inline)["status"] == "NOT_START"
        assert poll(gateway, filed)["object"] == "batch"
        assert listed_ids(gateway) == [filed]
        assert "task_status" in gateway.send("POST", f"/v1/batches/{inline}/cancel").json()
        assert gateway.send("POST", f"/v1/batches/{filed}/cancel").json()["status"] == "cancelling"
        dialects = {each["id"]: each["dialect"] for each in gateway.send("GET", "/admin/batches").json()["batches"]}
        assert dialects == {inline: "onerouter", filed: "openai"}


def test_an_unknown_batch_is_a_404_in_openais_envelope(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        for method, path in (("GET", ""), ("POST", "/cancel")):
            answer = gateway.send(method, f"/v1/batches/batch_{'0' * 32}{path}")
            assert answer.status_code == 404
            assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_row_run_in_two_batches_is_paid_twice_whatever_the_dialects(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        lines = some_lines(3)
        ended(gateway, lines)
        create(gateway, lines[:2])  # it is not polled after its end: the bill settles it
        gateway.end()
        assert gateway.bill()["paid_twice"] == 2
        body = jsonl([lines[2]]).decode().partition('"body": ')[2].strip()[:-1]
        inline = f'{{"requests": [{{"custom_id": "row-2", "params": {body}}}]}}'
        gateway.send("POST", "/v1/batches", content=inline.encode())
        gateway.end()
        bill = gateway.bill()

        assert (bill["creates"], bill["batches"], bill["answers"]) == (3, 3, 6)
        assert (bill["paid_twice"], bill["excused"], bill["same_custom_id"]) == (3, 0, 0)
