"""Giving the dead rows of an ended job another chance: which rows, how often, and what the sums say then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain import lifecycle
from orchestrator.domain.changes import (
    ChunkMoved,
    RowsSettled,
    ShardMoved,
)
from orchestrator.domain.errors import LedgerError
from orchestrator.domain.lifecycle import GaveUp
from orchestrator.domain.model import (
    Chunk,
    ChunkId,
    ChunkState,
    JobState,
    ShardState,
    Step,
    Tally,
)
from orchestrator.domain.reopening import reopened
from orchestrator.domain.row_kinds import RowKind
from orchestrator.ledger.snapshot import SqlSnapshot
from tests.builders import JOB, NOW, a_chunk, a_job, a_shard, added, after, chunk_id
from tests.contract.ledger_harness import LedgerHarness, names

S = ChunkState
LATER = after(100)


def end(harness: LedgerHarness, chunk: Chunk, tally: Tally, failed: dict[int, int], settled: dict[int, int]) -> None:
    """Bring a chunk from ENDED to COLLECTED with these counts."""
    collected = replace(chunk, state=S.COLLECTED, tally=tally, part=f"parts/{chunk.name}.parquet")
    harness.write(
        ChunkMoved(before=chunk, after=collected, due_at=None),
        RowsSettled(chunk_id=chunk.id, by_shard=settled, failed=failed),
        now=LATER,
    )


def an_ended_job(harness: LedgerHarness, state: JobState = JobState.FINISHED) -> None:
    """Bring a job of two shards of ten rows to its end: rows 2 and 3 of shard 0 and one of shard 1 are dead.

    One row of shard 0 is refused at planning; it is in no chunk.
    """
    harness.open(a_job(attempts_max=3, rounds_max=3), shards=2)
    for number, refused in ((0, 1), (1, 0)):
        planned = replace(a_shard(number), state=ShardState.PLANNED, row_count=10, refused_count=refused)
        harness.write(ShardMoved(before=a_shard(number), after=planned, due_at=None))
    first = a_chunk("c00000-00000", state=S.ENDED, request_count=9)
    second = a_chunk("c00001-00000", state=S.ENDED, shard_no=1)
    third = a_chunk("r00001", state=S.ENDED, shard_no=None, request_count=3, round=3)
    harness.write(added(first, {0: 9}), added(second, {1: 10}), added(third, {0: 2, 1: 1}))
    end(harness, first, Tally(succeeded=7, resent=2), {}, {0: 7})
    end(harness, second, Tally(succeeded=8, failed=1, resent=1), {1: 1}, {1: 9})
    end(harness, third, Tally(succeeded=1, failed=2), {0: 2}, {0: 2, 1: 1})
    for number in range(2):
        shard = harness.ledger.shard(JOB, number)
        finished = replace(shard, state=ShardState.FINISHED, finished_slice_count=1)
        harness.write(ShardMoved(before=shard, after=finished, due_at=None))
    harness.put_job(state)


@pytest.mark.parametrize("state", [JobState.FINISHED, JobState.CANCELLED])
def test_a_retry_sends_failed_rows_again_in_a_new_revision(harness: LedgerHarness, state: JobState) -> None:
    """Three of twenty rows are dead and were requests: they wait; the refused one stays dead and settled."""
    an_ended_job(harness, state)
    before = harness.ledger.totals(JOB)
    assert (before.settled, before.failed, before.waiting, before.refused) == (20, 3, 0, 1)

    assert harness.admin.retry(JOB, now=LATER) == 3

    job, now = harness.ledger.job(JOB), harness.ledger.totals(JOB)
    assert (job.state, job.revision, job.due) == (JobState.RUNNING, 2, Step.REVIEW)
    assert job.rounds_max == 6  # three rounds were sent, three more may be
    assert (now.settled, now.failed, now.waiting, now.refused, now.succeeded) == (17, 0, 3, 1, 16)
    assert now.waiting_since == LATER
    shards = harness.ledger.shards(JOB)
    assert [(s.settled_count, s.state, s.finished_slice_count) for s in shards] == [
        (8, ShardState.PLANNED, 0),
        (9, ShardState.PLANNED, 0),
    ]
    waiting = harness.ledger.waiting(JOB, limit=10)
    assert [(c.name, c.regather, c.tally.waiting, c.tally.failed) for c in waiting] == [
        ("c00001-00000", "failed", 1, 0),
        ("r00001", "failed", 2, 0),
    ]
    assert [claim.step for claim in harness.claim(*Step, now=LATER)] == [Step.REVIEW]


def an_ended_job_with_truncated_answers(harness: LedgerHarness, *, unread: int = 0) -> None:
    """Bring a job of two shards of ten rows to its end: five answers are truncated.

    Two stand in the first chunk; of the retry chunk's three rows, which were truncated before, one is again, and the
    others failed, so that their old answers stand.
    """
    harness.open(a_job(attempts_max=3, rounds_max=3), shards=2)
    for number in (0, 1):
        planned = replace(a_shard(number), state=ShardState.PLANNED, row_count=10)
        harness.write(ShardMoved(before=a_shard(number), after=planned, due_at=None))
    first = a_chunk("c00000-00000", state=S.ENDED, request_count=10)
    second = a_chunk("c00001-00000", state=S.ENDED, shard_no=1)
    third = a_chunk("r00001", state=S.ENDED, shard_no=None, request_count=3, round=2, improves="truncated")
    harness.write(added(first, {0: 10}), added(second, {1: 10}), added(third, {0: 1, 1: 2}))
    end(harness, first, Tally(succeeded=9, truncated_answers=2, refused_answers=1, resent=1, reopened=1), {}, {0: 9})
    end(harness, second, Tally(succeeded=7, failed=1, resent=2, reopened=2), {1: 1}, {1: 8})
    end(harness, third, Tally(succeeded=1, standing=2, truncated_answers=3, unread_answers=unread), {}, {0: 1, 1: 2})
    for number in range(2):
        shard = harness.ledger.shard(JOB, number)
        finished = replace(shard, state=ShardState.FINISHED, finished_slice_count=1)
        harness.write(ShardMoved(before=shard, after=finished, due_at=None))
    harness.put_job(JobState.FINISHED)


def test_a_retry_of_truncated_answers_sends_these_again_and_no_failed_row(harness: LedgerHarness) -> None:
    an_ended_job_with_truncated_answers(harness)
    before = harness.ledger.totals(JOB)
    assert (before.succeeded, before.failed, before.truncated_answers) == (19, 1, 5)

    assert harness.admin.retry(JOB, now=LATER, kind=RowKind.TRUNCATED, by_shard={0: 3, 1: 2}) == 5

    job, now = harness.ledger.job(JOB), harness.ledger.totals(JOB)
    assert (job.state, job.revision, job.retrying, job.rounds_max) == (JobState.RUNNING, 2, "truncated", 5)
    assert (now.settled, now.succeeded, now.failed, now.waiting, now.truncated_answers) == (15, 14, 1, 5, 0)
    assert now.refused_answers == 1
    shards = harness.ledger.shards(JOB)
    assert [(s.settled_count, s.state) for s in shards] == [(7, ShardState.PLANNED), (8, ShardState.PLANNED)]
    waiting = {chunk.name: chunk for chunk in harness.ledger.waiting(JOB, limit=10)}
    assert {name: chunk.regather for name, chunk in waiting.items()} == {
        "c00000-00000": "truncated",
        "r00001": "truncated",
    }
    assert waiting["c00000-00000"].tally == Tally(succeeded=7, refused_answers=1, waiting=2, resent=1, reopened=3)
    assert waiting["r00001"].tally == Tally(waiting=3, reopened=1)


def test_a_row_whose_newer_answer_cannot_be_read_is_sent_again_only_where_a_person_pays(harness: LedgerHarness) -> None:
    """Its older answer stands, settled; the shards are told of the others alone."""
    an_ended_job_with_truncated_answers(harness, unread=1)
    [unread] = harness.admin.unreadable(JOB)
    assert unread.name == "r00001"

    assert harness.admin.retry(JOB, now=LATER, kind=RowKind.TRUNCATED, by_shard={0: 3, 1: 1}) == 4

    now = harness.ledger.totals(JOB)
    assert (now.settled, now.succeeded, now.failed, now.waiting, now.truncated_answers) == (16, 15, 1, 4, 1)
    waiting = {chunk.name: chunk.tally for chunk in harness.ledger.waiting(JOB, limit=10)}
    assert waiting["r00001"] == reopened(unread, "truncated")
    assert waiting["r00001"] == Tally(waiting=2, standing=1, truncated_answers=1, unread_answers=1, reopened=1)


def test_a_row_whose_newer_answer_cannot_be_read_is_sent_again_where_a_person_pays(harness: LedgerHarness) -> None:
    an_ended_job_with_truncated_answers(harness, unread=1)
    paid = {"kind": RowKind.TRUNCATED, "by_shard": {0: 3, 1: 2}, "pays_again": True}

    assert harness.admin.retry(JOB, now=LATER, **paid) == 5  # type: ignore[arg-type]

    waiting = {chunk.name: chunk.tally for chunk in harness.ledger.waiting(JOB, limit=10)}
    assert waiting["r00001"] == Tally(waiting=3, reopened=1)
    assert harness.admin.unreadable(JOB) == []


def test_a_retry_of_answers_that_are_not_there_changes_nothing(harness: LedgerHarness) -> None:
    an_ended_job_with_truncated_answers(harness)
    job = harness.ledger.job(JOB)

    assert harness.admin.retry(JOB, now=LATER, kind=RowKind.EMPTY, by_shard={}) == 0
    with pytest.raises(LedgerError, match="have changed meanwhile"):
        harness.admin.retry(JOB, now=LATER, kind=RowKind.TRUNCATED, by_shard={0: 4})

    assert harness.ledger.job(JOB) == job


def test_a_chunk_that_is_given_up_leaves_the_answers_of_its_rows_standing(harness: LedgerHarness) -> None:
    """No failed row, and no shard that waits for one."""
    an_ended_job_with_truncated_answers(harness)
    harness.admin.retry(JOB, now=LATER, kind=RowKind.TRUNCATED, by_shard={0: 3, 1: 2})
    fourth = a_chunk("r00002", shard_no=None, request_count=5, round=3, improves="truncated")
    for chunk in harness.ledger.waiting(JOB, limit=10):
        resent = replace(chunk.tally, waiting=0, resent=chunk.tally.resent + chunk.tally.waiting)
        harness.move(replace(chunk, tally=resent, regather=""), due_at=None, now=LATER)
    harness.write(added(fourth, {0: 3, 1: 2}), now=LATER)

    given_up = lifecycle.advance(fourth, GaveUp("bad", "no"))
    harness.write(ChunkMoved(before=fourth, after=given_up, due_at=None), now=LATER)

    now = harness.ledger.totals(JOB)
    assert (now.settled, now.succeeded, now.failed, now.truncated_answers) == (20, 19, 1, 5)


def test_a_second_retry_counts_only_rows_that_have_failed_by_then(harness: LedgerHarness) -> None:
    an_ended_job(harness)
    harness.admin.retry(JOB, now=LATER)
    for chunk in harness.ledger.waiting(JOB, limit=10):
        resent = replace(chunk.tally, waiting=0, resent=chunk.tally.resent + chunk.tally.waiting)
        harness.move(replace(chunk, tally=resent, regather=""), due_at=None, now=LATER)
    fourth = a_chunk("r00002", state=S.ENDED, shard_no=None, request_count=3, round=4)
    harness.write(added(fourth, {0: 2, 1: 1}), now=LATER)
    end(harness, fourth, Tally(succeeded=2, failed=1), {0: 1}, {0: 2, 1: 1})
    assert harness.ledger.totals(JOB).settled == 20
    harness.put_job(JobState.FINISHED, now=LATER)

    assert harness.admin.retry(JOB, now=LATER) == 1

    assert [shard.settled_count for shard in harness.ledger.shards(JOB)] == [9, 10]
    assert (harness.ledger.job(JOB).revision, harness.ledger.job(JOB).rounds_max) == (3, 7)


def an_ended_job_with_unread_rows(harness: LedgerHarness) -> None:
    """Bring a job of two shards of ten rows to its end: a retry chunk has four failed rows, three of them unread.

    One chunk has a failed row that can be read, another one that cannot.
    """
    harness.open(a_job(attempts_max=3, rounds_max=3), shards=2)
    for number in (0, 1):
        planned = replace(a_shard(number), state=ShardState.PLANNED, row_count=10)
        harness.write(ShardMoved(before=a_shard(number), after=planned, due_at=None))
    first = a_chunk("c00000-00000", state=S.ENDED, request_count=10)
    second = a_chunk("c00001-00000", state=S.ENDED, shard_no=1)
    third = a_chunk("r00001", state=S.ENDED, shard_no=None, request_count=4, round=2)
    first, third = replace(first, causes='{"bad": [1, 0, 7]}'), replace(third, causes=RETRIED)
    harness.write(added(first, {0: 10}), added(second, {1: 10}), added(third, {0: 2, 1: 2}))
    end(harness, first, Tally(succeeded=7, failed=1, resent=2), {0: 1}, {0: 8})
    end(harness, second, Tally(succeeded=7, failed=1, resent=2, unreadable_rows=1), {1: 1}, {1: 8})
    end(harness, third, Tally(failed=4, unreadable_rows=3), {0: 2, 1: 2}, {0: 2, 1: 2})
    harness.put_job(JobState.FINISHED)


RETRIED = '{"bad": [1, 0, 2], "unreadable": [3, 0, 3]}'
UNREAD = {chunk_id("c00001-00000"): {1: 1}, chunk_id("r00001"): {0: 1, 1: 2}}


def failed_by_shard(harness: LedgerHarness) -> dict[str, int]:
    """Return how many failed rows the ledger has of each chunk, by shard."""
    return {entry.chunk.name: entry.failed for entry in SqlSnapshot(harness.database).entries(JOB)}


def test_a_retry_leaves_rows_that_cannot_be_read(harness: LedgerHarness) -> None:
    """Two rows wait; four stay failed, settled, and with their cause; a second retry finds nothing."""
    an_ended_job_with_unread_rows(harness)

    assert harness.admin.retry(JOB, now=LATER, kept=UNREAD) == 2

    now = harness.ledger.totals(JOB)
    assert (now.settled, now.succeeded, now.failed, now.waiting, now.unreadable_rows) == (18, 14, 4, 2, 4)
    assert [shard.settled_count for shard in harness.ledger.shards(JOB)] == [8, 10]
    assert harness.ledger.job(JOB).retrying == "failed"
    chunks = {
        entry.chunk.name: (entry.chunk.tally, entry.chunk) for entry in SqlSnapshot(harness.database).entries(JOB)
    }
    assert {
        name: (tally.waiting, tally.failed, tally.unreadable_rows, chunk.regather, chunk.causes)
        for name, (tally, chunk) in chunks.items()
    } == {
        "c00000-00000": (1, 0, 0, "failed", ""),
        "c00001-00000": (0, 1, 1, "", '{"unreadable": [1, null, null]}'),
        "r00001": (1, 3, 3, "failed", '{"unreadable": [3, 0, 3]}'),
    }
    assert failed_by_shard(harness) == {"c00000-00000": 0, "c00001-00000": 1, "r00001": 3}


def test_a_retry_sends_rows_again_that_cannot_be_read_where_a_person_pays(harness: LedgerHarness) -> None:
    """All six wait, and none is kept to be read."""
    an_ended_job_with_unread_rows(harness)

    assert harness.admin.retry(JOB, now=LATER, pays_again=True) == 6

    now = harness.ledger.totals(JOB)
    assert (now.settled, now.failed, now.waiting, now.unreadable_rows) == (14, 0, 6, 0)
    assert {chunk.regather for chunk in harness.ledger.waiting(JOB, limit=10)} == {"all_failed"}
    assert harness.ledger.job(JOB).retrying == "all_failed"
    assert set(failed_by_shard(harness).values()) == {0}


@pytest.mark.parametrize("kept", [None, {chunk_id("r00001"): {0: 1, 1: 2}}, UNREAD | {chunk_id("r00001"): {0: 1}}])
def test_a_retry_that_counts_the_unread_rows_otherwise_than_the_ledger_is_refused(
    harness: LedgerHarness, kept: dict[ChunkId, dict[int, int]] | None
) -> None:
    """Nothing is bought again because a command was given beside a `reread`."""
    an_ended_job_with_unread_rows(harness)

    with pytest.raises(LedgerError, match="changed meanwhile"):
        harness.admin.retry(JOB, now=LATER, kept=kept)

    assert (harness.ledger.totals(JOB).waiting, harness.ledger.totals(JOB).failed) == (0, 6)


def test_retrying_a_finished_job_without_failed_rows_changes_nothing(harness: LedgerHarness) -> None:
    harness.open(shards=0)
    job = harness.put_job(JobState.FINISHED)

    assert harness.admin.retry(JOB, now=LATER) == 0
    assert harness.ledger.job(JOB) == job


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.STOPPED, JobState.CANCELLING])
def test_only_a_job_that_has_ended_can_be_retried(harness: LedgerHarness, state: JobState) -> None:
    harness.open()
    harness.put_job(state)

    with pytest.raises(LedgerError, match=state):
        harness.admin.retry(JOB, now=LATER)


def test_rows_that_a_cancel_found_unplanned_are_planned_when_the_job_is_retried(harness: LedgerHarness) -> None:
    """Rows 10 to 29 of shard 0 had no request: their stand-in goes away and planning goes on at row 10."""
    harness.open(a_job(attempts_max=3, rounds_max=3), shards=1)
    partly = replace(a_shard(), row_count=10, chunk_count=1, slice_count=1)
    harness.write(ShardMoved(before=a_shard(), after=partly, due_at=NOW))
    harness.add(a_chunk())
    harness.admin.cancel(JOB, now=NOW)
    partly = harness.ledger.shard(JOB, 0)
    rest = a_chunk("c00000-rest", row_start=10, row_end=30, request_count=20, request_bytes=0, requests="")
    planned = replace(partly, state=ShardState.PLANNED, row_count=30)
    harness.write(ShardMoved(before=partly, after=planned, due_at=NOW), added(rest))
    for name, count in (("c00000-00000", 10), ("c00000-rest", 20)):
        chunk = harness.ledger.chunk(chunk_id(name))
        harness.move(replace(chunk, state=S.CANCELLED, tally=Tally(failed=count)), due_at=None)
    assert harness.ledger.shard(JOB, 0).settled_count == 30
    harness.put_job(JobState.CANCELLED)

    assert harness.admin.retry(JOB, now=LATER) == 30

    shard, totals = harness.ledger.shard(JOB, 0), harness.ledger.totals(JOB)
    assert (shard.state, shard.row_count, shard.settled_count, shard.chunk_count) == (ShardState.PLANNING, 10, 0, 1)
    assert (totals.rows, totals.settled, totals.failed, totals.waiting) == (10, 0, 0, 10)
    assert harness.ledger.contributions(JOB, 0)[0].chunk.name == "c00000-00000"
    assert len(harness.ledger.contributions(JOB, 0)) == 1
    with pytest.raises(LedgerError):
        harness.ledger.chunk(rest.id)
    assert {claim.step for claim in harness.claim(*Step, now=LATER)} == {Step.REVIEW, Step.PLAN}


def test_a_cancelled_job_of_which_nothing_was_planned_can_be_retried(harness: LedgerHarness) -> None:
    harness.open(shards=1)
    harness.admin.cancel(JOB, now=NOW)
    rest = a_chunk("c00000-rest", row_start=0, row_end=20, request_count=20, request_bytes=0, requests="")
    planned = replace(a_shard(), state=ShardState.PLANNED, row_count=20)
    harness.write(ShardMoved(before=a_shard(), after=planned, due_at=NOW), added(rest))
    chunk = harness.ledger.chunk(rest.id)
    harness.move(replace(chunk, state=S.CANCELLED, tally=Tally(failed=20)), due_at=None)
    harness.put_job(JobState.CANCELLED)

    assert harness.admin.retry(JOB, now=LATER) == 20

    job, shard = harness.ledger.job(JOB), harness.ledger.shard(JOB, 0)
    assert (job.state, job.rounds_max) == (JobState.RUNNING, 3)
    assert (shard.state, shard.row_count, shard.settled_count) == (ShardState.PLANNING, 0, 0)


def test_a_chunk_that_is_retried_is_no_longer_wished_cancelled(harness: LedgerHarness) -> None:
    """Its requests go into a retry chunk of the running job; nothing of the old wish may hang on to it."""
    an_ended_job(harness, JobState.CANCELLED)
    harness.admin.retry(JOB, now=LATER)

    harness.write(added(a_chunk("r00002", shard_no=None, round=4), {0: 2, 1: 1}), now=LATER)

    assert names(harness.claim(Step.SUBMIT, now=LATER)) == ["r00002"]
