"""The verdict on a job's canary: the few rows that are sent first, before the rest costs anything.

Rule 1: the rest is sent only once the canary has passed, or a person has approved it.
Rule 2: a row that is to be sent again is no evidence: the platform or the account failed it, not the job.
Rule 3: a reason holds counts and the provider's error codes, never a row or an answer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from orchestrator.domain.model import Canary
from orchestrator.domain.row_kinds import FILTERED, FLAWED, INVALID_JSON, SCHEMA_MISMATCH

CANARY: Final = "canary"  # the decision that a job with a bad canary is stopped for
UNDECIDED: Final = frozenset({Canary.WANTED, Canary.OPEN})
ABOVE_ROWS: Final = 1_000  # a smaller job has no canary: its first batch is one
MAX_TOKENS: Final = "the length limit (max_tokens)"
COST_FACTOR_MAX: Final = 3  # of the estimated maximum
_CODE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class Kind(StrEnum):
    """What became of a row."""

    GOOD = "good"
    WAITING = "waiting"  # it failed, and is sent again
    FAILED = "failed"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    EMPTY = "empty"
    INVALID = "invalid"  # not of the job's response schema


_TOLD: Final = {
    Kind.UNREADABLE: "came back in a form that cannot be read",
    Kind.TRUNCATED: f"were cut off at {MAX_TOKENS}",
    Kind.REFUSED: "were refused by the model or its content filter",
    Kind.EMPTY: "came back empty",
    Kind.INVALID: "did not match the schema in [response]",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRow:
    """What came back for a row of the canary."""

    succeeded: bool
    is_waiting: bool = False
    error_code: str = ""  # of an answer that is not whole, its kind: see `row_kinds`

    @property
    def kind(self) -> Kind:
        """What became of the row."""
        if not self.succeeded:
            if self.is_waiting:
                return Kind.WAITING
            if self.error_code == Kind.UNREADABLE:
                return Kind.UNREADABLE
            if self.error_code in (INVALID_JSON, SCHEMA_MISMATCH):
                return Kind.INVALID
            if self.error_code in (Kind.TRUNCATED, Kind.REFUSED):  # of typed answers
                return Kind(self.error_code)
            return Kind.REFUSED if self.error_code in FILTERED else Kind.FAILED
        return Kind(self.error_code) if self.error_code in FLAWED else Kind.GOOD


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the canary cost, and what it could have cost at most by the estimate."""

    usd: Decimal
    usd_max: Decimal


@dataclass(frozen=True, slots=True)
class Passed:
    """The rest may be sent."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A person must look at it first."""

    reason: str


def verdict(rows: Sequence[CanaryRow], cost: Cost | None) -> Passed | Stop | None:
    """Judge the rows of the canary; None until rows that are sent again are back.

    Args:
        rows: all of its rows, at least one.
        cost: None where it is not known.
    """
    counts = Counter(row.kind for row in rows)
    if counts[Kind.GOOD] * 2 < len(rows) and counts[Kind.WAITING]:
        return None
    if reason := _bad(rows, counts) or _dear(rows, cost):
        return Stop(reason)
    return Passed()


def _bad(rows: Sequence[CanaryRow], counts: Counter[Kind]) -> str:
    if counts[Kind.FAILED] == len(rows):
        codes = Counter(row.error_code if _CODE.fullmatch(row.error_code) else "unknown" for row in rows)
        [(code, count)] = codes.most_common(1)
        often = "all" if count == len(rows) else f"{count:,}"
        return f"{_all(len(rows))} of the canary failed, {often} of them with the error code {code}"
    for kind, told in _TOLD.items():
        if counts[kind] * 2 > len(rows):
            return f"{counts[kind]:,} of {len(rows):,} answers of the canary {told}"
    if not counts[Kind.GOOD]:
        found = ", ".join(f"{count:,} {kind.value}" for kind, count in sorted(counts.items()))
        return f"no answer of the canary can be used: {found}"
    return ""


def _all(count: int) -> str:
    return "the only row" if count == 1 else f"all {count:,} rows"


def _dear(rows: Sequence[CanaryRow], cost: Cost | None) -> str:
    if cost is None or not 0 < cost.usd_max * COST_FACTOR_MAX < cost.usd:
        return ""
    each, expected = cost.usd / len(rows), cost.usd_max / len(rows)
    return f"a row of the canary cost {each:.6f} USD, the estimate was at most {expected:.6f} USD"
