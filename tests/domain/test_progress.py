"""What a job as a whole needs next."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.model import ChunkState, JobState, Step
from orchestrator.domain.progress import Outlook, Totals, next_step
from tests.builders import NOW, a_job, after


def totals(**fields: Any) -> Totals:
    """Return a job of two planned shards, none finished."""
    known = {"shards": 2, "shards_planning": 0, "rows": 20, "settled": 0, "refused": 0}
    return Totals(**{**known, **fields})


def outlook(**fields: Any) -> Outlook:
    """Return a job with something under way, nothing waiting, and shards without their output."""
    known = {"waiting": 0, "waiting_since": None, "moving": True, "finished": False}
    return Outlook(**{**known, **fields})


def test_a_job_without_chunks_has_none_that_is_live_or_unresolved() -> None:
    assert (totals().live_chunks, totals().unresolved_chunks) == (0, 0)


@pytest.mark.parametrize(
    ("facts", "step"),
    [
        ({}, None),
        ({"finished": True, "moving": False}, Step.SEAL),
        # rows wait for company while something else is under way
        ({"waiting": 1, "waiting_since": NOW}, None),
        ({"waiting": 99, "waiting_since": NOW}, None),
        # unless they have waited long enough, are a chunk full, or nothing else will come
        ({"waiting": 100, "waiting_since": NOW}, Step.RETRY),
        ({"waiting": 1, "waiting_since": after(-599)}, None),
        ({"waiting": 1, "waiting_since": after(-600)}, Step.RETRY),
        ({"waiting": 1, "moving": False, "waiting_since": NOW}, Step.RETRY),
        ({"waiting": 1, "moving": False, "finished": True}, Step.RETRY),
        # duplicates get their answers once nothing else will come
        ({"copying": True, "moving": False}, Step.RETRY),
        ({"copying": True}, None),  # more is planned, whose duplicates are answered by the same index
        ({"copying": True, "waiting": 1, "waiting_since": NOW}, None),
        # held chunks and nothing else: a person is waited for
        ({"moving": False}, None),
    ],
)
def test_a_running_job_needs_this_next(facts: dict[str, Any], step: Step | None) -> None:
    job = a_job(chunk_requests_max=100, retry_gather_s=600.0)

    assert next_step(job, outlook(**facts), now=NOW) is step


def test_a_job_being_cancelled_lets_waiting_rows_die_at_once() -> None:
    job = a_job(state=JobState.CANCELLING)

    assert next_step(job, outlook(waiting=1, waiting_since=NOW), now=NOW) is Step.RETRY
    assert next_step(job, outlook(finished=True), now=NOW) is Step.SEAL


def test_live_chunks_are_those_that_may_still_bring_something() -> None:
    found = totals(chunks=dict.fromkeys(ChunkState, 1))

    assert (found.live_chunks, found.unresolved_chunks) == (9, 1)
