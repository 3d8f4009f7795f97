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
from orchestrator.domain.policy import NullPolicy, OnAmbiguous, Reuse
from tests.builders import ACCOUNT, JOB, NOW, a_chunk, a_job, a_shard, added, after, an_attempt, chunk_id
from tests.contract.ledger_harness import LedgerHarness

S = ChunkState


def test_a_job_comes_back_as_it_was_entered(harness: LedgerHarness) -> None:
    """With a policy that differs from the default in every field."""
    job = a_job(
        spec='{"name": "sotu"}',
        rounds_max=5,
        attempts_max=5,
        on_ambiguous=OnAmbiguous.RESUBMIT,
        max_duplicate_usd=Decimal("1.50"),
        budget_usd=Decimal("12.345678901"),
        confirm_usd=Decimal(7),
        null_policy=NullPolicy.SKIP,
        reuse=Reuse.NEVER,
        dedupe=True,
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

    harness.open(job)

    assert harness.ledger.job(JOB) == job


def test_a_chunk_comes_back_as_it_was_entered(harness: LedgerHarness) -> None:
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
        amends="invalid",
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
    harness.open()

    harness.add(chunk)

    assert harness.ledger.chunk(chunk.id) == chunk


def test_a_shard_begins_with_nothing_planned(harness: LedgerHarness) -> None:
    harness.open(shards=3)

    assert [harness.ledger.shard(JOB, number) for number in range(3)] == [a_shard(number) for number in range(3)]


@pytest.mark.parametrize(
    "read",
    [
        lambda harness: harness.ledger.job(JobId("nobody")),
        lambda harness: harness.ledger.shard(JOB, 1),
        lambda harness: harness.ledger.chunk(chunk_id("c00000-00001")),
    ],
)
def test_what_the_ledger_does_not_know_is_an_error(
    harness: LedgerHarness, read: Callable[[LedgerHarness], object]
) -> None:
    harness.open()

    with pytest.raises(LedgerError, match="knows no"):
        read(harness)


def test_a_recorded_move_is_one_version_on_and_lets_go_of_the_claim(harness: LedgerHarness) -> None:
    harness.open()
    harness.add(a_chunk())
    [claim] = harness.claim(Step.SUBMIT)
    after_it = replace(a_chunk(), state=S.SUBMITTING, attempt=1)

    harness.ledger.record(claim, ChunkMoved(before=a_chunk(), after=after_it, due_at=after(5)), now=NOW)

    assert harness.ledger.chunk(claim.unit.chunk_id) == written(after_it)  # type: ignore[arg-type]
    assert harness.claim(Step.RECOVER, now=after(4)) == []
    assert len(harness.claim(Step.RECOVER, now=after(5))) == 1


def test_a_kept_claim_stays_the_callers(harness: LedgerHarness) -> None:
    """With `keep`, nobody else gets the unit, and the same claim records again; without, it is free at once."""
    harness.open()
    harness.add(a_chunk())
    [claim] = harness.claim(Step.SUBMIT)

    harness.ledger.record(claim, Noted(name="looked"), now=NOW, keep=True)
    assert harness.claim(Step.SUBMIT) == []
    harness.ledger.record(claim, now=NOW)

    assert len(harness.claim(Step.SUBMIT)) == 1


@pytest.mark.parametrize("keep", [True, False])
def test_a_stale_token_records_nothing(harness: LedgerHarness, *, keep: bool) -> None:
    harness.open()
    harness.add(a_chunk())
    [stale] = harness.claim(Step.SUBMIT)
    [present] = harness.claim(Step.SUBMIT, now=after(60))
    moved = ChunkMoved(before=a_chunk(), after=replace(a_chunk(), state=S.SUBMITTING), due_at=NOW)

    with pytest.raises(LeaseLost):
        harness.ledger.record(stale, moved, now=after(60), keep=keep)

    assert harness.ledger.chunk(a_chunk().id) == a_chunk()
    harness.ledger.record(present, moved, now=after(60))


@pytest.mark.parametrize("step", [Step.SUBMIT, Step.PLAN, Step.REVIEW])
def test_a_stale_version_records_nothing_at_all(harness: LedgerHarness, step: Step) -> None:
    """The token is in order, the facts are not: none of the changes of the call is written, nor the claim let go."""
    job = harness.open(shards=1)
    harness.add(a_chunk())
    [claim] = harness.claim(step)
    harness.ledger.record(claim, Noted(name="first"), now=NOW, keep=True)
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
        harness.ledger.record(claim, *changes, now=NOW)

    assert [event.name for _, event in harness.admin.events(JOB)] == ["job.opened", "first"]
    assert harness.admin.pause_reason(ACCOUNT, now=NOW) == ""
    assert harness.admin.attempts(JOB) == []
    assert harness.ledger.shard(JOB, 0) == a_shard()
    assert harness.ledger.job(JOB) == job
    assert harness.ledger.chunk(a_chunk().id) == a_chunk()
    with pytest.raises(LedgerError):
        harness.ledger.chunk(chunk_id("c00000-00001"))
    assert harness.claim(step) == []


@pytest.mark.parametrize("kind", ["job", "shard", "chunk"])
def test_of_two_moves_decided_on_the_same_facts_only_the_first_is_taken(harness: LedgerHarness, kind: str) -> None:
    """Rule 1: this alone keeps the promises, also where both bear a good claim."""
    job = harness.open()
    harness.add(a_chunk())
    shard, chunk = a_shard(), a_chunk()
    change: Change = {
        "job": JobMoved(before=job, after=replace(job, retry_count=1), due_at=NOW),
        "shard": ShardMoved(before=shard, after=replace(shard, row_count=1), due_at=NOW),
        "chunk": ChunkMoved(before=chunk, after=replace(chunk, tries=1), due_at=NOW),
    }[kind]  # type: ignore[assignment]
    harness.write(change)

    with pytest.raises(LeaseLost):
        harness.write(change, now=after(60))

    assert [
        harness.ledger.job(JOB).version,
        harness.ledger.shard(JOB, 0).version,
        harness.ledger.chunk(chunk.id).version,
    ] == [
        kind == "job",
        kind == "shard",
        kind == "chunk",
    ]


def spread_chunk(harness: LedgerHarness, state: ChunkState) -> Chunk:
    """Enter a chunk with three rows of shard 0 and seven of shard 2, of three planned shards of ten rows."""
    harness.open(shards=3)
    for number in range(3):
        shard = a_shard(number)
        planned = replace(shard, state=ShardState.PLANNED, row_count=10)
        harness.write(ShardMoved(before=shard, after=planned, due_at=NOW))
    chunk = a_chunk("r00001", state=state, shard_no=None)
    harness.write(added(chunk, {0: 3, 2: 7}))
    return chunk


def settled(harness: LedgerHarness) -> list[int]:
    return [shard.settled_count for shard in harness.ledger.shards(JOB)]


@pytest.mark.parametrize("end", [S.FAILED, S.CANCELLED])
def test_a_chunk_given_up_or_cancelled_unsent_settles_all_its_rows(harness: LedgerHarness, end: ChunkState) -> None:
    chunk = spread_chunk(harness, S.PLANNED)

    harness.move(replace(chunk, state=end, tally=Tally(failed=10)), due_at=None)

    assert settled(harness) == [3, 0, 7]
    assert harness.ledger.totals(JOB).failed == 10


def test_rows_of_a_collected_chunk_are_settled_as_it_says(harness: LedgerHarness) -> None:
    """A move to COLLECTED settles nothing by itself: what waits is not settled."""
    chunk = spread_chunk(harness, S.ENDED)
    collected = replace(chunk, state=S.COLLECTED, tally=Tally(succeeded=5, failed=1, waiting=4))

    harness.write(
        ChunkMoved(before=chunk, after=collected, due_at=None),
        RowsSettled(chunk_id=chunk.id, by_shard={0: 2, 2: 4}, failed={2: 1}),
    )

    assert settled(harness) == [2, 0, 4]


def test_rows_refused_at_planning_are_settled_at_once_and_once_only(harness: LedgerHarness) -> None:
    harness.open()
    first = replace(a_shard(), row_count=10, refused_count=3, slice_count=1)
    harness.write(ShardMoved(before=a_shard(), after=first, due_at=NOW))
    second = replace(first, version=1, row_count=15, refused_count=5, state=ShardState.PLANNED)

    harness.write(ShardMoved(before=replace(first, version=1), after=second, due_at=NOW))

    assert harness.ledger.shard(JOB, 0) == replace(second, settled_count=5, version=2)


def test_planning_on_does_not_undo_what_chunks_have_settled_meanwhile(harness: LedgerHarness) -> None:
    """The counter is the ledger's: a shard read before a chunk settled is written after it."""
    harness.open()
    harness.add(a_chunk(state=S.SUBMITTING))
    read_before = harness.ledger.shard(JOB, 0)
    harness.move(replace(a_chunk(), state=S.FAILED), due_at=None)

    harness.write(ShardMoved(before=read_before, after=replace(read_before, row_count=20), due_at=NOW))

    assert harness.ledger.shard(JOB, 0).settled_count == 10


def test_a_chunk_that_comes_after_the_cancel_is_born_with_the_wish_to_be_cancelled(harness: LedgerHarness) -> None:
    harness.open()
    harness.add(a_chunk("c00000-00000"))
    harness.put_job(JobState.STOPPED)
    harness.admin.resume(JOB, now=NOW)
    harness.admin.cancel(JOB, now=NOW)

    harness.add(a_chunk("c00000-00001"))

    assert harness.ledger.chunk(chunk_id("c00000-00001")).cancel_requested
    assert {claim.step for claim in harness.claim(*Step) if claim.unit.chunk_id} == {Step.CANCEL}


def test_a_chunk_of_a_running_job_is_born_without_it(harness: LedgerHarness) -> None:
    harness.open()

    harness.add(a_chunk())

    assert not harness.ledger.chunk(a_chunk().id).cancel_requested


def test_a_step_cannot_take_back_a_wish_to_cancel(harness: LedgerHarness) -> None:
    """It read the chunk before the cancel came; its write must not undo it."""
    harness.open()
    harness.add(a_chunk(state=S.SUBMITTING))
    read_before = harness.ledger.chunk(a_chunk().id)
    harness.admin.cancel(JOB, now=NOW)
    assert not read_before.cancel_requested

    created = replace(read_before, state=S.SUBMITTED, batch_id=BatchId("batch-1"))
    harness.write(ChunkMoved(before=read_before, after=created, due_at=NOW))

    found = harness.ledger.chunk(a_chunk().id)
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
    harness: LedgerHarness, after_state: ChunkState, *, sooner: bool
) -> None:
    job = harness.open(shards=0)
    harness.add(a_chunk())
    harness.write(JobMoved(before=job, after=job, due_at=after(1_000)))
    [claim] = harness.claim(Step.SUBMIT)
    moved = ChunkMoved(before=a_chunk(), after=a_chunk(state=after_state), due_at=None)

    harness.ledger.record(claim, moved, now=after(5))

    assert len(harness.claim(Step.REVIEW, now=after(5))) == sooner


def test_a_review_that_is_due_sooner_is_not_put_off(harness: LedgerHarness) -> None:
    harness.open(shards=0)
    harness.add(a_chunk())
    [claim] = harness.claim(Step.SUBMIT)

    harness.ledger.record(claim, ChunkMoved(before=a_chunk(), after=a_chunk(state=S.FAILED), due_at=None), now=after(5))

    assert len(harness.claim(Step.REVIEW, now=NOW)) == 1


def test_a_paused_account_says_why_for_as_long_as_it_is(harness: LedgerHarness) -> None:
    harness.open()
    harness.write(AccountPaused(account=ACCOUNT, until=after(30), reason="out of credits"))
    harness.write(AccountPaused(account=ACCOUNT, until=after(60), reason="still out of credits"))

    assert harness.admin.pause_reason(ACCOUNT, now=after(59)).startswith("still out of credits (next try: 20")
    assert harness.admin.pause_reason(ACCOUNT, now=after(60)) == ""
    assert harness.admin.pause_reason("another", now=NOW) == ""
