"""Which chunks of a job with a budget are handed out."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from orchestrator.domain.changes import AttemptClosed, AttemptOpened
from orchestrator.domain.model import AttemptState, AttemptToken, BatchId, Canary, Chunk, ChunkState, Step
from tests.builders import JOB, a_chunk, a_job, after, an_attempt
from tests.contract.ledger_harness import LEASE_S, LedgerHarness

TOKEN = AttemptToken("token-1")


def unsent(number: int, cost: str | None, requests: int = 10, **fields: Any) -> Chunk:
    usd = None if cost is None else Decimal(cost)
    return a_chunk(f"c00000-{number:05d}", cost_usd_max=usd, request_count=requests, row_end=requests, **fields)


def handed_out(harness: LedgerHarness, *, limit: int = 9, seconds: float = 0) -> list[int]:
    claims = harness.claim(Step.SUBMIT, limit=limit, now=after(seconds))
    return [int(str(claim.unit.chunk_id)[-5:]) for claim in claims]


def in_flight(harness: LedgerHarness, reserved: str) -> None:
    """Put a batch in flight that may cost so much."""
    chunk = unsent(99, reserved, state=ChunkState.SUBMITTED, batch_id=BatchId("b"))
    harness.add(chunk)
    harness.write(AttemptOpened(attempt=an_attempt("token-1", chunk, reserved_usd=Decimal(reserved)), budget_usd=None))


def test_a_chunk_that_does_not_fit_stays_due_until_a_batch_has_settled_for_less(harness: LedgerHarness) -> None:
    harness.open(a_job(budget_usd=Decimal(10)))
    in_flight(harness, "6")
    harness.add(unsent(1, "7"))

    assert handed_out(harness) == []

    closed = AttemptClosed(token=TOKEN, state=AttemptState.CREATED, cost_usd=Decimal(3))
    harness.write(closed)
    assert handed_out(harness) == [1]


def test_chunks_are_handed_out_as_far_as_they_fit_together(harness: LedgerHarness) -> None:
    """Also with those that another worker has been given and not sent yet."""
    harness.open(a_job(budget_usd=Decimal(10)))
    harness.add(unsent(1, "4"), unsent(2, "4"), unsent(3, "4"), unsent(4, "2"))

    assert handed_out(harness, limit=1) == [1]
    assert handed_out(harness) == [2, 4]
    assert handed_out(harness) == []
    assert handed_out(harness, seconds=LEASE_S + 1) == [1, 2, 4]


def test_what_never_fits_waits_for_what_fits(harness: LedgerHarness) -> None:
    harness.open(a_job(budget_usd=Decimal(10)))
    harness.add(unsent(1, "11"), unsent(2, "9"), unsent(3, None))

    assert handed_out(harness) == [2, 3]


def test_of_what_never_fits_the_cheapest_is_handed_out_to_be_cut_when_nothing_is_in_flight(
    harness: LedgerHarness,
) -> None:
    """One at a time: its parts may fit."""
    harness.open(a_job(budget_usd=Decimal(10)))
    harness.add(unsent(1, "30"), unsent(2, "12"), unsent(3, "20"))

    assert handed_out(harness) == [2]
    harness.move(replace(harness.ledger.chunk(unsent(2, None).id), state=ChunkState.SPLITTING), due_at=None)
    assert handed_out(harness, seconds=LEASE_S + 1) == []


def test_a_single_request_that_never_fits_is_handed_out_only_when_all_else_is_done(harness: LedgerHarness) -> None:
    """It stops the job: what is in flight is collected first, what fits is sent first, and cut parts come first."""
    harness.open(a_job(budget_usd=Decimal(10)))
    in_flight(harness, "1")
    harness.add(unsent(1, "11", 1), unsent(2, "12"), unsent(3, "5"))

    assert handed_out(harness) == [3]
    for number in (2, 3):
        chunk = harness.ledger.chunk(unsent(number, None).id)
        harness.move(replace(chunk, state=ChunkState.CANCELLED), due_at=None)
    assert handed_out(harness) == []
    collected = replace(harness.ledger.chunk(unsent(99, None).id), state=ChunkState.COLLECTED)
    harness.write(AttemptClosed(token=TOKEN, state=AttemptState.CREATED, cost_usd=Decimal(1)))
    harness.move(collected, due_at=None)
    assert handed_out(harness) == [1]


def test_a_single_request_that_never_fits_waits_for_one_that_fits_and_is_due_later(harness: LedgerHarness) -> None:
    """As part of a chunk that is too dear as a whole, too."""
    harness.open(a_job(budget_usd=Decimal(10)))
    harness.add(unsent(1, "11", 1))
    harness.add(unsent(2, "12"), due_at=after(60))
    dear = harness.ledger.chunk(unsent(1, None).id)

    assert harness.ledger.spending(dear, now=after(0)).cheapest == Decimal("1.2")
    assert handed_out(harness) == []
    assert handed_out(harness, seconds=60) == [2]

    harness.move(replace(harness.ledger.chunk(unsent(2, None).id), state=ChunkState.CANCELLED), due_at=None)
    assert harness.ledger.spending(dear, now=after(0)).cheapest == 11
    assert handed_out(harness, seconds=60 + LEASE_S + 1) == [1]


def test_the_canary_waits_for_nothing_that_comes_after_it(harness: LedgerHarness) -> None:
    harness.open(a_job(budget_usd=Decimal(10), canary=Canary.OPEN))
    harness.add(unsent(1, "11", 1, is_canary=True), unsent(2, "3"))

    assert handed_out(harness) == [1]


def test_a_reservation_whose_cost_never_came_is_not_waited_for(harness: LedgerHarness) -> None:
    """Its batch is collected: nothing will free it."""
    harness.open(a_job(budget_usd=Decimal(10)))
    in_flight(harness, "6")
    harness.move(replace(harness.ledger.chunk(unsent(99, None).id), state=ChunkState.COLLECTED), due_at=None)
    harness.add(unsent(1, "7", 1))

    found = harness.ledger.spending(harness.ledger.chunk(unsent(1, None).id), now=after(0))

    assert (found.settled, found.in_flight) == (6, 0)
    assert handed_out(harness) == [1]


def test_a_job_with_a_budget_keeps_no_other_job_from_sending(harness: LedgerHarness) -> None:
    harness.open(a_job(budget_usd=Decimal(10)))
    harness.open(a_job("other-deadbeef"))
    harness.add(unsent(1, "11", 1), unsent(2, "3"), a_chunk("c00000-00007", job_id="other-deadbeef"))

    assert sorted(handed_out(harness)) == [2, 7]
    assert harness.ledger.totals(JOB).unsent_usd_min == 3
