"""A batch moves through its states by the clock alone, and a cancel shortens it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.in_process import DURATION_S, START_S, a_gateway, a_row, lines_of, some_rows


@pytest.mark.parametrize(
    ("share", "word", "progress", "completed"),
    [
        (0.0, "NOT_START", "0%", 0),
        (0.09, "NOT_START", "0%", 0),
        (0.10, "QUEUED", "10%", 1),
        (0.24, "QUEUED", "24%", 2),
        (0.25, "IN_PROGRESS", "25%", 2),
        (0.99, "IN_PROGRESS", "99%", 9),
        (1.0, "SUCCESS", "100%", 10),
        (9.0, "SUCCESS", "100%", 10),
    ],
)
def test_a_batch_moves_through_its_states_by_the_clock(
    tmp_path: Path, share: float, word: str, progress: str, completed: int
) -> None:
    with a_gateway(tmp_path) as gateway:
        batch_id = gateway.create(some_rows(10))
        gateway.clock.now_s = START_S + share * DURATION_S
        shown = gateway.status(batch_id)

    assert (shown["status"], shown["progress"], shown["completed_count"]) == (word, progress, completed)
    assert (shown["result_url"] != "") == (word == "SUCCESS")
    assert shown["start_time"] == 0


def test_a_batch_without_duration_has_ended_at_once(tmp_path: Path) -> None:
    with a_gateway(tmp_path, duration_s=0.0) as gateway:
        assert gateway.status(gateway.create([a_row()]))["status"] == "SUCCESS"


def test_a_cancelled_batch_is_canceling_then_ends_with_the_rows_that_ran(tmp_path: Path) -> None:
    """Cancelled at 70% of the time, of which the first quarter is queueing: six of ten rows ran."""
    with a_gateway(tmp_path, cancelled_word="STOPPED") as gateway:
        batch_id = gateway.create(some_rows(10))
        gateway.clock.now_s = START_S + 0.70 * DURATION_S
        answer = gateway.send("POST", f"/v1/batches/{batch_id}/cancel")
        canceling = gateway.status(batch_id)
        results = gateway.results(batch_id)
        ended = gateway.status(batch_id)
        bill = gateway.bill()

    assert answer.status_code == 200
    shown = answer.json()
    assert set(shown) == {
        "batch", "batch_id", "file", "file_id", "task_id", "task_status", "processing_status"
    }  # fmt: skip
    assert (shown["batch_id"], shown["processing_status"]) == (batch_id, "canceling")
    assert (shown["batch"]["status"], shown["batch"]["cancelling_at"]) == ("cancelling", int(START_S + 70))
    assert (canceling["status"], canceling["processing_status"], canceling["result_url"]) == (
        "IN_PROGRESS",
        "canceling",
        "",
    )
    assert (ended["status"], ended["processing_status"]) == ("STOPPED", "ended")
    assert (ended["completed_count"], ended["failed_count"], ended["total_requests"]) == (6, 0, 10)
    assert len(lines_of(results)) == bill["answers"] == 6


def test_a_second_cancel_changes_nothing_and_one_after_the_end_is_refused(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        batch_id = gateway.create(some_rows(10))
        gateway.clock.now_s = START_S + 0.70 * DURATION_S
        first = gateway.send("POST", f"/v1/batches/{batch_id}/cancel").json()
        gateway.clock.now_s += 1
        second = gateway.send("POST", f"/v1/batches/{batch_id}/cancel").json()
        gateway.end()
        third = gateway.send("POST", f"/v1/batches/{batch_id}/cancel")

        assert first == second
        assert third.status_code == 400
        assert gateway.status(batch_id)["completed_count"] == 6


def test_a_batch_cancelled_while_queued_ran_nothing_and_costs_nothing(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        batch_id = gateway.create(some_rows(10))
        gateway.send("POST", f"/v1/batches/{batch_id}/cancel")
        gateway.end()

        assert gateway.status(batch_id)["completed_count"] == 0
        assert gateway.bill()["fees_usd"] == "0.000000000"
