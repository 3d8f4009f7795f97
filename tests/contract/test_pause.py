"""A pause holds back every create that is not begun, and nothing else, whoever runs the job."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.changes import AttemptOpened, ChunkMoved
from orchestrator.domain.errors import CommandRefused, LeaseLost
from orchestrator.domain.lifecycle import BatchCreated, SubmissionBegun, advance
from orchestrator.domain.look import Activity
from orchestrator.domain.model import AttemptToken, BatchId, ChunkState, JobId, JobState, Step
from orchestrator.ledger.snapshot import SqlSnapshot
from tests.builders import JOB, NOW, a_chunk, a_job, after, an_attempt
from tests.contract.ledger_harness import LedgerHarness, names

TOKEN = AttemptToken("token-1")


def test_nothing_is_sent_while_all_that_is_in_flight_comes_home(harness: LedgerHarness) -> None:
    """A job beside it is not held up; rows are read and gathered, which sends nothing."""
    harness.open(shards=2)
    states = (ChunkState.PLANNED, ChunkState.UPLOADED, ChunkState.AMBIGUOUS, ChunkState.SUBMITTED, ChunkState.ENDED)
    harness.add(*(a_chunk(f"c00000-{number:05d}", state=state, sent_at=NOW) for number, state in enumerate(states)))
    other = JobId("other-deadbeef")
    harness.open(a_job(other))
    harness.add(a_chunk("c00000-00007", job_id=other))

    harness.admin.pause(JOB, now=NOW)

    assert Step.SUBMIT not in harness.ledger.due(now=NOW, job_id=JOB)
    assert names(harness.claim(Step.SUBMIT)) == ["c00000-00007"]
    assert names(harness.claim(Step.RECOVER, Step.POLL, Step.COLLECT)) == [
        "c00000-00004",
        "c00000-00002",
        "c00000-00003",
    ]
    assert names(harness.claim(Step.PLAN, job_id=JOB)) == ["shard 0", "shard 1"]
    assert not harness.ledger.may_send(JOB, now=NOW)

    harness.admin.end_pause(JOB, now=NOW)

    assert harness.ledger.may_send(JOB, now=NOW)
    assert names(harness.claim(Step.SUBMIT)) == ["c00000-00000", "c00000-00001"]


def test_a_step_that_was_about_to_begin_a_create_finds_its_chunk_changed(harness: LedgerHarness) -> None:
    """The pause may come between any two lines of the step."""
    harness.open()
    harness.add(chunk := a_chunk())
    chunk = harness.ledger.chunk(chunk.id)
    [claim] = harness.claim(Step.SUBMIT)
    harness.admin.pause(JOB, now=NOW)

    begun = ChunkMoved(before=chunk, after=advance(chunk, SubmissionBegun(TOKEN, NOW, "")), due_at=NOW)
    with pytest.raises(LeaseLost):
        harness.ledger.record(claim, begun, AttemptOpened(attempt=an_attempt(TOKEN, chunk), budget_usd=None), now=NOW)
    assert harness.admin.attempts(JOB) == []


def test_the_answer_to_a_create_that_was_begun_before_is_recorded(harness: LedgerHarness) -> None:
    harness.open()
    harness.add(a_chunk(state=ChunkState.SUBMITTING, sent_at=NOW, token=TOKEN))
    chunk = harness.ledger.chunk(a_chunk().id)
    [claim] = harness.claim(Step.RECOVER)
    harness.admin.pause(JOB, now=NOW)

    made = ChunkMoved(before=chunk, after=advance(chunk, BatchCreated(BatchId("b"))), due_at=NOW)
    harness.ledger.record(claim, made, now=NOW)

    assert harness.ledger.chunk(chunk.id).state is ChunkState.SUBMITTED


def test_a_pause_is_told_with_its_time_until_it_ends(harness: LedgerHarness) -> None:
    """Pausing twice is one pause. What is at the provider is fetched by somebody, or the job is unattended."""
    harness.open()
    harness.add(a_chunk())
    harness.admin.pause(JOB, now=after(5))
    harness.admin.pause(JOB, now=after(9))

    look = SqlSnapshot(harness.database).look(JOB, now=after(9))
    assert (look.activity, look.paused_at) == (Activity.PAUSED, after(5))
    chunk = harness.ledger.chunk(a_chunk().id)
    harness.move(replace(chunk, state=ChunkState.SUBMITTED, batch_id=BatchId("b"), sent_at=NOW))
    assert SqlSnapshot(harness.database).look(JOB, now=after(9)).activity is Activity.UNATTENDED

    harness.admin.end_pause(JOB, now=after(10))
    with pytest.raises(CommandRefused, match="not paused: there is nothing to resume"):
        harness.admin.end_pause(JOB, now=after(11))
    told = [event.name for _, event in harness.admin.events(JOB) if event.name.startswith("job.pause")]
    assert told == ["job.paused", "job.pause_ended"]


@pytest.mark.parametrize("state", [JobState.FINISHED, JobState.CANCELLED, JobState.CANCELLING])
def test_what_sends_nothing_more_is_not_paused(harness: LedgerHarness, state: JobState) -> None:
    """And a job that comes to its end while it is paused is not paused when its rows are retried."""
    harness.open()
    harness.admin.pause(JOB, now=NOW)
    if state is JobState.CANCELLING:
        harness.admin.cancel(JOB, now=NOW)
    else:
        harness.put_job(state)

    assert harness.ledger.job(JOB).paused_at is None
    with pytest.raises(CommandRefused, match="there is nothing to pause"):
        harness.admin.pause(JOB, now=NOW)


def test_opening_and_resuming_a_paused_job_leaves_it_paused(harness: LedgerHarness) -> None:
    """To run it again is not to end the pause."""
    job = harness.open()
    harness.admin.pause(JOB, now=NOW)
    harness.open(job)
    harness.admin.resume(JOB, now=NOW)

    assert harness.ledger.job(JOB).paused_at == NOW
