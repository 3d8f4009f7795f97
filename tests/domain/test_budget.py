"""What a budget says of a chunk, and of what a job waits for."""

from __future__ import annotations

from decimal import Decimal

import pytest

from orchestrator.domain.budget import Spending, Verdict, judge, used_up
from orchestrator.domain.model import ChunkState
from orchestrator.domain.progress import Totals

V = Verdict


@pytest.mark.parametrize(
    ("settled", "in_flight", "cost", "requests", "verdict"),
    [
        ("0", "0", "10", 5, V.FITS),  # exactly
        ("0", "0", "10.000000001", 5, V.IS_CUT),
        ("0", "0", "50", 5, V.IS_CUT),  # one request fits, exactly
        ("0", "0", "50.000000001", 5, V.STOPS),
        ("0", "4", "6", 5, V.FITS),
        ("0", "4", "6.1", 5, V.WAITS),  # for the four
        ("4", "0", "6.1", 5, V.IS_CUT),
        ("4", "1", "6.1", 5, V.WAITS),  # nothing is cut while something is in flight
        ("4", "1", "6.1", 1, V.WAITS),  # what is in flight is collected first
        ("4", "0", "6.1", 1, V.STOPS),
        ("12", "0", "0", 1, V.STOPS),  # a provider charged more than was expected
        ("4", "5", None, 5, V.FITS),  # nobody knows what it costs
    ],
)
def test_a_chunk_fits_waits_is_cut_or_stops_its_job(
    settled: str, in_flight: str, cost: str | None, requests: int, verdict: Verdict
) -> None:
    spending = Spending(settled=Decimal(settled), in_flight=Decimal(in_flight))

    assert judge(Decimal(10), spending, None if cost is None else Decimal(cost), requests) is verdict


@pytest.mark.parametrize("requests", [1, 5])
def test_what_does_not_fit_waits_for_the_parts_of_a_chunk_that_is_being_cut(requests: int) -> None:
    """One of them may fit."""
    assert judge(Decimal(2), Spending(settled=Decimal(1), is_cutting=True), Decimal(5), requests) is V.WAITS


@pytest.mark.parametrize(("cheapest", "verdict"), [("1", V.WAITS), ("1.000000001", V.STOPS)])
def test_a_job_does_not_stop_for_one_request_while_another_fits(cheapest: str, verdict: Verdict) -> None:
    assert judge(Decimal(2), Spending(settled=Decimal(1), cheapest=Decimal(cheapest)), Decimal(5), 1) is verdict


def test_without_a_budget_everything_fits() -> None:
    assert judge(None, Spending(settled=Decimal(9)), Decimal(9), 1) is V.FITS


def totals(unsent: str | None, in_flight: int) -> Totals:
    return Totals(
        shards=1,
        shards_planning=0,
        rows=9,
        settled=0,
        refused=0,
        chunks={ChunkState.SUBMITTED: in_flight},
        cost_usd=Decimal("0.0005"),
        reserved_usd=Decimal("0.0010"),
        unsent_usd_min=None if unsent is None else Decimal(unsent),
    )


def test_a_job_says_what_it_waits_for_in_figures() -> None:
    assert totals("0.0006", 2).budget_wait(Decimal("0.002")) == (
        "0.0015 USD of 0.002 USD is spent or reserved, by 2 batches in flight. More is sent as they settle; raise "
        "policy.budget_usd to go faster"
    )


@pytest.mark.parametrize(
    ("budget", "unsent", "in_flight"), [(None, "9", 2), ("0.002", "0.0005", 2), ("0.002", None, 2), ("0.002", "9", 0)]
)
def test_a_job_that_can_send_has_sent_all_or_stops_waits_for_no_budget(
    budget: str | None, unsent: str | None, in_flight: int
) -> None:
    assert totals(unsent, in_flight).budget_wait(None if budget is None else Decimal(budget)) == ""


def test_who_is_told_to_raise_a_budget_is_told_what_is_enough_for_all() -> None:
    """Half of the budget may be left: it is not used up, it is too small for the next request."""
    spending = Spending(settled=Decimal("0.5"), waiting=Decimal("2.4"))

    assert used_up(Decimal(1), spending, Decimal("0.8")) == (
        "the rest of the budget is too small: 0.50 USD of 1.00 USD is spent, no batch is in flight, and the next "
        "request may cost 0.80 USD. To go on, raise policy.budget_usd to 1.30 USD or more (2.90 USD for all that waits "
        "now) and run it again"
    )
    assert "for all" not in used_up(
        Decimal(1), Spending(settled=Decimal("0.5"), waiting=Decimal("0.8")), Decimal("0.8")
    )
