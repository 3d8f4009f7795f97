"""Amounts: read, rounded, computed, shared out; nothing is lost and nothing is made."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain import money
from orchestrator.domain.policy import Price

AMOUNTS = st.integers(0, 10**15).map(lambda units: Decimal(units) / 10**9)
WEIGHTS = st.lists(st.integers(0, 10_000), max_size=60).filter(any)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", "0"),
        ("0.000497", "0.000497"),
        ("1e-7", "0.0000001"),
        ("12.3456789014", "12.345678901"),
        ("0.0000000005", "0"),  # half of a unit goes to the even neighbour
        ("0.0000000015", "0.000000002"),
        ("1E+5", "100000"),
    ],
)
def test_a_providers_amount_is_read_to_nine_places(text: str, amount: str) -> None:
    assert money.parse(text) == Decimal(amount)


@pytest.mark.parametrize(
    "text", ["", "free", "-0.01", "NaN", "sNaN", "Infinity", "-Infinity", "0,5", "$1", "1e10", "1e40"]
)
def test_what_is_no_amount_is_none(text: str) -> None:
    """Also what is too large to be money to nine places: a provider's nonsense must not end a step."""
    assert money.parse(text) is None


def test_the_documented_sample_of_onerouter_comes_out_at_its_fees() -> None:
    """54 + 1,644 tokens at half of 0.15 and 0.60 USD a million, fees 0.000497: their page, read 2026-11-22."""
    price = Price(input_usd=Decimal("0.075"), output_usd=Decimal("0.30"))

    cost = money.cost(price, 54, 1_644)

    assert cost == Decimal("0.000497250")


def test_without_a_price_there_is_no_cost() -> None:
    assert money.cost(None, 54, 1_644) is None


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_cost_has_nine_places_and_is_no_float(input_tokens: int, output_tokens: int) -> None:
    cost = money.cost(Price(input_usd=Decimal("0.07"), output_usd=Decimal("0.3")), input_tokens, output_tokens)

    assert isinstance(cost, Decimal)
    assert cost.as_tuple().exponent == -9


@given(AMOUNTS, WEIGHTS)
def test_shares_add_up_to_the_total_exactly(total: Decimal, weights: list[int]) -> None:
    assert sum(money.apportion(total, weights)) == total


@given(AMOUNTS, WEIGHTS)
def test_a_share_is_within_one_unit_of_its_part_and_nobody_pays_for_nothing(total: Decimal, weights: list[int]) -> None:
    for share, weight in zip(money.apportion(total, weights), weights, strict=True):
        assert abs(share - total * weight / sum(weights)) <= money.PLACES
        assert weight or share == 0


@pytest.mark.parametrize(
    ("total", "weights", "shares"),
    [
        ("0.000000010", [1, 1, 1], ["0.000000004", "0.000000003", "0.000000003"]),
        ("0.000000002", [1, 1, 1], ["0.000000001", "0.000000001", "0"]),
        ("1", [0, 1, 3], ["0", "0.25", "0.75"]),
        ("0", [1, 2], ["0", "0"]),
        ("1", [0, 0], ["0", "0"]),  # nothing to share by
        ("1", [], []),
    ],
)
def test_what_rounding_leaves_goes_to_the_first(total: str, weights: list[int], shares: list[str]) -> None:
    assert money.apportion(Decimal(total), weights) == [Decimal(share) for share in shares]
