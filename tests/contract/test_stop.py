"""A stop that a step reports: taken whatever else has moved, and never at the cost of what the step has to record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.changes import ChunkMoved, JobMoved
from orchestrator.domain.errors import LedgerError
from orchestrator.domain.model import Job, JobState, Step
from tests.builders import JOB, NOW, a_chunk, after
from tests.contract.ledger_harness import LedgerHarness


def stopped(job: Job, reason: str, decision: str = "") -> JobMoved:
    after = replace(job, state=JobState.STOPPED, reason=reason, decision=decision)
    return JobMoved(before=job, after=after, due_at=NOW)


def test_a_stop_decided_before_a_review_moved_the_job_is_taken_with_all_that_comes_with_it(
    harness: LedgerHarness,
) -> None:
    """A refused create must be on record even where the job was reviewed meanwhile."""
    harness.open()
    chunk = a_chunk()
    harness.add(chunk)
    chunk, job = harness.ledger.chunk(chunk.id), harness.ledger.job(JOB)
    [claim] = harness.claim(Step.SUBMIT)
    harness.write(JobMoved(before=job, after=replace(job, retry_count=7), due_at=NOW))

    moved = ChunkMoved(before=chunk, after=replace(chunk, error="refused"), due_at=after(60))
    harness.ledger.record(claim, moved, stopped(job, "no such model"), now=NOW)

    found = harness.ledger.job(JOB)
    assert (found.state, found.reason, found.retry_count) == (JobState.STOPPED, "no such model", 7)
    assert harness.ledger.chunk(chunk.id).error == "refused"


@pytest.mark.parametrize("first", [JobState.CANCELLING, JobState.STOPPED])
def test_what_came_first_stands(harness: LedgerHarness, first: JobState) -> None:
    """A job that is being cancelled is not stopped by a step that did not know; of two stops the first has its say."""
    job = harness.open()
    [claim] = harness.claim(Step.PLAN)
    if first is JobState.CANCELLING:
        harness.admin.cancel(JOB, now=NOW)
    else:
        harness.write(stopped(job, "the first reason"))

    harness.ledger.record(claim, stopped(job, "a later reason"), now=NOW)

    found = harness.ledger.job(JOB)
    assert (found.state, found.reason) == (first, "" if first is JobState.CANCELLING else "the first reason")


def test_a_job_that_needs_a_decision_goes_on_only_once_it_is_approved(harness: LedgerHarness) -> None:
    """To run it again, by whatever way, is no decision."""
    job = harness.open()
    harness.add(a_chunk())
    harness.write(stopped(job, "all rows failed alike", "canary"))

    still = harness.admin.resume(JOB, now=NOW)
    none = harness.claim(Step.SUBMIT)
    approved = harness.admin.approve(JOB, now=after(5))

    assert (still.state, still.reason, still.decision) == (JobState.STOPPED, "all rows failed alike", "canary")
    assert none == []
    assert approved == "canary"
    found = harness.ledger.job(JOB)
    assert (found.state, found.reason, found.decision) == (JobState.RUNNING, "", "")
    assert [claim.step for claim in harness.claim(Step.SUBMIT, now=after(5))] == [Step.SUBMIT]
    [(_, event)] = [one for one in harness.admin.events(JOB) if one[1].name == "job.approved"]
    assert event.details == {"decision": "canary"}


@pytest.mark.parametrize("state", list(JobState))
def test_approving_a_job_that_waits_for_no_decision_says_so(harness: LedgerHarness, state: JobState) -> None:
    """Also a stopped one: it may need something else, as a larger budget."""
    harness.open()
    before = harness.put_job(state)

    with pytest.raises(LedgerError, match=f"job {JOB} is {state} and waits for no decision"):
        harness.admin.approve(JOB, now=NOW)

    assert harness.ledger.job(JOB) == before


def test_a_cancel_ends_the_wait_for_a_decision(harness: LedgerHarness) -> None:
    harness.write(stopped(harness.open(), "all rows failed alike", "canary"))

    found = harness.admin.cancel(JOB, now=NOW)

    assert (found.state, found.decision) == (JobState.CANCELLING, "")


@pytest.mark.parametrize(("first", "last"), [("", "canary"), ("canary", "canary"), ("unreadable", "unreadable")])
def test_of_two_stops_the_one_that_needs_a_decision_stands(harness: LedgerHarness, first: str, last: str) -> None:
    """A job that is stopped for its budget and for a decision must not go on with a larger budget alone."""
    job = harness.open()
    [claim] = harness.claim(Step.PLAN)
    harness.write(stopped(job, "the first reason", first))

    harness.ledger.record(claim, stopped(job, "a later reason", "canary"), now=NOW)

    found = harness.ledger.job(JOB)
    assert (found.reason, found.decision) == ("the first reason" if first else "a later reason", last)
