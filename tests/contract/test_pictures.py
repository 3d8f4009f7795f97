"""What the page's pictures and lists of rows are drawn from: each figure by hand, and bounded."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from orchestrator.domain.changes import AttemptClosed, AttemptOpened, ChunkMoved, ShardMoved
from orchestrator.domain.model import Attempt, AttemptState, BatchId, Chunk, ChunkState, Outcome, ShardState, Tally
from orchestrator.domain.pictures import RETRY_SQUARES_MAX, SQUARES_MAX, ChunkMap, width_for
from orchestrator.domain.row_filter import row_filter
from orchestrator.ledger.snapshot import SqlSnapshot
from orchestrator.ledger.views import SqlViews
from tests.builders import JOB, a_chunk, a_shard, added, after, an_attempt
from tests.contract.ledger_harness import LedgerHarness

S = ChunkState


@pytest.fixture
def views(harness: LedgerHarness) -> SqlViews:
    return SqlViews(harness.database)


def named(number: int, shard_no: int = 0, **fields: Any) -> Chunk:
    """Return chunk `number` of a shard, of ten rows, in the order of rows."""
    rows = {"shard_no": shard_no, "row_start": 10 * number, "row_end": 10 * number + 10}
    return a_chunk(f"c{shard_no:05d}-{number:05d}", **(rows | fields))


def plan(harness: LedgerHarness, *row_counts: int) -> None:
    """Open a job whose shards are planned."""
    harness.open(shards=len(row_counts))
    for number, count in enumerate(row_counts):
        before = harness.ledger.shard(JOB, number)
        after_ = replace(before, state=ShardState.PLANNED, row_count=count)
        harness.write(ShardMoved(before=before, after=after_, due_at=None))


def opened(attempt: Attempt) -> AttemptOpened:
    return AttemptOpened(attempt=attempt, budget_usd=None)


def squares_of(found: ChunkMap) -> list[tuple[str, int]]:
    return [(one.first, one.chunks) for one in found.planned]


def test_few_chunks_have_a_square_each_in_the_order_of_rows(harness: LedgerHarness, views: SqlViews) -> None:
    plan(harness, 30, 30)
    again = a_chunk("r00000", shard_no=None, row_start=0, row_end=0, request_count=4, state=S.SUBMITTED, done_count=3)
    harness.add(
        named(1, 1), named(0, 1, state=S.SUBMITTED, done_count=7), named(2), named(0, state=S.UNRESOLVED), again
    )
    harness.add(named(1, state=S.SPLIT))  # its halves are in its place

    found = views.chunk_map(JOB)

    assert squares_of(found) == [
        (f"c{name}", 1) for name in ("00000-00000", "00000-00002", "00001-00000", "00001-00001")
    ]
    assert [one.unresolved for one in found.planned] == [1, 0, 0, 0]
    assert (found.planned[2].at_provider, found.planned[2].answered_there) == (10, 7)
    assert [(one.first, one.rows, one.answered_there) for one in found.again] == [("r00000", 4, 3)]


def test_many_chunks_are_grouped_in_order_and_none_is_lost(harness: LedgerHarness, views: SqlViews) -> None:
    """Also where shards have different sizes; chunks of rows sent again have squares of their own."""
    plan(harness, 3_000, 7_000)
    harness.add(*(named(number) for number in range(300)))
    harness.add(*(named(number, 1) for number in range(700)))
    retried = {"shard_no": None, "row_start": 0, "row_end": 0}
    harness.add(*(a_chunk(f"r{number:05d}", **retried) for number in range(100)))

    found = views.chunk_map(JOB)

    assert len(found.again) == RETRY_SQUARES_MAX
    assert len(found.planned) == SQUARES_MAX - RETRY_SQUARES_MAX
    assert sum(one.chunks for one in found.planned) == 1_000
    assert sum(one.chunks for one in found.again) == 100
    assert max(one.chunks for one in found.planned) <= 4
    names = [name for one in found.planned for name in (one.first, one.last)]
    assert names == sorted(names)


def settled_at(
    harness: LedgerHarness,
    number: int,
    *,
    sent: float,
    ended: float,
    collected: float,
    cost_usd: Decimal = Decimal("0.02"),
    tokens_in: int = 0,
    **tally: int,
) -> None:
    """Send a chunk, and collect it, at these seconds."""
    chunk = named(number, state=S.SUBMITTING, attempt=1, sent_at=after(sent), tokens_in=tokens_in)
    harness.add(chunk)
    attempt = an_attempt(f"t{number}", chunk, reserved_usd=Decimal("0.05"), sent_at=after(sent))
    harness.write(opened(attempt))
    created = harness.ledger.chunk(chunk.id)
    sent_there = replace(created, state=S.SUBMITTED, batch_id=BatchId(f"b{number}"))
    harness.write(ChunkMoved(before=created, after=sent_there, due_at=None), now=after(sent))
    there = harness.ledger.chunk(chunk.id)
    over = replace(there, state=S.ENDED, outcome=Outcome.COMPLETED)
    harness.write(ChunkMoved(before=there, after=over, due_at=None), now=after(ended))
    there = harness.ledger.chunk(chunk.id)
    done = replace(there, state=S.COLLECTED, part=f"parts/p{number}", tally=Tally(**tally))
    closed = AttemptClosed(token=attempt.token, state=AttemptState.CREATED, cost_usd=cost_usd)
    harness.write(ChunkMoved(before=there, after=done, due_at=None), closed, now=after(collected))


def test_the_cost_in_the_end_is_weighed_by_the_tokens_of_the_prompts(harness: LedgerHarness, views: SqlViews) -> None:
    """A token costs 0.0002, a request 0.001: ten requests of 100 tokens cost 0.03, of 200 tokens 0.05, of 300 0.07."""
    plan(harness, 50)
    short: dict[str, Any] = {"sent": 0, "ended": 60, "collected": 65, "succeeded": 10, "tokens_in": 100}
    settled_at(harness, 0, **short, input_tokens=75, cost_usd=Decimal("0.03"))
    settled_at(harness, 1, **short | {"tokens_in": 200}, input_tokens=150, cost_usd=Decimal("0.05"))
    harness.add(named(2, state=S.SUBMITTED, sent_at=after(300), tokens_in=300, cost_usd_max=Decimal(1)))
    harness.add(named(3, state=S.PLANNED, tokens_in=300, cost_usd_max=Decimal(1)))
    harness.add(named(4, state=S.DUPLICATE, tokens_in=300))

    money = SqlSnapshot(harness.database).look(JOB, now=after(400)).money

    assert (money.spent, money.expected) == (Decimal("0.08"), Decimal("0.22"))
    assert sum(one.requests for one in views.settled_batches(JOB)) == 20


def test_the_course_says_what_came_back_when_and_what_was_spent_and_reserved_by_then(
    harness: LedgerHarness, views: SqlViews
) -> None:
    plan(harness, 40)
    assert views.course(JOB, now=after(0)) is None
    settled_at(harness, 0, sent=0, ended=60, collected=65, succeeded=10)
    settled_at(harness, 1, sent=5, ended=600, collected=610, succeeded=8, failed=2)
    harness.add(named(2, state=S.SUBMITTED, sent_at=after(300)))
    harness.write(opened(an_attempt("t2", named(2), reserved_usd=Decimal("0.05"), sent_at=after(300))))

    found = views.course(JOB, now=after(900))

    assert found is not None
    assert (found.begun_at, found.now, found.width) == (after(0), after(900), timedelta(seconds=30))
    assert len(found.answered) == 31
    assert {place: count for place, count in enumerate(found.answered) if count} == {2: 10, 20: 8}
    assert (found.spent[1], found.spent[2], found.spent[-1]) == (0, Decimal("0.02"), Decimal("0.04"))
    assert found.reserved[1] == Decimal("0.10")
    assert found.reserved[2] == Decimal("0.05")
    assert found.reserved[10] == Decimal("0.10")
    assert found.reserved[-1] == Decimal("0.05")


def test_parts_are_chosen_evenly_over_a_job_and_by_what_a_row_of_them_has_cost(
    harness: LedgerHarness, views: SqlViews
) -> None:
    """A chunk without an answer, or without results yet, has none to look at."""
    plan(harness, 60)
    for number, cost in enumerate(("0.02", "0.09", "0.01", "0.05")):
        moments = {"sent": number, "ended": number + 1, "collected": number + 2}
        settled_at(harness, number, **moments, cost_usd=Decimal(cost), succeeded=10)
    settled_at(harness, 4, sent=5, ended=6, collected=7, cost_usd=Decimal(1), failed=10)
    harness.add(named(5))

    assert views.spread_parts(JOB, 2) == (4, ["parts/p0", "parts/p2"])
    assert views.spread_parts(JOB, 9) == (4, ["parts/p0", "parts/p1", "parts/p2", "parts/p3"])
    assert views.dearest_parts(JOB, 2) == (4, ["parts/p1", "parts/p3"])


def test_a_create_that_made_nothing_reserves_nothing_from_then_on(harness: LedgerHarness, views: SqlViews) -> None:
    plan(harness, 10)
    harness.write(opened(an_attempt(reserved_usd=Decimal("0.05"), sent_at=after(0))))
    harness.write(AttemptClosed(token=an_attempt().token, state=AttemptState.REFUSED), now=after(40))

    found = views.course(JOB, now=after(90))

    assert found is not None
    assert found.reserved[0] == Decimal("0.05")
    assert found.reserved[-1] == 0


def test_durations_are_of_finished_batches_and_of_those_in_flight(harness: LedgerHarness, views: SqlViews) -> None:
    plan(harness, 40)
    assert views.durations(JOB, now=after(0)) is None
    for number, took in enumerate((100, 200, 200, 400)):
        settled_at(harness, number, sent=0, ended=took, collected=took + 5, succeeded=10)
    harness.add(named(5, state=S.SUBMITTED, sent_at=after(500)))

    found = views.durations(JOB, now=after(1_456))

    assert found is not None
    assert (found.fastest, found.slowest) == (timedelta(seconds=100), timedelta(seconds=400))
    assert found.middle is not None
    assert abs(found.middle - timedelta(seconds=200)) <= found.width
    assert (sum(found.finished), sum(found.in_flight)) == (4, 1)
    assert len(found.finished) == len(found.in_flight) <= 241
    assert found.in_flight[-1] == 1, "the oldest is at the end of the axis"


def test_a_report_adds_up_what_was_sent_and_used(harness: LedgerHarness, views: SqlViews) -> None:
    plan(harness, 40)
    used = {"input_tokens": 700, "output_tokens": 30, "wasted_nano_usd": 2_000_000}
    settled_at(harness, 0, sent=0, ended=60, collected=65, succeeded=9, resent=1, **used)
    settled_at(harness, 1, sent=0, ended=60, collected=65, succeeded=10, **used)
    harness.add(named(2, state=S.REUSED, round=0, part="parts/r", tally=Tally(succeeded=10)))

    found = views.report(JOB)

    assert (found.sent, found.batches, found.reused) == (20, 2, 10)
    assert (found.input_tokens, found.output_tokens, found.wasted_usd) == (1_400, 60, Decimal("0.004"))
    assert found.by_round == [(1, 20)]


def test_shards_are_named_that_may_hold_such_rows_and_only_those(harness: LedgerHarness, views: SqlViews) -> None:
    """By the chunks' counts; the chunk itself says the same."""
    plan(harness, *[10] * 6)
    whole = Tally(succeeded=10)
    failed = {"tally": Tally(succeeded=8, failed=2), "causes": json.dumps({"content_filter": [2, 1, 3]})}
    kinds = {
        0: named(0, 0, state=S.COLLECTED, part="parts/0", tally=whole),
        1: named(0, 1, state=S.COLLECTED, part="parts/1", **failed),
        2: named(0, 2, state=S.COLLECTED, part="parts/2", tally=replace(whole, truncated_answers=1)),
        3: named(0, 3, state=S.REUSED, part="parts/3", tally=whole),
        4: named(0, 4, state=S.FAILED, error_code="expired", tally=Tally(failed=10)),
        5: named(0, 5, state=S.SUBMITTED),
    }
    harness.add(*kinds.values())

    for wanted, shards in (
        ({}, [0, 1, 2, 3, 4]),
        ({"shown": "answered"}, [0, 1, 2, 3]),
        ({"shown": "failed"}, [1, 4]),
        ({"cause": "content_filter"}, [1]),
        ({"cause": "expired"}, [4]),
        ({"cause": "content%"}, []),
        ({"shown": "truncated"}, [2]),
        ({"shown": "empty"}, []),
        ({"shown": "reused"}, [3]),
    ):
        filter_ = row_filter(**wanted)
        assert views.shards_with(JOB, filter_, from_shard=0) == shards
        assert views.shards_with(JOB, filter_, from_shard=2) == [shard for shard in shards if shard >= 2]
        assert [shard for shard, chunk in kinds.items() if shard < 5 and filter_.may_hold(chunk)] == shards


def test_refused_rows_are_in_the_shards_with_failed_ones(harness: LedgerHarness, views: SqlViews) -> None:
    harness.open()
    after_ = replace(a_shard(), row_count=10, refused_count=1, causes=json.dumps({"null_skipped": [1, 0, 4]}))
    harness.write(ShardMoved(before=a_shard(), after=after_, due_at=None))

    assert views.shards_with(JOB, row_filter(shown="failed"), from_shard=0) == [0]
    assert views.shards_with(JOB, row_filter(cause="null_skipped"), from_shard=0) == [0]
    assert views.shards_with(JOB, row_filter(cause="expired"), from_shard=0) == []


def test_a_row_s_chunks_are_those_of_its_range_and_those_of_rows_sent_again(
    harness: LedgerHarness, views: SqlViews
) -> None:
    plan(harness, 30, 30)
    again = a_chunk("r00000", shard_no=None, row_start=0, row_end=0, request_count=2, round=2)
    harness.add(named(0), named(1, attempt=1), named(1, 1))
    harness.write(opened(an_attempt("t", named(1))))
    harness.write(added(again, {0: 2}))

    found = views.chunks_of_row(JOB, (0, 12))

    assert [(chunk.name, len(sent)) for chunk, sent in found] == [("c00000-00001", 1), ("r00000", 0)]
    assert [chunk.name for chunk, _ in views.chunks_of_row(JOB, (1, 12))] == ["c00001-00001"]
    assert views.rows_before(JOB, (1, 12)) == 42


def test_the_chunks_of_a_square_are_told(harness: LedgerHarness, views: SqlViews) -> None:
    plan(harness, 30)
    harness.add(named(0), named(1, state=S.FAILED), named(2, state=S.UNRESOLVED), named(3))
    harness.add(a_chunk("r00000", shard_no=None))

    found = views.chunks_of_square(JOB, "c00000-00000", "c00000-00002")

    assert [one.chunk for one in found] == ["c00000-00002", "c00000-00001", "c00000-00000"], "the worst first"


def test_a_span_of_time_is_cut_into_few_whole_bins() -> None:
    for seconds in (0, 1, 59, 3_599, 86_400, 10_000_000, 10**9):
        span = timedelta(seconds=seconds)
        assert span / width_for(span) < 61
