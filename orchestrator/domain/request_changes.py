"""Other parameters for rows that a person has sent again: what changes in each request's body.

Rule: the body keeps its prompt. What a change means is worked out once, by the dialect, before anything is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.domain.policy import Price


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestChanges:
    """Fields of a provider's body that have other values than when the request was planned."""

    put: Mapping[str, Any] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    model: str = ""  # "": the model is the same
    price: Price | None = None  # of that model, where it is another one and its price is known
    output_tokens_max: int = 0  # of an answer; 0: as planned

    def body(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body with these changes."""
        kept = {name: value for name, value in body.items() if name not in self.drop}
        return {**kept, **self.put}

    def price_or(self, price: Price | None) -> Price | None:
        """Return the price of these requests; `price` is that of the job's model."""
        return self.price if self.model else price

    def after(self, earlier: RequestChanges) -> RequestChanges:
        """Return these changes on top of earlier ones."""
        put = {name: value for name, value in earlier.put.items() if name not in self.drop}
        return replace(
            self if self.model else replace(self, model=earlier.model, price=earlier.price),
            put={**put, **self.put},
            drop=tuple(sorted({*earlier.drop, *self.drop} - self.put.keys())),
            output_tokens_max=self.output_tokens_max or earlier.output_tokens_max,
        )
