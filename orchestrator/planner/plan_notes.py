"""What to know of a job's requests before they are sent: empty values, requests that repeat, prompts that are too long.

Rule: columns and counts are named, never a value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.domain.money import exact, quantize, usd
from orchestrator.domain.policy import Policy

NULL_DEFAULT: Final = Policy().null_policy
EMPTY_MIN: Final = 0.01  # of the rows: fewer empty values are ordinary


@dataclass(slots=True)
class Observed:
    """What was seen of the rows and requests that were rendered."""

    rows: int = 0
    empty: Counter[str] = field(default_factory=Counter)  # rows whose value is null, or a text without a letter
    repeated: int = 0  # requests that are the same as an earlier one
    longest_tokens: int = 0
    requests: int = 0
    _keys: set[bytes] = field(default_factory=set)

    def see_rows(self, batch: pa.RecordBatch, columns: Sequence[str] | None) -> None:
        """Look at the columns that requests are made from; None: a function reads all, and nobody knows which."""
        self.rows += batch.num_rows
        for name in columns or ():
            self.empty[name] += _empty_count(batch.column(name))

    def see_request(self, content_key: bytes, tokens: int) -> None:
        """Look at a request that would be sent."""
        self.requests += 1
        self.repeated += content_key in self._keys
        self._keys.add(content_key)
        self.longest_tokens = max(self.longest_tokens, tokens)


@dataclass(slots=True)
class Refusals:
    """Rows that cannot become a request: how many by code, and the first of each."""

    _found: dict[str, tuple[int, tuple[int, int], str]] = field(default_factory=dict)

    def add(self, code: str, key: tuple[int, int], message: str) -> None:
        """Count a row."""
        count, first, words = self._found.get(code, (0, key, message))
        self._found[code] = (count + 1, first, words)

    def notes(self) -> Iterator[str]:
        """Yield which rows cannot be sent, and why."""
        for code, (count, (shard_no, row), message) in self._found.items():
            place = f"row {row:,}" + (f" of shard {shard_no}" if shard_no else "")
            rows = "1 row cannot" if count == 1 else f"{count:,} rows cannot"
            first = "" if count == 1 else "the first "
            yield f"{rows} be sent ({code}); {first}{place}, counted from 0: {message}"


def _empty_count(values: pa.Array) -> int:
    count: int = values.null_count
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        blank = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(values)), 0)
        count += pc.sum(blank).as_py() or 0
    return count


def request_notes(
    seen: Observed, cost_usd: Decimal | None, context_tokens: int | None, *, is_deduped: bool = False
) -> Iterator[str]:
    """Yield what is odd about the requests; `cost_usd` is what one of them may cost."""
    for name, count in seen.empty.items():
        if count and count >= EMPTY_MIN * seen.rows:
            yield f"column {name!r} is empty in {count:,} of {seen.rows:,} rows"
    if seen.repeated and seen.repeated == seen.requests - 1:
        yield f"all {seen.requests:,} requests are the same: does the prompt use the right column?"
    elif seen.repeated:
        spared = "" if cost_usd is None else f", and paid for: about {usd(quantize(cost_usd * seen.repeated))}"
        way_out = "" if is_deduped else ". policy.dedupe = true sends each once"
        yield f"{seen.repeated:,} of {seen.requests:,} requests are the same as an earlier one{spared}{way_out}"
    if context_tokens is not None and seen.longest_tokens > context_tokens:
        yield (
            f"the longest request may have {seen.longest_tokens:,} tokens, and the model takes {context_tokens:,} with "
            "its answer: such rows would fail. Shorten the column"
        )


def policy_notes(
    policy: Policy, *, cost_usd_expected: Decimal | None, cost_usd_max: Decimal | None, can_be_null: bool
) -> Iterator[str]:
    """Yield which settings will not do what they seem to: a budget that is too small, a null policy without nulls."""
    budget = policy.budget_usd
    if budget is not None and cost_usd_expected is not None and cost_usd_max is not None:
        if budget < cost_usd_expected:
            yield (
                f"policy.budget_usd {exact(budget)} is about {int(100 * budget / cost_usd_expected)} % of the expected "
                f"{usd(cost_usd_expected)}: the job sends what fits, cheaper requests first where it gets tight, then "
                "stops"
            )
        elif budget < cost_usd_max:
            yield (
                f"policy.budget_usd {exact(budget)} is less than the {usd(cost_usd_max)} it may cost at most: it "
                "waits for batches to settle, and takes longer"
            )
    if policy.null_policy != NULL_DEFAULT and not can_be_null:
        yield (
            f'policy.null_policy = "{policy.null_policy.value}" never applies: an empty field of a CSV is an empty '
            'text. For a null, set [dataset] null_values = [""]'
        )
