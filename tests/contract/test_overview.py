"""Sums and lists over many units."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from orchestrator.domain.changes import AttemptClosed, AttemptOpened, ShardMoved
from orchestrator.domain.model import TERMINAL, AttemptState, BatchId, ChunkState, JobId, ShardState, Tally
from orchestrator.domain.progress import Outlook, Totals
from tests.builders import JOB, a_chunk, a_job, a_shard, added, after, an_attempt
from tests.contract.ledger_harness import LedgerHarness

S = ChunkState


def test_a_new_job_in_numbers(harness: LedgerHarness) -> None:
    harness.open(shards=3)

    assert harness.ledger.totals(JOB) == Totals(shards=3, shards_planning=3, rows=0, settled=0, refused=0)


def test_a_job_under_way_in_numbers(harness: LedgerHarness) -> None:
    """Every figure by hand; another job beside it counts nowhere."""
    other = JobId("other-deadbeef")
    harness.open(shards=3)
    harness.open(a_job(other), shards=7)
    harness.add(a_chunk(job_id=other, state=S.SUBMITTED, tally=Tally(succeeded=99)))
    for number, state, refused in ((0, ShardState.FINISHED, 1), (1, ShardState.PLANNED, 2)):
        moved = replace(a_shard(number), state=state, row_count=20, refused_count=refused)
        harness.write(ShardMoved(before=a_shard(number), after=moved, due_at=None))
    tally = Tally(succeeded=1, failed=2, waiting=3, resent=4, missing=5, lines=6, duplicates=7, foreign=8, unreadable=9)
    harness.add(
        a_chunk("c00000-00000", state=S.SUBMITTED, request_count=10, done_count=4),
        a_chunk("c00000-00001", state=S.SUBMITTED, request_count=20, done_count=0),
        a_chunk("c00000-00002", state=S.ENDED, request_count=40, done_count=40),
        a_chunk("c00000-00003"),
    )
    for name, found_at in (("c00000-00004", 50), ("c00000-00005", 30)):
        chunk = a_chunk(name, state=S.ENDED)
        harness.add(chunk)
        collected = replace(chunk, state=S.COLLECTED, tally=tally)
        harness.move(collected, due_at=None, now=after(found_at))

    assert harness.ledger.totals(JOB) == Totals(
        shards=3,
        shards_planning=1,
        rows=40,
        settled=3,
        refused=3,
        chunks={S.SUBMITTED: 2, S.ENDED: 1, S.PLANNED: 1, S.COLLECTED: 2},
        succeeded=2,
        failed=4,
        waiting=6,
        waiting_since=after(30),
        missing=10,
        lines=12,
        duplicates=14,
        foreign=16,
        unreadable=18,
        unsent_usd_min=Decimal(0),  # what it may cost is not known
    )


@pytest.mark.parametrize(
    ("states", "shard", "moving", "finished"),
    [
        ([], ShardState.PLANNING, True, False),
        ([], ShardState.PLANNED, False, False),
        ([], ShardState.FINISHED, False, True),
        ([S.COLLECTED, S.FAILED, S.CANCELLED, S.SPLIT, S.UNRESOLVED], ShardState.PLANNED, False, False),
        *(
            ([state], ShardState.PLANNED, True, False)
            for state in S
            if state not in {*TERMINAL, S.UNRESOLVED, S.DUPLICATE}
        ),
        ([S.DUPLICATE, S.UNRESOLVED], ShardState.PLANNED, False, False),
    ],
)
def test_a_job_moves_while_a_shard_is_planned_or_a_chunk_needs_no_person(
    harness: LedgerHarness, states: list[ChunkState], shard: ShardState, moving: bool, finished: bool
) -> None:
    """Another job beside it counts nowhere; of two shards, one is finished."""
    other = JobId("other-deadbeef")
    harness.open(shards=2)
    harness.open(a_job(other), shards=1)
    harness.add(a_chunk(job_id=other, state=S.COLLECTED, tally=Tally(waiting=9)))
    for number, state in enumerate((ShardState.FINISHED, shard)):
        harness.write(ShardMoved(before=a_shard(number), after=replace(a_shard(number), state=state), due_at=None))
    for number, state in enumerate(states):
        harness.add(a_chunk(f"c00000-{number:05d}", state=state))

    assert harness.ledger.outlook(JOB) == Outlook(waiting=0, waiting_since=None, moving=moving, finished=finished)


def test_duplicates_are_copied_once_no_other_chunk_is_live(harness: LedgerHarness) -> None:
    """A shard that is still being planned is no reason to wait: its duplicates come with their equal requests."""
    harness.open(shards=1)
    equal, duplicate = a_chunk("c00000-00000", state=S.ENDED), a_chunk("c00000-00001", state=S.DUPLICATE)
    harness.add(equal)
    assert not harness.ledger.outlook(JOB).copying
    harness.add(duplicate)
    assert (harness.ledger.outlook(JOB).copying, harness.ledger.duplicates(JOB, limit=9)) == (False, [duplicate])
    assert harness.ledger.duplicates(JOB, limit=0) == []

    harness.move(replace(equal, state=S.COLLECTED, tally=Tally(succeeded=1)), due_at=None)

    assert harness.ledger.outlook(JOB).copying


def test_what_waits_is_counted_from_the_first_that_does(harness: LedgerHarness) -> None:
    harness.open(shards=0)
    for name, waiting, found_at in (("c00000-00004", 3, 50), ("c00000-00005", 4, 30), ("c00000-00006", 0, 10)):
        chunk = a_chunk(name, state=S.ENDED)
        harness.add(chunk)
        harness.move(replace(chunk, state=S.COLLECTED, tally=Tally(waiting=waiting)), due_at=None, now=after(found_at))

    assert harness.ledger.outlook(JOB) == Outlook(waiting=7, waiting_since=after(30), moving=False, finished=True)


def test_rows_wait_from_when_they_began_to_and_no_longer_than_they_do(harness: LedgerHarness) -> None:
    harness.open()
    chunk = a_chunk(state=S.ENDED)
    harness.add(chunk)
    harness.move(replace(chunk, state=S.COLLECTED, tally=Tally(waiting=10)), due_at=None, now=after(5))
    assert harness.ledger.totals(JOB).waiting_since == after(5)

    chunk = harness.ledger.chunk(chunk.id)
    harness.move(replace(chunk, tally=Tally(waiting=4, resent=6)), due_at=None, now=after(50))
    assert harness.ledger.totals(JOB).waiting_since == after(5)
    chunk = harness.ledger.chunk(chunk.id)
    harness.move(replace(chunk, tally=Tally(resent=10)), due_at=None, now=after(90))

    assert harness.ledger.totals(JOB).waiting_since is None


def test_money_is_what_is_settled_what_is_reserved_and_what_is_possibly_double_paid(harness: LedgerHarness) -> None:
    """A figure to the billionth, and none of it counted twice."""
    harness.open(a_job(max_duplicate_usd=Decimal(32)))
    cases = [
        (AttemptState.OPEN, "1", None, None),
        (AttemptState.CREATED, "2", None, "batch-1"),
        (AttemptState.CREATED, "4", "3.000000001", "batch-2"),
        (AttemptState.REFUSED, "8", None, None),
        (AttemptState.ABSENT, "16", None, None),
        (AttemptState.ABANDONED, "32", None, None),
    ]
    for n, (state, reserved, cost, batch) in enumerate(cases):
        harness.add(a_chunk(f"c00000-0000{n}"))
        attempt = an_attempt(f"token-{n}", a_chunk(f"c00000-0000{n}"), reserved_usd=Decimal(reserved))
        harness.write(AttemptOpened(attempt=attempt, budget_usd=None))
        settled = None if cost is None else Decimal(cost)
        batch_id = None if batch is None else BatchId(batch)
        harness.write(AttemptClosed(token=attempt.token, state=state, batch_id=batch_id, cost_usd=settled))

    totals = harness.ledger.totals(JOB)

    assert (totals.cost_usd, totals.reserved_usd, totals.possibly_double_paid_usd, totals.batches) == (
        Decimal("3.000000001"),
        Decimal(3),
        Decimal(32),
        2,
    )


def test_the_backlog_is_what_is_planned_and_not_yet_sent(harness: LedgerHarness) -> None:
    harness.open()
    harness.add(*(a_chunk(f"c00000-0000{n:x}", state=state) for n, state in enumerate(ChunkState)))

    assert harness.ledger.backlog(JOB) == 2  # PLANNED, UPLOADED
    assert harness.ledger.backlog(JobId("other-deadbeef")) == 0


@pytest.mark.parametrize(
    ("state", "batch", "ever"),
    [
        (AttemptState.OPEN, None, False),
        (AttemptState.REFUSED, None, False),
        (AttemptState.CREATED, BatchId("batch-1"), True),
    ],
)
def test_a_job_was_ever_accepted_once_a_batch_of_it_is_known(
    harness: LedgerHarness, state: AttemptState, batch: BatchId | None, *, ever: bool
) -> None:
    harness.open()
    harness.add(a_chunk())
    harness.write(AttemptOpened(attempt=an_attempt(), budget_usd=None))
    harness.write(AttemptClosed(token=an_attempt().token, state=state, batch_id=batch))

    harness.add(a_chunk("c00000-00001"))

    assert harness.ledger.history(a_chunk("c00000-00001")).ever_created is ever
    assert not harness.ledger.history(a_chunk()).ever_created  # its own create proves nothing


def test_the_history_counts_what_was_cut_and_what_the_account_has_in_flight(harness: LedgerHarness) -> None:
    harness.open()
    states = [S.SPLIT, S.SPLIT, S.SPLITTING, S.SUBMITTED, S.SUBMITTING, S.PLANNED, S.COLLECTED]
    for number, state in enumerate(states):
        has_batch = state in (S.SUBMITTED, S.COLLECTED)
        harness.add(a_chunk(f"c00000-{number:05d}", state=state, batch_id=BatchId(f"b{number}") if has_batch else None))

    found = harness.ledger.history(a_chunk("c00000-00003", state=S.SUBMITTED, batch_id=BatchId("b3")))

    assert (found.split_count, found.others_in_flight) == (2, 1)


def test_contributions_are_the_ended_chunks_of_the_shard_by_round_then_rows(harness: LedgerHarness) -> None:
    harness.open(shards=2)
    harness.write(
        added(a_chunk("r00002", state=S.COLLECTED, shard_no=None, round=3), {0: 2}),
        added(a_chunk("r00001", state=S.COLLECTED, shard_no=None, round=2), {0: 2, 1: 8}),
        added(a_chunk("c00000-00001", state=S.FAILED, row_start=10), {0: 10}),
        added(a_chunk("c00000-00000", state=S.COLLECTED, row_start=0), {0: 10}),
        added(a_chunk("c00000-00002", state=S.CANCELLED, row_start=20), {0: 10}),
        added(a_chunk("c00000-00003", state=S.REUSED, row_start=30), {0: 10}),
        added(a_chunk("c00001-00000", state=S.COLLECTED, shard_no=1), {1: 10}),
        *(
            added(a_chunk(f"c00000-0001{n}", state=state), {0: 10})
            for n, state in enumerate(set(ChunkState) - {S.COLLECTED, S.REUSED, S.FAILED, S.CANCELLED})
        ),
    )

    assert [(found.chunk.name, found.rows) for found in harness.ledger.contributions(JOB, 0)] == [
        ("c00000-00000", 10),
        ("c00000-00001", 10),
        ("c00000-00002", 10),
        ("c00000-00003", 10),
        ("r00001", 2),
        ("r00002", 2),
    ]
    assert [(found.chunk.name, found.rows) for found in harness.ledger.contributions(JOB, 1)] == [
        ("c00001-00000", 10),
        ("r00001", 8),
    ]
    assert harness.ledger.contributions(JobId("other-deadbeef"), 0) == []


def test_waiting_chunks_come_lowest_round_first_then_by_name(harness: LedgerHarness) -> None:
    harness.open()
    some = Tally(waiting=1)
    harness.add(
        a_chunk("r00001", state=S.COLLECTED, round=2, tally=some),
        a_chunk("c00000-00002", state=S.COLLECTED, tally=some),
        a_chunk("c00000-00001", state=S.COLLECTED, tally=some),
        a_chunk("c00000-00000", state=S.COLLECTED, tally=Tally(resent=1)),
    )

    found = [chunk.name for chunk in harness.ledger.waiting(JOB, limit=10)]

    assert found == ["c00000-00001", "c00000-00002", "r00001"]
    assert [chunk.name for chunk in harness.ledger.waiting(JOB, limit=2)] == found[:2]


def test_shards_are_listed_in_order(harness: LedgerHarness) -> None:
    harness.open(shards=12)

    assert [shard.shard_no for shard in harness.ledger.shards(JOB)] == list(range(12))
    assert harness.ledger.shards(JobId("other-deadbeef")) == []
