"""A job's batches and its timeline, as a person reads them."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.domain.model import ChunkState, JobId, Tally
from orchestrator.domain.timeline import Batch, Group
from orchestrator.ledger.snapshot import SqlSnapshot
from tests.builders import JOB, a_chunk, a_job, after
from tests.contract.ledger_harness import LedgerHarness

S = ChunkState


def test_batches_that_need_a_person_come_first_then_the_oldest(harness: LedgerHarness) -> None:
    """A chunk that was cut in two is in its halves; another job's are not listed."""
    other = JobId("other-deadbeef")
    harness.open(a_job(other))
    harness.open()
    harness.add(a_chunk(job_id=other, state=S.SUBMITTED))
    for name, state, sent in (
        ("c00000-00000", S.SPLIT, 1),
        ("c00000-00001", S.PLANNED, None),
        ("c00000-00002", S.SUBMITTED, 30),
        ("c00000-00003", S.ENDED, 10),
        ("c00000-00004", S.UNRESOLVED, 20),
        ("c00000-00005", S.FAILED, None),
    ):
        harness.add(a_chunk(name, state=state, sent_at=None if sent is None else after(sent)))

    found = SqlSnapshot(harness.database).batches(JOB)

    assert [(one.chunk[-1], one.group) for one in found] == [
        ("4", Group.NEEDS_YOU),
        ("3", Group.AT_PROVIDER),
        ("2", Group.AT_PROVIDER),
        ("1", Group.WAITING),
        ("5", Group.GIVEN_UP),
    ]


def test_a_batch_is_counted_by_the_provider_while_it_runs_and_by_us_once_it_is_collected(
    harness: LedgerHarness,
) -> None:
    harness.open()
    chunk = a_chunk(state=S.SUBMITTED, sent_at=after(1), done_count=4, provider_status="in_progress", error="slow")
    harness.add(replace(chunk, looked_at=after(5)), due_at=after(9))
    before = Batch(
        chunk="c00000-00000",
        group=Group.AT_PROVIDER,
        state=S.SUBMITTED,
        rows=10,
        batch_id="batch-c00000-00000",
        word="in_progress",
        answered=4,
        failed=0,
        to_send_again=0,
        sent_at=after(1),
        looked_at=after(5),
        next_at=after(9),
        ended_at=None,
        reason="slow",
    )
    assert SqlSnapshot(harness.database).batches(JOB) == [before]

    present = harness.ledger.chunk(chunk.id)
    harness.move(replace(present, state=S.ENDED, error=""), now=after(20))
    tally = Tally(succeeded=5, standing=1, failed=1, waiting=3)
    harness.move(replace(harness.ledger.chunk(chunk.id), state=S.COLLECTED, tally=tally), due_at=None, now=after(21))

    [collected] = SqlSnapshot(harness.database).batches(JOB)
    assert (collected.answered, collected.failed, collected.to_send_again, collected.ended_at) == (6, 1, 3, after(20))
    [*_, (_, event)] = harness.admin.events(JOB)
    assert (event.name, event.details) == (
        "chunk.collected",
        {"attempt": 0, "succeeded": 5, "waiting": 3, "failed": 1},
    )


def test_the_newest_events_come_in_the_order_in_which_they_happened(harness: LedgerHarness) -> None:
    harness.open()
    for _ in range(3):
        harness.admin.cancel(JOB, now=after(2))
        harness.admin.resume(JOB, now=after(3))

    told = harness.admin.events(JOB)

    assert harness.admin.events(JOB, limit=2, newest=True) == told[-2:]
    assert harness.admin.events(JOB, limit=99, newest=True) == told
    assert harness.admin.events(JOB, limit=2, newest=True, before=told[-1][0]) == told[-3:-1]
    assert harness.admin.events(JOB, before=told[1][0]) == told[:1]
    without = harness.admin.events(JOB, limit=2, newest=True, without={"job.resumed"})
    assert without == [one for one in told if one[1].name != "job.resumed"][-2:]
