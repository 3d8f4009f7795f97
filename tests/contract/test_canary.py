"""The ledger's side of a canary: until it has passed, nothing but its chunks is sent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.changes import JobMoved
from orchestrator.domain.model import Canary, JobState, Step
from tests.builders import JOB, NOW, a_chunk, a_job
from tests.contract.ledger_harness import LedgerHarness, names

CANARY = "c00000-00000"


def with_canary(harness: LedgerHarness, state: Canary = Canary.WANTED) -> None:
    """Open a job, and add its canary and two more chunks."""
    harness.open(a_job(canary=state))
    harness.add(a_chunk("c00000-00001"), a_chunk("c00000-00002"), a_chunk(CANARY, is_canary=True))


def stop_for_canary(harness: LedgerHarness) -> None:
    job = harness.ledger.job(JOB)
    stopped = replace(job, state=JobState.STOPPED, reason="all failed", decision="canary")
    harness.write(JobMoved(before=job, after=stopped, due_at=NOW))


def test_only_the_canary_is_sent_before_the_verdict(harness: LedgerHarness) -> None:
    """Also where two workers ask at once, and again and again; and nothing else is said to be due."""
    with_canary(harness)

    assert harness.ledger.job(JOB).canary is Canary.OPEN
    assert harness.ledger.totals(JOB).waits_for_canary
    assert names(harness.claim(Step.SUBMIT)) == [CANARY]
    assert harness.claim(Step.SUBMIT) == []
    assert Step.SUBMIT not in harness.ledger.due(now=NOW)


@pytest.mark.parametrize("state", [Canary.NONE, Canary.PASSED])
def test_everything_is_sent_where_there_is_no_canary_to_wait_for(harness: LedgerHarness, state: Canary) -> None:
    with_canary(harness, state)

    assert not harness.ledger.totals(JOB).waits_for_canary
    assert sorted(names(harness.claim(Step.SUBMIT))) == [CANARY, "c00000-00001", "c00000-00002"]


def test_a_canary_holds_up_no_other_job(harness: LedgerHarness) -> None:
    with_canary(harness)
    harness.open(a_job(other := a_job().id.replace("sotu", "other")))  # type: ignore[arg-type]
    harness.add(a_chunk("c00000-00007", job_id=other))  # type: ignore[arg-type]

    assert sorted(names(harness.claim(Step.SUBMIT))) == [CANARY, "c00000-00007"]


def test_until_the_canary_is_planned_one_shard_at_a_time_is(harness: LedgerHarness) -> None:
    """The first shard with requests gives the canary: two planners at once could give two."""
    harness.open(a_job(canary=Canary.WANTED), shards=3)

    assert names(harness.claim(Step.PLAN)) == ["shard 0"]
    assert harness.claim(Step.PLAN) == []

    harness.add(a_chunk(CANARY, is_canary=True))
    assert names(harness.claim(Step.PLAN)) == ["shard 1", "shard 2"]


def test_an_approved_canary_lets_the_rest_go(harness: LedgerHarness) -> None:
    with_canary(harness)
    stop_for_canary(harness)
    harness.admin.resume(JOB, now=NOW)
    none = harness.claim(Step.SUBMIT)
    harness.admin.approve(JOB, now=NOW)

    assert none == []
    assert harness.ledger.job(JOB).canary is Canary.PASSED
    assert len(harness.claim(Step.SUBMIT)) == 3


def test_the_approval_of_something_else_is_no_verdict_on_the_canary(harness: LedgerHarness) -> None:
    with_canary(harness)
    job = harness.ledger.job(JOB)
    stopped = replace(job, state=JobState.STOPPED, reason="cannot be read", decision="another question")
    harness.write(JobMoved(before=job, after=stopped, due_at=NOW))
    harness.admin.approve(JOB, now=NOW)

    assert harness.ledger.job(JOB).canary is Canary.OPEN


def test_a_cancelled_job_waits_for_no_canary(harness: LedgerHarness) -> None:
    """Its status would say that rows are still to be sent."""
    with_canary(harness)
    stop_for_canary(harness)
    before = harness.ledger.totals(JOB).waits_for_canary
    harness.admin.cancel(JOB, now=NOW)

    assert before
    assert not harness.ledger.totals(JOB).waits_for_canary


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_job_opened_again_without_a_canary_waits_for_none_unless_it_needs_a_decision(
    harness: LedgerHarness, *, is_stopped: bool
) -> None:
    """canary_rows = 0 in the job file, run again. A decision is a person's alone."""
    with_canary(harness)
    if is_stopped:
        stop_for_canary(harness)
    harness.admin.open(a_job(canary_rows=0), 1, now=NOW)

    assert harness.ledger.job(JOB).canary is (Canary.OPEN if is_stopped else Canary.NONE)
    assert len(harness.claim(Step.SUBMIT)) == (0 if is_stopped else 3)


@pytest.mark.parametrize(
    ("states", "is_ended"),
    [
        ([], False),
        (["collected"], True),
        (["split", "collected", "failed"], True),
        (["split", "collected", "submitted"], False),
        (["collected", "planned"], False),
        (["unresolved"], False),
    ],
)
def test_a_canary_has_ended_once_all_of_its_chunks_have(
    harness: LedgerHarness, states: list[str], *, is_ended: bool
) -> None:
    """Its halves and its retries are chunks of it."""
    harness.open(a_job(canary=Canary.OPEN))
    harness.add(a_chunk("c00000-00009", state="submitted"))
    if states:
        harness.add(*(a_chunk(f"c00000-0000{n}", state=state, is_canary=True) for n, state in enumerate(states)))

    assert harness.ledger.outlook(JOB).canary_ended is is_ended
    assert [chunk.name for chunk in harness.ledger.canary(JOB)] == [f"c00000-0000{n}" for n in range(len(states))]
