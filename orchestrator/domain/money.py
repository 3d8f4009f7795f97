"""Money in `Decimal`, never float; always USD, to nine places like OneRouter's `fees`."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from itertools import islice
from typing import Final

from orchestrator.domain.policy import Price

PLACES: Final = Decimal("0.000000001")
MILLION: Final = Decimal(1_000_000)
AMOUNT_MAX: Final = Decimal(1_000_000_000)  # a larger number would overflow the ledger's integers
CENT: Final = Decimal("0.01")
MICRO: Final = Decimal("0.000001")
OUTPUT_TOKENS_ASSUMED: Final = 1_024  # where a request sets no max_tokens


def quantize(amount: Decimal) -> Decimal:
    """Round to nine places."""
    return amount.quantize(PLACES, rounding=ROUND_HALF_EVEN)


def parse(text: str) -> Decimal | None:
    """Parse a provider's amount; None where it is not a number from 0 to AMOUNT_MAX."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    return quantize(amount) if amount.is_finite() and 0 <= amount <= AMOUNT_MAX else None


def rounded(amount: Decimal) -> str:
    """Return an amount as people read it: two decimals, below 1 four, below a cent six."""
    if not amount:
        return "0.00"
    if amount < MICRO:
        return f"{amount:.9f}"
    return f"{amount:,.2f}" if amount >= 1 else f"{amount:.4f}" if amount >= CENT else f"{amount:.6f}"


def usd(amount: Decimal) -> str:
    """Return a rounded amount with its currency: 0.0213 USD."""
    return f"{rounded(amount)} USD"


def exact(amount: Decimal) -> str:
    """Return all places of an amount that a person compares or types, at least two: 0.021345 USD, 0.50 USD."""
    whole, _, places = f"{amount.normalize():f}".partition(".")
    return f"{whole}.{places:0<2} USD"


def cost(price: Price | None, input_tokens: int, output_tokens: int) -> Decimal | None:
    """Return what these tokens cost, or None where no price is known."""
    if price is None:
        return None
    return quantize((price.input_usd * input_tokens + price.output_usd * output_tokens) / MILLION)


def request_cost(price: Price | None, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> Decimal | None:
    """Return what one request costs: by the length of its prompt, and what of it the provider had read before."""
    if price is None:
        return None
    is_long = price.long is not None and input_tokens > price.long.over_tokens
    rate = price.long if is_long and price.long is not None else price
    cached_tokens = min(cached_tokens, input_tokens) if rate.cached_usd is not None else 0
    cached_usd = (rate.cached_usd or 0) * cached_tokens
    return quantize(
        (cached_usd + rate.input_usd * (input_tokens - cached_tokens) + rate.output_usd * output_tokens) / MILLION
    )


def cost_max(price: Price | None, input_tokens: int, output_tokens: int, *, longest_tokens: int) -> Decimal | None:
    """Return the most that many requests can cost together, of which the longest prompt has so many tokens."""
    if price is not None and price.long is not None and longest_tokens > price.long.over_tokens:
        return cost(
            Price(input_usd=price.long.input_usd, output_usd=price.long.output_usd), input_tokens, output_tokens
        )
    return cost(price, input_tokens, output_tokens)


def apportion(total: Decimal, weights: Sequence[int]) -> list[Decimal]:
    """Split `total` by `weights` into shares of nine places that add up to `total` exactly.

    The remainder of rounding goes to the first shares, one unit each, so that the same input gives the same shares.
    """
    whole = sum(weights)
    if whole == 0:
        return [Decimal(0)] * len(weights)
    units = int(total / PLACES)
    shares = [units * weight // whole for weight in weights]
    positive = (position for position, weight in enumerate(weights) if weight)
    for position in islice(positive, units - sum(shares)):
        shares[position] += 1
    return [PLACES * share for share in shares]
