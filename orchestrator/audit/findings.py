"""What an audit finds: differences, unfinished work, and wasted money.

Rule: memory is bounded: all differences are counted, only the first ones are kept.
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
    """One value that differs between two places, or one file that is missing or unknown."""

    unit: str  # a chunk, a shard, a file
    what: str
    ledger: str
    archive: str  # the work folder, the output, or the provider

    def as_dict(self) -> dict[str, str]:
        """Return what `--json` prints."""
        return {"unit": self.unit, "what": self.what, "ledger": self.ledger, "archive": self.archive}


class Waste(StrEnum):
    """Kinds of spending that no row of the output shows."""

    FAILED = "failed"
    IN_VAIN = "retried_in_vain"
    LOST = "results_lost"
    THROWN_AWAY = "thrown_away"
    TWICE = "answered_twice"
    MAYBE_TWICE = "perhaps_paid_twice"
    DUPLICATE_BATCHES = "duplicate_batches"
    REPEATED = "repeated_lines"
    UNPLACED = "lines_of_no_row"


WORDS: Final = {
    Waste.FAILED: "failed rows that were charged for",
    Waste.IN_VAIN: "rows sent again that failed again, and were charged for",
    Waste.LOST: "batches whose results the provider no longer had",
    Waste.THROWN_AWAY: "batches of abandoned creates, whose answers were not used",
    Waste.TWICE: "second answers to rows that had one",
    Waste.MAYBE_TWICE: 'creates sent again though they may have worked (on_ambiguous = "resubmit"), at most',
    Waste.DUPLICATE_BATCHES: "second batches of one create, cancelled when found; their cost is not known",
    Waste.REPEATED: "repeated result lines; not priced separately",
    Waste.UNPLACED: "result lines that match no row, or cannot be read; not priced separately",
}


@dataclass(slots=True)
class Spent:
    """The amount spent on one kind of waste."""

    count: int = 0
    usd: Decimal = Decimal(0)


@dataclass(slots=True, kw_only=True)
class Side:
    """The totals of a job in one of the two sources."""

    answers: int = 0  # also those that others have taken the place of, on request
    unanswered: int = 0  # requests that ended without one; a row sent three times may be here three times
    batches: int = 0
    cost_usd: Decimal = Decimal(0)
    unpriced: int = 0  # answers whose cost is not known

    @property
    def known_cost_usd(self) -> Decimal | None:
        """The cost, at least; None where nothing of it is known."""
        return None if self.unpriced and not self.cost_usd else self.cost_usd

    def as_dict(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return {
            "answers": self.answers,
            "unanswered": self.unanswered,
            "batches": self.batches,
            "cost_usd": None if self.known_cost_usd is None else f"{self.cost_usd:f}",
            "unpriced": self.unpriced,
        }


@dataclass(slots=True, kw_only=True)
class Audit:
    """An audit of a job."""

    job_id: str
    state: str
    deep: bool
    rows: int = 0  # planned so far
    succeeded: int = 0  # of the rows
    failed: int = 0  # of the rows
    ledger: Side = field(default_factory=Side)
    archive: Side = field(default_factory=Side)
    differences: list[Difference] = field(default_factory=list)  # the first of them
    difference_count: int = 0  # of all of them
    under_way: Counter[str] = field(default_factory=Counter)  # chunks by state, and the like
    waste: dict[Waste, Spent] = field(default_factory=dict)  # what was paid for nothing, by kind
    notes: list[str] = field(default_factory=list)  # what could not be compared, and why
    answered_usd: Decimal | None = None  # of the output's succeeded rows; None: there is no output that says so
    replaced_usd: Decimal | None = None  # for answers that others have taken the place of, because a person asked

    @property
    def is_clean(self) -> bool:
        """Whether nothing differs."""
        return self.difference_count == 0

    @property
    def wasted_usd(self) -> Decimal:
        """Money wasted for certain, and at most."""
        return sum((spent.usd for spent in self.waste.values()), Decimal(0))

    def differ(self, unit: str, what: str, *, ledger: object, archive: object) -> None:
        """Record a difference."""
        self.difference_count += 1
        if len(self.differences) < KEPT_MAX:
            self.differences.append(Difference(unit=unit, what=what, ledger=_text(ledger), archive=_text(archive)))

    def same(self, unit: str, what: str, *, ledger: object, archive: object) -> None:
        """Record a difference if the two values differ."""
        if ledger != archive:
            self.differ(unit, what, ledger=ledger, archive=archive)

    def spend(self, kind: Waste, count: int, usd: Decimal = Decimal(0)) -> None:
        """Add to one kind of waste."""
        if count or usd:
            spent = self.waste.setdefault(kind, Spent())
            spent.count += count
            spent.usd += usd

    def as_dict(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return {
            "job_id": self.job_id,
            "state": self.state,
            "deep": self.deep,
            "clean": self.is_clean,
            "rows": self.rows,
            "succeeded": self.succeeded,
            "failed": self.failed,
            "difference_count": self.difference_count,
            "differences": [one.as_dict() for one in self.differences],
            "ledger": self.ledger.as_dict(),
            "archive": self.archive.as_dict(),
            "under_way": dict(self.under_way),
            "paid_for_nothing": {
                kind.value: {"count": spent.count, "usd": f"{spent.usd:f}"} for kind, spent in self.waste.items()
            },
            "paid_for_nothing_usd": f"{self.wasted_usd:f}",
            "answered_usd": None if self.answered_usd is None else f"{self.answered_usd:f}",
            "replaced_on_request_usd": None if self.replaced_usd is None else f"{self.replaced_usd:f}",
            "notes": self.notes,
        }


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
