"""What an audit finds: differences by name, what is under way, what was paid for nothing.

Rule: an audit of a billion rows must end with a report, not with a full memory: of many differences the first are
kept, and all are counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Final

KEPT_MAX: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not the same in two places, or not where it should be."""

    unit: str  # a chunk, a shard, a file
    what: str
    ledger: str
    archive: str  # the work folder, the output, or the provider

    def as_dict(self) -> dict[str, str]:
        """Return what `--json` prints."""
        return {"unit": self.unit, "what": self.what, "ledger": self.ledger, "archive": self.archive}


class Nothing(StrEnum):
    """What money was spent on that no row of the output shows."""

    FAILED = "failed"
    IN_VAIN = "retried_in_vain"
    LOST = "results_lost"
    THROWN_AWAY = "thrown_away"
    TWICE = "answered_twice"
    MAYBE_TWICE = "perhaps_paid_twice"
    DUPLICATE_BATCHES = "twin_batches"
    REPEATED = "repeated_lines"
    UNPLACED = "lines_of_no_row"


WORDS: Final = {
    Nothing.FAILED: "answers that were failures, and were charged for",
    Nothing.IN_VAIN: "rows sent again that failed again, and were charged for",
    Nothing.LOST: "batches whose results the provider no longer had",
    Nothing.THROWN_AWAY: "batches of creates that were given up, whose answers were not used",
    Nothing.TWICE: "answers to rows that had been answered",
    Nothing.MAYBE_TWICE: 'creates sent again though they may have worked (on_ambiguous = "resubmit"), at most',
    Nothing.DUPLICATE_BATCHES: "second batches of one create, cancelled when found; their cost is not known",
    Nothing.REPEATED: "lines that repeat another; not priced by themselves",
    Nothing.UNPLACED: "lines that name no row of ours, or cannot be read; not priced by themselves",
}


@dataclass(slots=True)
class Spent:
    """What was spent on one kind of nothing."""

    count: int = 0
    usd: Decimal = Decimal(0)


@dataclass(slots=True, kw_only=True)
class Side:
    """The job as one of the two tells it."""

    succeeded: int = 0
    failed: int = 0  # requests that ended without an answer; a row sent three times may be here three times
    batches: int = 0
    cost_usd: Decimal = Decimal(0)

    def as_dict(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return {
            "succeeded": self.succeeded,
            "failed": self.failed,
            "batches": self.batches,
            "cost_usd": str(self.cost_usd),
        }


@dataclass(slots=True, kw_only=True)
class Audit:
    """An audit of a job."""

    job_id: str
    state: str
    deep: bool
    ledger: Side = field(default_factory=Side)
    archive: Side = field(default_factory=Side)
    differences: list[Difference] = field(default_factory=list)  # the first of them
    difference_count: int = 0
    under_way: Counter[str] = field(default_factory=Counter)  # chunks by state, and the like
    nothing: dict[Nothing, Spent] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing differs."""
        return self.difference_count == 0

    @property
    def wasted_usd(self) -> Decimal:
        """What was paid for nothing, and what may have been."""
        return sum((spent.usd for spent in self.nothing.values()), Decimal(0))

    def differ(self, unit: str, what: str, *, ledger: object, archive: object) -> None:
        """Note a difference."""
        self.difference_count += 1
        if len(self.differences) < KEPT_MAX:
            self.differences.append(Difference(unit=unit, what=what, ledger=_told(ledger), archive=_told(archive)))

    def same(self, unit: str, what: str, *, ledger: object, archive: object) -> None:
        """Note a difference, if it is one."""
        if ledger != archive:
            self.differ(unit, what, ledger=ledger, archive=archive)

    def spend(self, kind: Nothing, count: int, usd: Decimal = Decimal(0)) -> None:
        """Add to what was paid for nothing."""
        if count or usd:
            spent = self.nothing.setdefault(kind, Spent())
            spent.count += count
            spent.usd += usd

    def as_dict(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return {
            "job_id": self.job_id,
            "state": self.state,
            "deep": self.deep,
            "clean": self.is_clean,
            "difference_count": self.difference_count,
            "differences": [one.as_dict() for one in self.differences],
            "ledger": self.ledger.as_dict(),
            "archive": self.archive.as_dict(),
            "under_way": dict(self.under_way),
            "paid_for_nothing": {
                kind.value: {"count": spent.count, "usd": str(spent.usd)} for kind, spent in self.nothing.items()
            },
            "paid_for_nothing_usd": str(self.wasted_usd),
            "notes": self.notes,
        }


def _told(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
