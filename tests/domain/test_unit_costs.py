"""The cost of requests that wait, by what settled batches have cost."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import pytest

from orchestrator.domain.unit_costs import Batch, Planned, unit_costs

# Requests, planned tokens and USD of each. Three quarters of the planned tokens are counted: there are no other fields.
GROWING: Final = [(20, 10, 10), (100, 20, 20), (100, 40, 40)]  # a cost that grows as the prompts do
EQUAL: Final = [(20, 10, 30), (100, 20, 30), (100, 40, 30)]  # one that does not
BOTH: Final = [(20, 10, 30), (100, 20, 40), (100, 40, 60)]  # a token costs one, a request twenty
FALLING: Final = [(20, 10, 30), (100, 20, 20), (100, 40, 10)]  # longer prompts, cheaper answers: by the request


def batches(given: list[tuple[int, int, int]]) -> list[Batch]:
    return [
        Batch(requests=count, tokens=count * each, input_tokens=count * each * 3 // 4, cost_usd=Decimal(count * usd))
        for count, each, usd in given
    ]


@pytest.mark.parametrize(
    ("known", "of_long"),
    [(GROWING, 80), (EQUAL, 30), (BOTH, 100), (GROWING[:1], 80), (EQUAL[:1], 240), (FALLING, Decimal(3600) / 220)],
    ids=["growing", "equal", "both", "the canary", "the canary, equal", "falling"],
)
def test_requests_with_longer_prompts_cost_what_the_batches_tell(
    known: list[tuple[int, int, int]], of_long: Decimal
) -> None:
    """One batch alone does not tell: its cost is taken for that of the prompts."""
    each = unit_costs(batches(known))

    assert each is not None
    assert each.of(Planned(requests=10, tokens=10 * 80)) == pytest.approx(10 * Decimal(of_long))


def test_they_cost_at_most_what_they_are_planned_for() -> None:
    each = unit_costs(batches(EQUAL[:1]))

    assert each is not None
    assert each.of(Planned(requests=10, tokens=10 * 80, cost_usd_max=Decimal(900))) == 900


def test_what_is_no_prompt_is_as_many_tokens_of_each_request() -> None:
    """Of 60 planned tokens a request 15 were counted, 20 as they are planned: 40 are names and braces."""
    each = unit_costs([Batch(requests=20, tokens=20 * 60, input_tokens=20 * 15, cost_usd=Decimal(20))])

    assert each is not None
    assert each.of(Planned(requests=1, tokens=60)) == pytest.approx(1)
    assert each.of(Planned(requests=1, tokens=100)) == pytest.approx(3)


def test_without_tokens_requests_cost_as_many_each_and_without_batches_nothing_is_known() -> None:
    each = unit_costs([Batch(requests=20, tokens=0, input_tokens=0, cost_usd=Decimal(40))])

    assert each is not None
    assert each.of(Planned(requests=5, tokens=0)) == 10
    assert unit_costs([]) is None
