"""Other parameters for rows that a person has sent again: what changes in each request's body.

Rule 1: the body keeps its prompt. What a change means is worked out by the dialect, before anything is sent: once for a
        template, whose bodies are alike; for each body that a function has rendered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from orchestrator.domain.policy import Price

# Names of one setting, of the dialects' own and of the neutral fields: one that is given takes the place of another.
OUTPUT_LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")  # of Anthropic and OpenAI
SAME_SETTING: Final = (OUTPUT_LIMITS, ("stop", "stop_sequences"))


def laid_over(fields: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with the given values: each in the place of what it is another value of, the others at the end."""
    found = dict[str, Any]()
    for name, value in fields.items():
        same: tuple[str, ...] = next((names for names in SAME_SETTING if name in names), (name,))
        taken = {other: given[other] for other in same if other in given}
        found |= taken or {name: value}
    return {**found, **given}


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestChanges:
    """Fields of a provider's body that have other values than when the request was planned."""

    put: Mapping[str, Any] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)  # as given, to be laid over each body for itself
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
            fields=laid_over(earlier.fields, self.fields),
            drop=tuple(sorted({*earlier.drop, *self.drop} - self.put.keys())),
            output_tokens_max=self.output_tokens_max or earlier.output_tokens_max,
        )
