"""What requests cost that are not answered yet, by what settled batches have cost.

Rule 1: a batch costs so much a request and so much a token of its prompts; the two are fitted to the batches.
Rule 2: where they do not tell the two apart (the canary alone; batches whose prompts are equally long on average), all
        of the cost is the prompts': a table that begins with its short rows would else be taken for a cheap one.
Rule 3: requests cost at most what they are planned for.
Rule 4: planned tokens count the whole request line; what the batches' own counts leave of it, at four bytes a token, is
        no prompt but the line's other fields, as many of each request.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from orchestrator.domain.packing import BYTES_PER_TOKEN, BYTES_PER_TOKEN_EXPECTED

SPREAD_MIN: Final = Decimal("0.0001")  # square of the least spread of tokens a request that a fit is made of: 1 %


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A settled batch."""

    requests: int
    tokens: int  # as planned
    input_tokens: int  # as it was counted; 0: not known
    cost_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """Requests that are not settled, together."""

    requests: int
    tokens: int
    cost_usd_max: Decimal | None = None  # None: not known


@dataclass(frozen=True, slots=True)
class UnitCosts:
    """USD a request, and USD a planned token of a prompt."""

    request: Decimal
    token: Decimal
    fields: Decimal  # planned tokens of a request that are no prompt

    def of(self, planned: Planned) -> Decimal:
        """Return what these requests will cost."""
        prompts = max(planned.tokens - self.fields * planned.requests, Decimal(0))
        found = self.request * planned.requests + self.token * prompts
        return found if planned.cost_usd_max is None else min(found, planned.cost_usd_max)


def unit_costs(batches: Iterable[Batch]) -> UnitCosts | None:
    """Return what the batches tell; None where they tell nothing. Least squares, a batch weighted by 1 / requests."""
    known = [one for one in batches if one.requests > 0]
    if not known:
        return None
    fields = _fields(known)
    prompts = [max(one.tokens - fields * one.requests, Decimal(0)) for one in known]
    requests, tokens = sum(one.requests for one in known), sum(prompts, Decimal(0))
    cost = sum((one.cost_usd for one in known), Decimal(0))
    if not tokens:
        return UnitCosts(cost / requests, Decimal(0), fields)
    pairs = list(zip(known, prompts, strict=True))
    squares = sum((of**2 / one.requests for one, of in pairs), Decimal(0))
    products = sum((of * one.cost_usd / one.requests for one, of in pairs), Decimal(0))
    spread = requests * squares - tokens**2
    token = cost / tokens
    if spread > SPREAD_MIN * tokens**2:
        token = min(max((requests * products - tokens * cost) / spread, Decimal(0)), token)
    return UnitCosts((cost - token * tokens) / requests, token, fields)


def _fields(batches: Sequence[Batch]) -> Decimal:
    counted = [one for one in batches if one.input_tokens]
    planned, requests = sum(one.tokens for one in counted), sum(one.requests for one in counted)
    prompts = Decimal(sum(one.input_tokens for one in counted)) * BYTES_PER_TOKEN_EXPECTED / BYTES_PER_TOKEN
    return max(planned - prompts, Decimal(0)) / requests if requests else Decimal(0)
