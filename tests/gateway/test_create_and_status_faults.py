"""What the fault plan does to creates, polls and whole batches, as a client in process sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.gateway.wire import AnswerLost
from tests.gateway.in_process import Gateway, a_gateway, a_row, lines_of, some_rows


def create(gateway: Gateway) -> int:
    return gateway.send("POST", "/v1/batches", json={"requests": some_rows(2)}).status_code


def poll(gateway: Gateway, batch_id: str) -> int:
    return gateway.send("GET", f"/v1/batches/{batch_id}").status_code


@pytest.mark.parametrize("status", [401, 402, 408, 413, 429, 500, 502, 503])
def test_a_refused_create_made_nothing(tmp_path: Path, status: int) -> None:
    with a_gateway(tmp_path, {"create": {"refuse": {str(status): 2}}}) as gateway:
        answer = gateway.send("POST", "/v1/batches", json={"requests": some_rows(2)})

        assert answer.json()["error"]["code"] == answer.status_code == status
        assert "retry-after" not in answer.headers
        assert gateway.bill()["creates"] == 0
        assert [create(gateway), create(gateway)] == [status, 200]
        assert gateway.bill()["creates"] == 1
    assert len(list((tmp_path / "requests").iterdir())) == 1


def test_a_refusal_can_say_when_to_come_back(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"create": {"refuse": {"429": 1}, "retry_after_s": 1.5}}) as gateway:
        answer = gateway.send("POST", "/v1/batches", json={"requests": some_rows(2)})

    assert answer.headers["retry-after"] == "1.5"


@pytest.mark.parametrize("status", [408, 409, 500, 502, 504])
def test_a_create_answered_with_an_error_after_the_effect_made_a_batch(tmp_path: Path, status: int) -> None:
    with a_gateway(tmp_path, {"create": {"accept_then": {str(status): 1}}}) as gateway:
        assert [create(gateway), create(gateway)] == [status, 200]
        assert gateway.bill()["creates"] == 2


def test_a_lost_answer_to_a_create_leaves_a_batch_behind(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"create": {"lost": 1}}) as gateway:
        with pytest.raises(AnswerLost):
            create(gateway)
        gateway.end()
        [listed] = gateway.send("GET", "/admin/batches").json()["batches"]

        assert (listed["state"], listed["total"]) == ("SUCCESS", 2)
        assert (listed["first_custom_id"], listed["last_custom_id"]) == ("row-0", "row-1")
        assert create(gateway) == 200
        assert gateway.bill()["answers"] == 2


def test_a_hanging_create_is_cut_after_its_time(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"create": {"hang": 1, "hang_s": 45.0}}) as gateway:
        with pytest.raises(AnswerLost):
            create(gateway)

        assert gateway.clock.slept_s == [45.0]
        assert gateway.bill()["creates"] == 1


@pytest.mark.parametrize("table", ["create", "status"])
def test_an_error_can_come_inside_a_200(tmp_path: Path, table: str) -> None:
    with a_gateway(tmp_path) as gateway:
        batch_id = gateway.create(some_rows(2))
        gateway.set_faults({table: {"error_body": 1, "code_body": 1, "body_code": 429}})
        method, path = ("POST", "/v1/batches") if table == "create" else ("GET", f"/v1/batches/{batch_id}")
        answers = [gateway.send(method, path, json={"requests": some_rows(2)}) for _ in range(3)]

        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert answers[0].json()["error"]["code"] == 429
        assert answers[1].json() == {"code": 429, "message": "simulated fault: code_body"}
        assert answers[2].json()["batch_id"]
        assert gateway.bill()["creates"] == (2 if table == "create" else 1)


def test_counted_faults_are_used_up_in_the_order_of_the_guide(tmp_path: Path) -> None:
    plan = {"create": {"lost": 1, "accept_then": {"500": 1}, "refuse": {"429": 2, "503": 1}}}
    with a_gateway(tmp_path, plan) as gateway:
        assert [create(gateway) for _ in range(4)] == [429, 429, 503, 500]
        with pytest.raises(AnswerLost):
            create(gateway)
        assert create(gateway) == 200


def test_a_share_strikes_the_same_creates_under_the_same_seed(tmp_path: Path) -> None:
    struck = []
    for number, seed in enumerate((1, 1, 2)):
        with a_gateway(tmp_path / str(number), {"seed": seed, "create": {"refuse": {"503": 0.5}}}) as gateway:
            struck.append([create(gateway) for _ in range(30)])

    assert struck[0] == struck[1] != struck[2]
    assert set(struck[0]) == {200, 503}


def test_a_bad_create_uses_up_no_fault(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"create": {"refuse": {"429": 1}}}) as gateway:
        assert gateway.send("POST", "/v1/batches", content=b"{}").status_code == 400
        assert create(gateway) == 429


def test_polls_can_be_refused_before_they_work(tmp_path: Path) -> None:
    plan = {"status": {"not_found": 2, "refuse": {"429": 1, "502": 1}, "retry_after_s": 3}}
    with a_gateway(tmp_path, plan) as gateway:
        batch_id = gateway.create(some_rows(2))
        answers = [gateway.send("GET", f"/v1/batches/{batch_id}") for _ in range(5)]

        assert [answer.status_code for answer in answers] == [404, 404, 429, 502, 200]
        assert answers[0].json()["error"]["code"] == 404
        assert answers[2].headers["retry-after"] == "3"
        # The counts are each batch's own.
        assert poll(gateway, gateway.create(some_rows(2))) == 404


def test_the_answer_to_a_poll_can_be_lost(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"status": {"lost": 1}}) as gateway:
        batch_id = gateway.create(some_rows(2))
        with pytest.raises(AnswerLost):
            poll(gateway, batch_id)
        assert poll(gateway, batch_id) == 200


def test_polls_can_show_the_past_or_an_unknown_word(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"status": {"stale": 2, "unknown": 1, "unknown_word": "THINKING"}}) as gateway:
        batch_id = gateway.create(some_rows(2))
        gateway.end()
        shown = [gateway.status(batch_id) for _ in range(4)]

    assert [each["status"] for each in shown] == ["NOT_START", "NOT_START", "THINKING", "SUCCESS"]
    assert [each["result_url"] == "" for each in shown] == [True, True, True, False]


def test_the_result_url_can_be_missing_for_a_while_or_for_ever(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"status": {"empty_result_url": 2}}) as gateway:
        batch_id = gateway.create(some_rows(2))
        gateway.status(batch_id)
        gateway.end()
        shown = [gateway.status(batch_id) for _ in range(3)]
        gateway.set_faults({"status": {"empty_result_url": 1.0}})
        later = [gateway.status(batch_id) for _ in range(5)]

    assert [(each["status"], each["result_url"] == "") for each in shown] == [
        ("SUCCESS", True),
        ("SUCCESS", True),
        ("SUCCESS", False),
    ]
    assert all(each["result_url"] == "" for each in later)


def test_counts_can_be_wrong(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"status": {"counts_off_by": -1}}) as gateway:
        batch_id = gateway.create(some_rows(2))
        gateway.end()

        assert gateway.status(batch_id)["completed_count"] == 1


@pytest.mark.parametrize(
    ("faults", "word", "results", "answers"),
    [
        ({"fail": 1}, "FAILURE", None, 0),
        ({"fail_partial": 1, "done_share": 0.3}, "FAILURE", 3, 3),
        ({"expire": 1}, "EXPIRED", 5, 5),
        ({"expire": 1, "expired_word": "TIMEOUT", "expired_lines": True}, "TIMEOUT", 10, 5),
    ],
)
def test_a_whole_batch_can_end_badly(
    tmp_path: Path, faults: dict[str, Any], word: str, results: int | None, answers: int
) -> None:
    """Rows that never ran are not billed; the next batch is sound again."""
    with a_gateway(tmp_path, {"batch": faults}) as gateway:
        batch_id = gateway.create(some_rows(10))
        gateway.end()
        shown = gateway.status(batch_id)

        assert (shown["status"], shown["progress"], shown["completed_count"]) == (word, "100%", answers)
        assert shown["fail_reason"] != ""
        assert (shown["result_url"] == "") == (results is None)
        if results is not None:
            assert len(lines_of(gateway.results(batch_id))) == results
        assert gateway.bill()["answers"] == answers
        sound = gateway.create(some_rows(10))
        gateway.end()
        assert gateway.status(sound)["status"] == "SUCCESS"


def test_a_batch_keeps_the_fate_it_was_created_with(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"batch": {"fail": 1}, "rows": {"fail": {"500": 1.0}}}) as gateway:
        failing = gateway.create([a_row()])
        troubled = gateway.create([a_row()])
        gateway.set_faults({})
        gateway.end()

        assert gateway.status(failing)["status"] == "FAILURE"
        assert gateway.status(troubled)["failed_count"] == 1
