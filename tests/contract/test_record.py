"""Writing to the ledger: on present facts only, all of it or nothing, and what follows from each change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from decimal import Decimal

import pytest

from orchestrator.domain.changes import (
    AccountPaused,
    AttemptOpened,
    Change,
    ChunkMoved,
    JobMoved,
    Noted,
    RowsSettled,
    ShardMoved,
    written,
)
from orchestrator.domain.errors import LeaseLost, LedgerError
from orchestrator.domain.model import (
    AttemptToken,
    BatchId,
    Chunk,
    ChunkState,
    FileId,
    JobId,
    JobState,
    Outcome,
    ShardState,
    Step,
    Tally,
)
from orchestrator.domain.policy import NullPolicy, OnAmbiguous
from tests.builders import ACCOUNT, JOB, NOW, a_chunk, a_job, a_shard, added, after, an_attempt, chunk_id
from tests.contract.books import Books

S = ChunkState


def test_a_job_comes_back_as_it_was_entered(books: Books) -> None:
    """With a policy that differs from the default in every field."""
    job = a_job(
        spec='{"name": "sotu"}',
        rounds_max=5,
        attempts_max=5,
        on_ambiguous=OnAmbiguous.RESUBMIT,
        max_duplicate_usd=Decimal("1.50"),
        budget_usd=Decimal("12.345678901"),
        null_policy=NullPolicy.SKIP,
        canary_rows=6,
        chunk_requests_max=7,
        chunk_bytes_max=8,
        chunk_tokens_max=9,
        batches_in_flight_max=3,
        chunks_ahead_max=4,
        poll_s_min=1.5,
        poll_s_max=2.5,
        polls_per_minute_max=6,
        creates_per_minute_max=5,
        retry_gather_s=3.5,
    )
    assert not [f.name for f in fields(job.policy) if getattr(job.policy, f.name) == f.default]

    books.open(job)

    assert books.ledger.job(JOB) == job


def test_a_chunk_comes_back_as_it_was_entered(books: Books) -> None:
    """With something in every field."""
    chunk = a_chunk(
        state=S.SUBMITTED,
        row_start=3,
        row_end=13,
        round=2,
        tokens_in=345,
        cost_usd_max=Decimal("0.000000001"),
        attempt=2,
        token=AttemptToken("token-1"),
        file_id=FileId("file-1"),
        sent_at=after(-1.000001),
        fenced_at=after(-0.5),
        outcome=Outcome.EXPIRED,
        results="https://example.test/results",
        tries=3,
        cancel_sent=True,
        done_count=4,
        fees_usd=Decimal("123456.123456789"),
        error_code="429",
        error="busy",
        part="parts/c.parquet",
        regather="failed",
        improves="empty",
        tally=Tally(
            succeeded=1,
            failed=2,
            waiting=3,
            resent=4,
            missing=5,
            lines=6,
            duplicates=7,
            foreign=8,
            unreadable=9,
        ),
    )
    books.open()

    books.add(chunk)

    assert books.ledger.chunk(chunk.id) == chunk


def test_a_shard_begins_with_nothing_planned(books: Books) -> None:
    books.open(shards=3)

    assert [books.ledger.shard(JOB, number) for number in range(3)] == [a_shard(number) for number in range(3)]


@pytest.mark.parametrize(
    "read",
    [
        lambda books: books.ledger.job(JobId("nobody")),
        lambda books: books.ledger.shard(JOB, 1),
        lambda books: books.ledger.chunk(chunk_id("c00000-00001")),
    ],
)
def test_what_the_ledger_does_not_know_is_an_error(books: Books, read: Callable[[Books], object]) -> None:
    books.open()

    with pytest.raises(LedgerError, match="knows no"):
        read(books)


def test_a_recorded_move_is_one_version_on_and_lets_go_of_the_claim(books: Books) -> None:
    books.open()
    books.add(a_chunk())
    [claim] = books.claim(Step.SUBMIT)
    after_it = replace(a_chunk(), state=S.SUBMITTING, attempt=1)

    books.ledger.record(claim, ChunkMoved(before=a_chunk(), after=after_it, due_at=after(5)), now=NOW)

    assert books.ledger.chunk(claim.unit.chunk_id) == written(after_it)  # type: ignore[arg-type]
    assert books.claim(Step.RECOVER, now=after(4)) == []
    assert len(books.claim(Step.RECOVER, now=after(5))) == 1


def test_a_kept_claim_stays_the_callers(books: Books) -> None:
    """With `keep`, nobody else gets the unit, and the same claim records again; without, it is free at once."""
    books.open()
    books.add(a_chunk())
    [claim] = books.claim(Step.SUBMIT)

    books.ledger.record(claim, Noted(name="looked"), now=NOW, keep=True)
    assert books.claim(Step.SUBMIT) == []
    books.ledger.record(claim, now=NOW)

    assert len(books.claim(Step.SUBMIT)) == 1


@pytest.mark.parametrize("keep", [True, False])
def test_a_stale_token_records_nothing(books: Books, *, keep: bool) -> None:
    books.open()
    books.add(a_chunk())
    [stale] = books.claim(Step.SUBMIT)
    [present] = books.claim(Step.SUBMIT, now=after(60))
    moved = ChunkMoved(before=a_chunk(), after=replace(a_chunk(), state=S.SUBMITTING), due_at=NOW)

    with pytest.raises(LeaseLost):
        books.ledger.record(stale, moved, now=after(60), keep=keep)

    assert books.ledger.chunk(a_chunk().id) == a_chunk()
    books.ledger.record(present, moved, now=after(60))


@pytest.mark.parametrize("step", [Step.SUBMIT, Step.PLAN, Step.REVIEW])
def test_a_stale_version_records_nothing_at_all(books: Books, step: Step) -> None:
    """The token is in order, the facts are not: none of the changes of the call is written, nor the claim let go."""
    job = books.open(shards=1)
    books.add(a_chunk())
    [claim] = books.claim(step)
    books.ledger.record(claim, Noted(name="first"), now=NOW, keep=True)
    old = replace(a_chunk(), version=7)
    changes: list[Change] = [
        Noted(name="second"),
        AccountPaused(account=ACCOUNT, until=after(9), reason="no"),
        AttemptOpened(attempt=an_attempt(), budget_usd=None),
        RowsSettled(chunk_id=a_chunk().id, by_shard={0: 4}, failed={0: 1}),
        ShardMoved(before=a_shard(), after=replace(a_shard(), row_count=10), due_at=NOW),
        JobMoved(before=job, after=replace(job, due=Step.SEAL), due_at=NOW),
        added(a_chunk("c00000-00001")),
        ChunkMoved(before=old, after=replace(old, tries=1), due_at=NOW),
    ]

    with pytest.raises(LeaseLost):
        books.ledger.record(claim, *changes, now=NOW)

    assert [event.name for _, event in books.admin.events(JOB)] == ["job.opened", "first"]
    assert books.admin.pause_reason(ACCOUNT, now=NOW) == ""
    assert books.admin.attempts(JOB) == []
    assert books.ledger.shard(JOB, 0) == a_shard()
    assert books.ledger.job(JOB) == job
    assert books.ledger.chunk(a_chunk().id) == a_chunk()
    with pytest.raises(LedgerError):
        books.ledger.chunk(chunk_id("c00000-00001"))
    assert books.claim(step) == []


@pytest.mark.parametrize("kind", ["job", "shard", "chunk"])
def test_of_two_moves_decided_on_the_same_facts_only_the_first_is_taken(books: Books, kind: str) -> None:
    """Rule 1: this alone keeps the promises, also where both bear a good claim."""
    job = books.open()
    books.add(a_chunk())
    shard, chunk = a_shard(), a_chunk()
    change: Change = {
        "job": JobMoved(before=job, after=replace(job, retry_count=1), due_at=NOW),
        "shard": ShardMoved(before=shard, after=replace(shard, row_count=1), due_at=NOW),
        "chunk": ChunkMoved(before=chunk, after=replace(chunk, tries=1), due_at=NOW),
    }[kind]  # type: ignore[assignment]
    books.write(change)

    with pytest.raises(LeaseLost):
        books.write(change, now=after(60))

    assert [
        books.ledger.job(JOB).version,
        books.ledger.shard(JOB, 0).version,
        books.ledger.chunk(chunk.id).version,
    ] == [
        kind == "job",
        kind == "shard",
        kind == "chunk",
    ]


def spread_chunk(books: Books, state: ChunkState) -> Chunk:
    """Enter a chunk with three rows of shard 0 and seven of shard 2, of three planned shards of ten rows."""
    books.open(shards=3)
    for number in range(3):
        shard = a_shard(number)
        planned = replace(shard, state=ShardState.PLANNED, row_count=10)
        books.write(ShardMoved(before=shard, after=planned, due_at=NOW))
    chunk = a_chunk("r00001", state=state, shard_no=None)
    books.write(added(chunk, {0: 3, 2: 7}))
    return chunk


def settled(books: Books) -> list[int]:
    return [shard.settled_count for shard in books.ledger.shards(JOB)]


@pytest.mark.parametrize("end", [S.FAILED, S.CANCELLED])
def test_a_chunk_given_up_or_cancelled_unsent_settles_all_its_rows(books: Books, end: ChunkState) -> None:
    chunk = spread_chunk(books, S.PLANNED)

    books.move(replace(chunk, state=end, tally=Tally(failed=10)), due_at=None)

    assert settled(books) == [3, 0, 7]
    assert books.ledger.totals(JOB).failed == 10


def test_rows_of_a_collected_chunk_are_settled_as_it_says(books: Books) -> None:
    """A move to COLLECTED settles nothing by itself: what waits is not settled."""
    chunk = spread_chunk(books, S.ENDED)
    collected = replace(chunk, state=S.COLLECTED, tally=Tally(succeeded=5, failed=1, waiting=4))

    books.write(
        ChunkMoved(before=chunk, after=collected, due_at=None),
        RowsSettled(chunk_id=chunk.id, by_shard={0: 2, 2: 4}, failed={2: 1}),
    )

    assert settled(books) == [2, 0, 4]


def test_rows_refused_at_planning_are_settled_at_once_and_once_only(books: Books) -> None:
    books.open()
    first = replace(a_shard(), row_count=10, refused_count=3, slice_count=1)
    books.write(ShardMoved(before=a_shard(), after=first, due_at=NOW))
    second = replace(first, version=1, row_count=15, refused_count=5, state=ShardState.PLANNED)

    books.write(ShardMoved(before=replace(first, version=1), after=second, due_at=NOW))

    assert books.ledger.shard(JOB, 0) == replace(second, settled_count=5, version=2)


def test_planning_on_does_not_undo_what_chunks_have_settled_meanwhile(books: Books) -> None:
    """The counter is the ledger's: a shard read before a chunk settled is written after it."""
    books.open()
    books.add(a_chunk(state=S.SUBMITTING))
    read_before = books.ledger.shard(JOB, 0)
    books.move(replace(a_chunk(), state=S.FAILED), due_at=None)

    books.write(ShardMoved(before=read_before, after=replace(read_before, row_count=20), due_at=NOW))

    assert books.ledger.shard(JOB, 0).settled_count == 10


def test_a_chunk_that_comes_after_the_cancel_is_born_with_the_wish_to_be_cancelled(books: Books) -> None:
    books.open()
    books.add(a_chunk("c00000-00000"))
    books.put_job(JobState.STOPPED)
    books.admin.resume(JOB, now=NOW)
    books.admin.cancel(JOB, now=NOW)

    books.add(a_chunk("c00000-00001"))

    assert books.ledger.chunk(chunk_id("c00000-00001")).cancel_requested
    assert {claim.step for claim in books.claim(*Step) if claim.unit.chunk_id} == {Step.CANCEL}


def test_a_chunk_of_a_running_job_is_born_without_it(books: Books) -> None:
    books.open()

    books.add(a_chunk())

    assert not books.ledger.chunk(a_chunk().id).cancel_requested


def test_a_step_cannot_take_back_a_wish_to_cancel(books: Books) -> None:
    """It read the chunk before the cancel came; its write must not undo it."""
    books.open()
    books.add(a_chunk(state=S.SUBMITTING))
    read_before = books.ledger.chunk(a_chunk().id)
    books.admin.cancel(JOB, now=NOW)
    assert not read_before.cancel_requested

    created = replace(read_before, state=S.SUBMITTED, batch_id=BatchId("batch-1"))
    books.write(ChunkMoved(before=read_before, after=created, due_at=NOW))

    found = books.ledger.chunk(a_chunk().id)
    assert (found.state, found.batch_id, found.cancel_requested) == ("submitted", "batch-1", True)


@pytest.mark.parametrize(
    ("after_state", "sooner"),
    [
        (S.COLLECTED, True),
        (S.FAILED, True),
        (S.CANCELLED, True),
        (S.SPLIT, True),
        (S.UNRESOLVED, True),
        (S.SUBMITTING, False),
        (S.AMBIGUOUS, False),
        (S.ENDED, False),
    ],
)
def test_the_job_is_reviewed_as_soon_as_a_chunk_may_have_made_a_difference(
    books: Books, after_state: ChunkState, *, sooner: bool
) -> None:
    job = books.open(shards=0)
    books.add(a_chunk())
    books.write(JobMoved(before=job, after=job, due_at=after(1_000)))
    [claim] = books.claim(Step.SUBMIT)
    moved = ChunkMoved(before=a_chunk(), after=a_chunk(state=after_state), due_at=None)

    books.ledger.record(claim, moved, now=after(5))

    assert len(books.claim(Step.REVIEW, now=after(5))) == sooner


def test_a_review_that_is_due_sooner_is_not_put_off(books: Books) -> None:
    books.open(shards=0)
    books.add(a_chunk())
    [claim] = books.claim(Step.SUBMIT)

    books.ledger.record(claim, ChunkMoved(before=a_chunk(), after=a_chunk(state=S.FAILED), due_at=None), now=after(5))

    assert len(books.claim(Step.REVIEW, now=NOW)) == 1


def test_a_paused_account_says_why_for_as_long_as_it_is(books: Books) -> None:
    books.open()
    books.write(AccountPaused(account=ACCOUNT, until=after(30), reason="out of credits"))
    books.write(AccountPaused(account=ACCOUNT, until=after(60), reason="still out of credits"))

    assert books.admin.pause_reason(ACCOUNT, now=after(59)).startswith("still out of credits (next try: 20")
    assert books.admin.pause_reason(ACCOUNT, now=after(60)) == ""
    assert books.admin.pause_reason("another", now=NOW) == ""
