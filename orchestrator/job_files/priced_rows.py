"""What each row of a batch cost: by its tokens, or its share of what the provider charges for the batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from orchestrator.domain import money
from orchestrator.domain.policy import Price
from orchestrator.domain.reconcile import Answer, RowKey

COST_USD_MAX: Final = Decimal(10) ** 9  # exclusive: the range of a part's column, far more than a batch can cost


class PricedRow(NamedTuple):
    """A row with its answer; the cost is None where it is not known."""

    key: RowKey
    answer: Answer
    cost_usd: Decimal | None


class Sums(NamedTuple):
    """What the rows of a batch used, and what they cost."""

    cost_usd: Decimal | None  # None where it is not known
    unpriced: int  # answers whose cost is not known
    input_tokens: int
    output_tokens: int
    wasted_usd: Decimal  # of rows without an answer


class PricedRows:
    """The rows with their costs, to be gone through once; then `sums` is whole."""

    def __init__(self, rows: Iterator[tuple[RowKey, Answer]], *, fees_usd: Decimal | None, price: Price | None) -> None:
        self._fees_usd = money.quantize(fees_usd) if fees_usd is not None and fees_usd < COST_USD_MAX else None
        self._has_price = price is not None
        fees = self._fees_usd
        self._rows = _by_tokens(rows, price) if fees is None else _by_share(list(rows), fees, price)
        self._cost_usd = self._wasted_usd = Decimal(0)
        self._unpriced = self._input_tokens = self._output_tokens = 0

    def __iter__(self) -> Iterator[PricedRow]:
        """Yield each row."""
        for row in self._rows:
            answer, cost_usd = row.answer, row.cost_usd or 0
            self._unpriced += answer.succeeded and row.cost_usd is None
            self._cost_usd += cost_usd
            self._wasted_usd += 0 if answer.succeeded else cost_usd
            self._input_tokens += answer.input_tokens or 0
            self._output_tokens += answer.output_tokens or 0
            yield row

    @property
    def sums(self) -> Sums:
        """What all of them used and cost."""
        cost_usd: Decimal | None = self._cost_usd
        unpriced = self._unpriced
        if self._fees_usd is not None:
            cost_usd, unpriced = self._fees_usd, 0
        elif unpriced or not self._has_price:
            cost_usd = None
        return Sums(cost_usd, unpriced, self._input_tokens, self._output_tokens, self._wasted_usd)


def _by_tokens(rows: Iterable[tuple[RowKey, Answer]], price: Price | None) -> Iterator[PricedRow]:
    for key, answer in rows:
        cost_usd = (
            money.request_cost(price, answer.input_tokens or 0, answer.output_tokens or 0, answer.cached_tokens or 0)
            if _uses(answer)
            else None
        )
        yield PricedRow(key, answer, cost_usd if cost_usd is None or cost_usd < COST_USD_MAX else None)


def _uses(answer: Answer) -> bool:
    return answer.input_tokens is not None or answer.output_tokens is not None


def _by_share(rows: Sequence[tuple[RowKey, Answer]], fees_usd: Decimal, price: Price | None) -> Iterator[PricedRow]:
    """Share the fees by price-weighted tokens; if all weights are zero, equally over the rows that succeeded."""
    per_input, per_output = (1, 1) if price is None else (_units(price.input_usd), _units(price.output_usd))
    weights = [(answer.input_tokens or 0) * per_input + (answer.output_tokens or 0) * per_output for _, answer in rows]
    if not any(weights):
        weights = [int(answer.succeeded) for _, answer in rows]
    shares = money.apportion(fees_usd, weights)
    return (PricedRow(key, answer, share) for (key, answer), share in zip(rows, shares, strict=True))


def _units(price_usd: Decimal) -> int:
    return int(price_usd / money.PLACES)
