"""What people ask of jobs: open, resume, cancel, retry, resolve, look."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from orchestrator.domain.changes import (
    AccountPaused,
    AttemptOpened,
    ChunkMoved,
    JobMoved,
    Noted,
    RowsSettled,
    ShardMoved,
)
from orchestrator.domain.errors import LeaseLost, LedgerError
from orchestrator.domain.model import (
    AttemptState,
    AttemptToken,
    BatchId,
    Chunk,
    ChunkState,
    JobId,
    JobState,
    ShardState,
    Step,
    Tally,
)
from tests.builders import ACCOUNT, JOB, NOW, a_chunk, a_job, a_shard, added, after, an_attempt, chunk_id
from tests.contract.books import Books, names

S = ChunkState
LATER = after(100)


def test_opening_a_job_again_gives_the_one_that_is_there_under_the_new_policy(books: Books) -> None:
    books.open(a_job(spec="{}", attempts_max=3, rounds_max=3), shards=2)
    books.add(a_chunk())
    books.put_job(JobState.STOPPED)

    found = books.desk.open(a_job(spec='{"newer": 1}', attempts_max=3, budget_usd=Decimal(9)), 2, now=LATER)

    assert found == books.ledger.job(JOB)
    assert (found.state, found.spec, found.policy.budget_usd) == (JobState.STOPPED, "{}", Decimal(9))
    assert len(books.overview.shards(JOB)) == 2
    assert books.ledger.chunk(a_chunk().id) == a_chunk()
    assert [event.name for _, event in books.desk.events(JOB)].count("job.opened") == 1


@pytest.mark.parametrize(("attempts_max", "rounds_max"), [(5, 5), (3, 3), (1, 1)])
def test_a_new_limit_of_attempts_holds_from_then_on(books: Books, attempts_max: int, rounds_max: int) -> None:
    books.open(a_job(attempts_max=3, rounds_max=3))

    books.open(a_job(attempts_max=attempts_max, rounds_max=attempts_max))

    assert books.ledger.job(JOB).rounds_max == rounds_max


def test_a_new_limit_of_attempts_counts_from_the_last_retry(books: Books) -> None:
    """A job that was retried after three rounds may send its rows in rounds 4 to 6; with five attempts up to 8."""
    books.open(a_job(attempts_max=3, rounds_max=6))

    books.open(a_job(attempts_max=5, rounds_max=5))

    assert books.ledger.job(JOB).rounds_max == 8


def test_a_step_that_read_the_job_before_it_was_opened_again_writes_nothing(books: Books) -> None:
    job = books.open()
    books.open(a_job(attempts_max=5))

    with pytest.raises(LeaseLost):
        books.write(JobMoved(before=job, after=job, due_at=NOW))


def test_a_job_with_many_shards_has_every_one_of_them_due(books: Books) -> None:
    books.open(a_job(chunks_ahead_max=20_000), shards=5_001)

    assert [shard.shard_no for shard in books.overview.shards(JOB)] == list(range(5_001))
    assert len(books.claim(Step.PLAN, limit=10_000)) == 5_001


def test_jobs_are_listed_newest_first(books: Books) -> None:
    for n in range(3):
        books.desk.open(a_job(JobId(f"job-{n}")), 1, now=after(n))

    assert [job.id for job in books.desk.jobs()] == ["job-2", "job-1", "job-0"]


def test_a_stopped_job_goes_on_and_its_account_sends_again(books: Books) -> None:
    books.open()
    books.write(AccountPaused(account=ACCOUNT, until=after(1_000), reason="out of credits"))
    books.add(a_chunk())
    job = books.ledger.job(JOB)
    stopped = replace(job, state=JobState.STOPPED, reason="the budget is used up", due=Step.SEAL)
    books.write(JobMoved(before=job, after=stopped, due_at=None))

    books.desk.resume(JOB, now=LATER)

    found = books.ledger.job(JOB)
    assert (found.state, found.reason, found.due) == (JobState.RUNNING, "", Step.REVIEW)
    assert books.desk.pause_reason(ACCOUNT, now=LATER) == ""
    assert {claim.step for claim in books.claim(*Step, now=LATER)} == {Step.SUBMIT, Step.REVIEW, Step.PLAN}


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.CANCELLING, JobState.CANCELLED, JobState.FINISHED])
def test_resuming_what_is_not_stopped_changes_nothing(books: Books, state: JobState) -> None:
    books.open()
    before = books.put_job(state)

    books.desk.resume(JOB, now=LATER)

    assert books.ledger.job(JOB) == before


UNDISTURBED = {S.SUBMITTING, S.COLLECTED, S.SPLIT, S.CANCELLED, S.DEAD}


@pytest.mark.parametrize("state", list(ChunkState))
def test_a_cancel_marks_every_live_chunk_and_disturbs_no_create_under_way(books: Books, state: ChunkState) -> None:
    """What was decided before the cancel is stale, but for a create: its answer must still be taken."""
    books.open()
    chunk = a_chunk(state=state)
    books.add(chunk)

    job = books.desk.cancel(JOB, now=LATER)

    found = books.ledger.chunk(chunk.id)
    assert job == books.ledger.job(JOB)
    assert job.state is JobState.CANCELLING
    assert found.cancel_requested == (state not in {S.COLLECTED, S.SPLIT, S.CANCELLED, S.DEAD})
    assert found.version == (0 if state in UNDISTURBED else 1)


def test_the_answer_to_a_create_under_way_is_taken_after_a_cancel_and_the_batch_cancelled_next(books: Books) -> None:
    books.open()
    books.add(a_chunk())
    [claim] = books.claim(Step.SUBMIT)
    begun = a_chunk(state=S.SUBMITTING, attempt=1, token=AttemptToken("token-1"), sent_at=NOW)
    books.ledger.record(claim, ChunkMoved(before=a_chunk(), after=begun, due_at=LATER), now=NOW, keep=True)
    books.desk.cancel(JOB, now=after(1))

    created = replace(begun, version=1, state=S.SUBMITTED, batch_id=BatchId("batch-1"))
    books.ledger.record(
        claim, ChunkMoved(before=replace(begun, version=1), after=created, due_at=after(3)), now=after(2)
    )

    found = books.ledger.chunk(begun.id)
    assert (found.state, found.batch_id, found.cancel_requested) == (S.SUBMITTED, "batch-1", True)
    assert names(books.claim(Step.CANCEL, now=after(3))) == [begun.name]


def test_a_create_decided_on_before_the_cancel_is_never_sent(books: Books) -> None:
    """The intent is refused, and without it there is no POST."""
    books.open()
    books.add(a_chunk())
    [claim] = books.claim(Step.SUBMIT)
    books.desk.cancel(JOB, now=NOW)
    begun = ChunkMoved(before=a_chunk(), after=a_chunk(state=S.SUBMITTING), due_at=NOW)

    with pytest.raises(LeaseLost):
        books.ledger.record(claim, begun, AttemptOpened(attempt=an_attempt(), budget_usd=None), now=NOW, keep=True)

    assert books.desk.attempts(JOB) == []


def test_after_a_cancel_everything_of_the_job_is_due(books: Books) -> None:
    books.open(shards=1)
    books.add(a_chunk(), a_chunk("c00000-00001", state=S.SUBMITTED), due_at=after(10_000))
    shard, job = a_shard(), books.ledger.job(JOB)
    books.write(ShardMoved(before=shard, after=shard, due_at=after(10_000)))
    books.write(JobMoved(before=job, after=replace(job, due=Step.RETRY), due_at=after(10_000)))

    books.desk.cancel(JOB, now=LATER)

    steps = [claim.step for claim in books.claim(*Step, now=LATER)]
    assert steps == [Step.CANCEL, Step.CANCEL, Step.REVIEW, Step.PLAN]


@pytest.mark.parametrize("state", [JobState.CANCELLING, JobState.CANCELLED, JobState.FINISHED])
def test_cancelling_twice_or_too_late_changes_nothing(books: Books, state: JobState) -> None:
    books.open()
    books.add(a_chunk())
    job = books.put_job(state)

    assert books.desk.cancel(JOB, now=LATER) == job
    assert books.ledger.chunk(a_chunk().id) == a_chunk()


def test_another_job_is_not_cancelled_with_it(books: Books) -> None:
    other = JobId("other-deadbeef")
    books.open()
    books.open(a_job(other))
    books.add(a_chunk(job_id=other))

    books.desk.cancel(JOB, now=LATER)

    assert books.ledger.job(other).state is JobState.RUNNING
    assert not books.ledger.chunk(chunk_id("c00000-00000", other)).cancel_requested


def end(books: Books, chunk: Chunk, tally: Tally, dead: dict[int, int], settled: dict[int, int]) -> None:
    """Bring a chunk from ENDED to COLLECTED with these counts."""
    collected = replace(chunk, state=S.COLLECTED, tally=tally, part=f"parts/{chunk.name}.parquet")
    books.write(
        ChunkMoved(before=chunk, after=collected, due_at=None),
        RowsSettled(chunk_id=chunk.id, by_shard=settled, dead=dead),
        now=LATER,
    )


def an_ended_job(books: Books, state: JobState = JobState.FINISHED) -> None:
    """Bring a job of two shards of ten rows to its end: rows 2 and 3 of shard 0 and one of shard 1 are dead.

    One row of shard 0 is refused at planning; it is in no chunk.
    """
    books.open(a_job(attempts_max=3, rounds_max=3), shards=2)
    for number, refused in ((0, 1), (1, 0)):
        planned = replace(a_shard(number), state=ShardState.PLANNED, row_count=10, refused_count=refused)
        books.write(ShardMoved(before=a_shard(number), after=planned, due_at=None))
    first = a_chunk("c00000-00000", state=S.ENDED, request_count=9)
    second = a_chunk("c00001-00000", state=S.ENDED, shard_no=1)
    third = a_chunk("r00001", state=S.ENDED, shard_no=None, request_count=3, round=3)
    books.write(added(first, {0: 9}), added(second, {1: 10}), added(third, {0: 2, 1: 1}))
    end(books, first, Tally(succeeded=7, resent=2), {}, {0: 7})
    end(books, second, Tally(succeeded=8, dead=1, resent=1), {1: 1}, {1: 9})
    end(books, third, Tally(succeeded=1, dead=2), {0: 2}, {0: 2, 1: 1})
    for number in range(2):
        shard = books.ledger.shard(JOB, number)
        finished = replace(shard, state=ShardState.FINISHED, finished_slice_count=1)
        books.write(ShardMoved(before=shard, after=finished, due_at=None))
    books.put_job(state)


@pytest.mark.parametrize("state", [JobState.FINISHED, JobState.CANCELLED])
def test_a_retry_sends_dead_rows_again_in_a_new_revision(books: Books, state: JobState) -> None:
    """Three of twenty rows are dead and were requests: they wait; the refused one stays dead and settled."""
    an_ended_job(books, state)
    before = books.overview.totals(JOB)
    assert (before.settled, before.dead, before.waiting, before.refused) == (20, 3, 0, 1)

    assert books.desk.retry(JOB, now=LATER) == 3

    job, now = books.ledger.job(JOB), books.overview.totals(JOB)
    assert (job.state, job.revision, job.due) == (JobState.RUNNING, 2, Step.REVIEW)
    assert job.rounds_max == 6  # three rounds were sent, three more may be
    assert (now.settled, now.dead, now.waiting, now.refused, now.succeeded) == (17, 0, 3, 1, 16)
    assert now.waiting_since == LATER
    shards = books.overview.shards(JOB)
    assert [(s.settled_count, s.state, s.finished_slice_count) for s in shards] == [
        (8, ShardState.PLANNED, 0),
        (9, ShardState.PLANNED, 0),
    ]
    waiting = books.overview.waiting(JOB, limit=10)
    assert [(c.name, c.regather, c.tally.waiting, c.tally.dead) for c in waiting] == [
        ("c00001-00000", True, 1, 0),
        ("r00001", True, 2, 0),
    ]
    assert [claim.step for claim in books.claim(*Step, now=LATER)] == [Step.REVIEW]


def test_a_second_retry_counts_only_what_is_dead_by_then(books: Books) -> None:
    an_ended_job(books)
    books.desk.retry(JOB, now=LATER)
    for chunk in books.overview.waiting(JOB, limit=10):
        resent = replace(chunk.tally, waiting=0, resent=chunk.tally.resent + chunk.tally.waiting)
        books.move(replace(chunk, tally=resent, regather=False), due_at=None, now=LATER)
    fourth = a_chunk("r00002", state=S.ENDED, shard_no=None, request_count=3, round=4)
    books.write(added(fourth, {0: 2, 1: 1}), now=LATER)
    end(books, fourth, Tally(succeeded=2, dead=1), {0: 1}, {0: 2, 1: 1})
    assert books.overview.totals(JOB).settled == 20
    books.put_job(JobState.FINISHED, now=LATER)

    assert books.desk.retry(JOB, now=LATER) == 1

    assert [shard.settled_count for shard in books.overview.shards(JOB)] == [9, 10]
    assert (books.ledger.job(JOB).revision, books.ledger.job(JOB).rounds_max) == (3, 7)


def test_retrying_a_finished_job_without_dead_rows_changes_nothing(books: Books) -> None:
    books.open(shards=0)
    job = books.put_job(JobState.FINISHED)

    assert books.desk.retry(JOB, now=LATER) == 0
    assert books.ledger.job(JOB) == job


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.STOPPED, JobState.CANCELLING])
def test_only_a_job_that_has_ended_can_be_retried(books: Books, state: JobState) -> None:
    books.open()
    books.put_job(state)

    with pytest.raises(LedgerError, match=state):
        books.desk.retry(JOB, now=LATER)


def test_rows_that_a_cancel_found_unplanned_are_planned_when_the_job_is_retried(books: Books) -> None:
    """Rows 10 to 29 of shard 0 had no request: their stand-in goes away and planning goes on at row 10."""
    books.open(a_job(attempts_max=3, rounds_max=3), shards=1)
    partly = replace(a_shard(), row_count=10, chunk_count=1, slice_count=1)
    books.write(ShardMoved(before=a_shard(), after=partly, due_at=NOW))
    books.add(a_chunk())
    books.desk.cancel(JOB, now=NOW)
    partly = books.ledger.shard(JOB, 0)
    rest = a_chunk("c00000-rest", row_start=10, row_end=30, request_count=20, request_bytes=0, requests="")
    planned = replace(partly, state=ShardState.PLANNED, row_count=30)
    books.write(ShardMoved(before=partly, after=planned, due_at=NOW), added(rest))
    for name, count in (("c00000-00000", 10), ("c00000-rest", 20)):
        chunk = books.ledger.chunk(chunk_id(name))
        books.move(replace(chunk, state=S.CANCELLED, tally=Tally(dead=count)), due_at=None)
    assert books.ledger.shard(JOB, 0).settled_count == 30
    books.put_job(JobState.CANCELLED)

    assert books.desk.retry(JOB, now=LATER) == 30

    shard, totals = books.ledger.shard(JOB, 0), books.overview.totals(JOB)
    assert (shard.state, shard.row_count, shard.settled_count, shard.chunk_count) == (ShardState.PLANNING, 10, 0, 1)
    assert (totals.rows, totals.settled, totals.dead, totals.waiting) == (10, 0, 0, 10)
    assert books.overview.contributions(JOB, 0)[0].chunk.name == "c00000-00000"
    assert len(books.overview.contributions(JOB, 0)) == 1
    with pytest.raises(LedgerError):
        books.ledger.chunk(rest.id)
    assert {claim.step for claim in books.claim(*Step, now=LATER)} == {Step.REVIEW, Step.PLAN}


def test_a_cancelled_job_of_which_nothing_was_planned_can_be_retried(books: Books) -> None:
    books.open(shards=1)
    books.desk.cancel(JOB, now=NOW)
    rest = a_chunk("c00000-rest", row_start=0, row_end=20, request_count=20, request_bytes=0, requests="")
    planned = replace(a_shard(), state=ShardState.PLANNED, row_count=20)
    books.write(ShardMoved(before=a_shard(), after=planned, due_at=NOW), added(rest))
    chunk = books.ledger.chunk(rest.id)
    books.move(replace(chunk, state=S.CANCELLED, tally=Tally(dead=20)), due_at=None)
    books.put_job(JobState.CANCELLED)

    assert books.desk.retry(JOB, now=LATER) == 20

    job, shard = books.ledger.job(JOB), books.ledger.shard(JOB, 0)
    assert (job.state, job.rounds_max) == (JobState.RUNNING, 3)
    assert (shard.state, shard.row_count, shard.settled_count) == (ShardState.PLANNING, 0, 0)


def test_a_chunk_that_is_retried_is_no_longer_wished_cancelled(books: Books) -> None:
    """Its requests go into a retry chunk of the running job; nothing of the old wish may hang on to it."""
    an_ended_job(books, JobState.CANCELLED)
    books.desk.retry(JOB, now=LATER)

    books.write(added(a_chunk("r00002", shard_no=None, round=4), {0: 2, 1: 1}), now=LATER)

    assert names(books.claim(Step.SUBMIT, now=LATER)) == ["r00002"]


def hold(books: Books, name: str = "c00000-00000", token: str = "token-1") -> Chunk:
    """Bring a chunk to HELD, with its one create open."""
    books.add(a_chunk(name, state=S.HELD, token=AttemptToken(token), sent_at=NOW, attempt=1, error="nobody can tell"))
    chunk = books.ledger.chunk(chunk_id(name))
    books.write(AttemptOpened(attempt=an_attempt(token, chunk, reserved_usd=Decimal(1)), budget_usd=None))
    return chunk


def test_held_chunks_are_listed_with_the_create_nobody_has_an_answer_to(books: Books) -> None:
    books.open()
    chunk = hold(books)
    books.add(a_chunk("c00000-00001", state=S.IN_DOUBT))

    assert books.desk.held(JOB) == [(chunk, an_attempt("token-1", chunk, reserved_usd=Decimal(1)))]


def test_a_person_may_say_which_batch_a_held_create_made(books: Books) -> None:
    books.open()
    chunk = hold(books)

    found = books.desk.resolve(chunk.id, BatchId("batch-1"), now=LATER)

    assert found == books.ledger.chunk(chunk.id)
    assert (found.state, found.batch_id, found.error) == (S.SUBMITTED, "batch-1", "")
    [attempt] = books.desk.attempts(JOB)
    assert (attempt.state, attempt.batch_id) == (AttemptState.CREATED, "batch-1")
    assert names(books.claim(Step.POLL, now=LATER)) == [chunk.name]
    assert books.overview.ever_created(JOB)
    assert books.desk.held(JOB) == []


def test_a_person_may_say_that_a_held_create_made_nothing(books: Books) -> None:
    books.open()
    chunk = hold(books)

    found = books.desk.resolve(chunk.id, None, now=LATER)

    assert found == books.ledger.chunk(chunk.id)
    assert (found.state, found.batch_id) == (S.PLANNED, None)
    [attempt] = books.desk.attempts(JOB)
    assert (attempt.state, attempt.batch_id) == (AttemptState.ABSENT, None)
    assert names(books.claim(Step.SUBMIT, now=LATER)) == [chunk.name]
    assert books.overview.totals(JOB).reserved_usd == 0


@pytest.mark.parametrize("state", [state for state in ChunkState if state is not S.HELD])
def test_what_is_not_held_cannot_be_resolved(books: Books, state: ChunkState) -> None:
    books.open()
    books.add(a_chunk(state=state))

    with pytest.raises(LedgerError, match="not held"):
        books.desk.resolve(a_chunk().id, None, now=LATER)

    assert books.ledger.chunk(a_chunk().id) == a_chunk(state=state)


def test_what_does_not_exist_cannot_be_resolved_cancelled_resumed_or_retried(books: Books) -> None:
    nobody = JobId("nobody")
    with pytest.raises(LedgerError, match="knows no chunk"):
        books.desk.resolve(a_chunk().id, None, now=NOW)
    for ask in (books.desk.cancel, books.desk.resume, books.desk.retry):
        with pytest.raises(LedgerError, match="knows no job"):
            ask(nobody, now=NOW)


def test_a_held_create_cannot_be_given_a_batch_that_is_another_chunks(books: Books) -> None:
    """Promise 4: its answers are of other rows. The message says whose it is, and nothing changes."""
    books.open()
    first, second = hold(books), hold(books, "c00000-00001", "token-2")
    books.desk.resolve(first.id, BatchId("batch-1"), now=LATER)

    with pytest.raises(LedgerError, match=r"batch-1 .*c00000-00000"):
        books.desk.resolve(second.id, BatchId("batch-1"), now=LATER)

    assert books.ledger.chunk(second.id) == second


def test_a_timeline_tells_what_happened_in_order_and_can_be_read_on_from_any_point(books: Books) -> None:
    books.open(shards=4)
    books.write(Noted(name="batch.looked", details={"done": 3, "nothing": ""}), now=after(1))
    books.add(a_chunk())
    books.move(replace(a_chunk(), state=S.SUBMITTING, attempt=1), due_at=NOW)
    books.desk.cancel(JOB, now=after(2))

    told = books.desk.events(JOB)

    assert [(event.at, event.name, event.unit, event.details) for _, event in told] == [
        (NOW, "job.opened", "", {"shards": 4}),
        (after(1), "batch.looked", "", {"done": 3}),
        (NOW, "chunk.submitting", "c00000-00000", {"attempt": 1}),
        (after(2), "job.cancelling", "", {}),
    ]
    assert books.desk.events(JOB, after=told[1][0]) == told[2:]
    assert books.desk.events(JOB, limit=1) == told[:1]
    assert books.desk.events(JobId("other-deadbeef")) == []
