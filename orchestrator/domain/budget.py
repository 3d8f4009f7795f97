"""A job's budget: what may be sent now, what waits until batches settle, and what can never be sent.

Rule 1: what is spent and reserved never exceeds the budget: a create that may cost more than the rest is not sent.
Rule 2: a budget waits. A batch settles for less than was reserved for it, mostly, and the difference is used.
Rule 3: a job stops for its budget only when nothing is in flight and no request that waits fits, the cheapest neither.
Rule 4: chunks are cut one at a time, the cheapest first, and only when nothing is in flight: what is in flight may
        settle for less. So few small batches are made of what a larger budget may send later.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from enum import StrEnum
from typing import Final

from orchestrator.domain.money import PLACES, exact

# How the reason of a job that stopped for its budget begins.
USED_UP: Final = ("the rest of the budget is too small: ", "the budget is too small: ")


class Verdict(StrEnum):
    """What a budget says of a chunk."""

    FITS = "fits"
    WAITS = "waits"  # until batches in flight have settled
    IS_CUT = "is cut"  # as a whole it will never fit
    STOPS = "stops"  # one request, and it will never fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What counts against a job's budget, USD."""

    settled: Decimal  # what batches have cost; where that is not known, what they may have cost
    in_flight: Decimal = Decimal(0)  # reserved by creates whose cost is still to come, and by those being begun
    is_cutting: bool = False  # a chunk is being cut: its parts may fit
    cheapest: Decimal | None = None  # what one request of a chunk that waits may cost, at least, on average
    waiting: Decimal = Decimal(0)  # what all chunks that wait may cost


def judge(budget: Decimal | None, spending: Spending, cost_max: Decimal | None, requests: int) -> Verdict:
    """Return what the budget says of a chunk that may cost so much and holds so many requests."""
    if budget is None or cost_max is None:
        return Verdict.FITS
    possible = budget - spending.settled
    if cost_max <= possible - spending.in_flight:
        return Verdict.FITS
    if cost_max <= possible:
        return Verdict.WAITS
    if spending.in_flight or spending.is_cutting:
        return Verdict.WAITS
    if requests > 1 and of_one_request(cost_max, requests) <= possible:
        return Verdict.IS_CUT
    # The other chunk may be due later, or have been passed over while this one was looked at.
    return Verdict.WAITS if spending.cheapest is not None and spending.cheapest <= possible else Verdict.STOPS


def of_one_request(cost_max: Decimal, requests: int) -> Decimal:
    """Return what one of these requests may cost, on average."""
    return (cost_max / requests).quantize(PLACES, rounding=ROUND_UP)


def used_up(budget: Decimal, spending: Spending, cost_max: Decimal) -> str:
    """Return why a job stops for its budget, and what would let it go on."""
    used, too_small = USED_UP
    so = f"{too_small}nothing was spent, and one request may cost {exact(cost_max)}, more than {exact(budget)}"
    if spending.settled:
        so = (
            f"{used}{exact(spending.settled)} of {exact(budget)} is spent, no batch is in flight, and the next request "
            f"may cost {exact(cost_max)}"
        )
    raised, most = spending.settled + cost_max, spending.settled + spending.waiting
    of_all = f" ({exact(most)} for all that waits now)" if most > raised else ""
    return f"{so}. To go on, raise policy.budget_usd to {exact(raised)} or more{of_all} and run it again"
