"""What the ledger knows of its accounts, for whoever looks."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.domain.accounts import AccountLook
from orchestrator.domain.changes import AccountPaused, QueueLearned
from orchestrator.domain.model import ChunkState, JobId, JobState, Step
from orchestrator.ledger.snapshot import SqlSnapshot
from tests.builders import ACCOUNT, JOB, NOW, a_chunk, a_job, after
from tests.contract.ledger_harness import LedgerHarness

SECOND = JobId("second")
THIRD = JobId("third")


def look(harness: LedgerHarness, seconds: float = 0) -> AccountLook:
    """Return the account in use."""
    [found] = SqlSnapshot(harness.database).accounts(now=after(seconds))
    return found


def test_jobs_of_an_account_are_told_in_the_order_of_their_turns(harness: LedgerHarness) -> None:
    """What has waited longest is sent first, whichever job was opened first; jobs that may not send come last."""
    for job_id in (JOB, SECOND, THIRD):
        harness.open(a_job(job_id, batches_in_flight_max=8))
    harness.add(
        a_chunk("c00000-00000", state=ChunkState.SUBMITTED), a_chunk("c00000-00001", state=ChunkState.AMBIGUOUS)
    )
    harness.add(a_chunk("c00000-00002"), due_at=after(20))
    harness.add(a_chunk("c00000-00000", job_id=SECOND), due_at=after(10))
    harness.add(a_chunk("c00000-00001", job_id=SECOND, state=ChunkState.UNRESOLVED))
    harness.add(a_chunk("c00000-00001", job_id=THIRD, state=ChunkState.COLLECTED))
    harness.add(a_chunk("c00000-00002", job_id=THIRD))
    harness.put_job(JobState.STOPPED, THIRD)

    found = look(harness)
    assert [(one.job_id, one.in_flight, one.unresolved, one.unsent) for one in found.jobs] == [
        (SECOND, 1, 1, 1),
        (JOB, 2, 0, 1),
        (THIRD, 0, 0, 1),
    ]
    assert found.jobs[2].state is JobState.STOPPED
    assert (found.in_flight, found.in_flight_max, found.learned_max, found.rates) == (3, 8, None, ())


def test_a_job_that_a_person_has_paused_has_no_turn(harness: LedgerHarness) -> None:
    for job_id, seconds in ((JOB, 0), (SECOND, 10)):
        harness.open(a_job(job_id))
        harness.add(a_chunk(job_id=job_id), due_at=after(seconds))
    harness.admin.pause(JOB, now=NOW)

    assert [(one.job_id, one.is_paused) for one in look(harness).jobs] == [(SECOND, False), (JOB, True)]


def test_a_pause_is_told_with_its_reason_while_it_lasts(harness: LedgerHarness) -> None:
    harness.open()
    harness.write(AccountPaused(account=ACCOUNT, until=after(60), reason="out of credits", needs_person=True))

    paused, over = look(harness), look(harness, 61)
    assert (paused.pause, paused.paused_until, paused.needs_person, paused.pause_count) == (
        "out of credits",
        after(60),
        True,
        1,
    )
    assert (over.pause, over.paused_until, over.needs_person, over.is_probing) == ("", None, False, True)


def test_a_learned_limit_is_the_lower_one_until_it_has_grown(harness: LedgerHarness) -> None:
    harness.open(a_job(batches_in_flight_max=8))
    harness.write(QueueLearned(account=ACCOUNT, in_flight_max=3))

    found, later = look(harness), look(harness, 601)
    assert (found.learned_max, found.learned_at, found.in_flight_max) == (3, NOW, 3)
    assert later.in_flight_max == 4
    assert look(harness, 60 * 600).in_flight_max == 8


def test_a_limit_of_calls_says_when_the_next_one_may_go(harness: LedgerHarness) -> None:
    harness.open(a_job(creates_per_minute_max=2, batches_in_flight_max=100))
    harness.add(*(a_chunk(f"c00000-0000{number}") for number in range(4)))
    [before] = look(harness).rates
    taken = harness.claim(Step.SUBMIT)
    [after_claims] = look(harness).rates

    assert (before.calls, before.per_minute_max, before.next_at) == ("creates", 2, None)
    assert taken
    assert after_claims.next_at is not None
    assert NOW < after_claims.next_at <= NOW + timedelta(seconds=60)
    assert look(harness, 120).rates[0].next_at is None


def test_an_account_whose_jobs_have_ended_has_none(harness: LedgerHarness) -> None:
    harness.open()
    harness.put_job(JobState.FINISHED)

    assert (look(harness).jobs, look(harness).in_flight_max) == ((), None)
