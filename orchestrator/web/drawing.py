"""What templates draw with: numbers and times as people read them, the parts of a bar, the words for a state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from orchestrator.api.amounts import counted, span
from orchestrator.api.doing_words import stopping
from orchestrator.api.event_words import told
from orchestrator.domain.look import MARKS
from orchestrator.domain.money import rounded
from orchestrator.log import printable
from orchestrator.web.row_text import cost_of, line_of, request_of, value_of, whole

if TYPE_CHECKING:
    from orchestrator.domain.look import Look

KINDS: Final = {"!": "need", "●": "run", "◌": "hold", "○": "idle", "✓": "ok", "–": "off"}  # noqa: RUF001 - class names


@dataclass(frozen=True, slots=True)
class Place:
    """One of the places where a job's rows are, as the page shows it."""

    kind: str
    word: str
    rows: int
    notes: tuple[str, ...] = ()


def places(look: Look) -> list[Place]:
    """Return the places of a job's rows: their numbers add up to the rows."""
    rows, there = look.rows, look.at_provider
    flaws = [f"{count:,} {kind}" for kind, count in look.flaws.items() if count]
    answered_there = [f"{there.answered:,} answered there"] if there.answered else []
    causes = [f"{one.code} {one.rows:,}" for one in look.causes[:2]]
    return [
        Place("answered", "answered", rows.answered, tuple(flaws)),
        Place("fly", "at the provider", rows.at_provider, (*answered_there, *_batches(there.batches))),
        Place("again", "to send again", rows.to_send_again),
        Place("wait", "waiting", rows.waiting, _batches(look.unsent)),
        Place("fail", "failed", rows.failed, tuple(causes)),
        Place("need", "needs you", rows.needs_decision, _batches(look.unresolved)),
    ]


def _batches(count: int) -> tuple[str, ...]:
    return (counted(count, "batch", "batches"),) if count else ()


def parts(look: Look) -> list[tuple[str, int]]:
    """Return the parts of a job's bar, in order: class and rows."""
    rows = look.rows
    there = min(look.at_provider.answered, rows.at_provider)
    found = [
        ("answered", rows.answered),
        ("there", there),
        ("fly", rows.at_provider - there),
        ("again", rows.to_send_again),
        ("wait", rows.waiting),
        ("fail", rows.failed),
        ("need", rows.needs_decision),
    ]
    return [(kind, count) for kind, count in found if count]


def percent(look: Look) -> str:
    """Return the share of rows that are answered, rounded down."""
    rows = look.rows
    return f"{rows.answered * 1000 // rows.total / 10:.1f} %" if rows.total and rows.all_read else "–"  # noqa: RUF001


def number(value: int) -> str:
    """Return a whole number with separators."""
    return f"{value:,}"


def amount(value: Decimal | None) -> str:
    """Return an amount in USD; a question mark for one that is not known."""
    return "?" if value is None else rounded(value)


def ago(at: datetime | None, now: datetime) -> str:
    """Return how long ago something was."""
    return "" if at is None else f"{span(now - at)} ago"


def age(begin: datetime | None, end: datetime) -> str:
    """Return a length of time."""
    return "" if begin is None else span(end - begin)


def megabytes(count: int | None) -> str:
    """Return a size in MB; "" where it is not known."""
    return "" if count is None else f"{count / 1_000_000:,.0f} MB"


def clock(at: datetime | None) -> str:
    """Return a time of this machine's clock."""
    return "" if at is None else f"{at.astimezone():%H:%M:%S}"


def clock_of(at: datetime, now: datetime) -> str:
    """Return a time of this machine's clock, with its day where that is another one."""
    is_today = at.astimezone().date() == now.astimezone().date()
    return clock(at) if is_today else f"{at.astimezone():%m-%d %H:%M}"


def moment(at: datetime | None) -> str:
    """Return a day and time of this machine's clock."""
    return "" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M}"


def estimate(look: Look) -> str:
    """Return when a job may end, in words; "" where nothing is known."""
    known = look.estimate
    if known is None:
        return ""
    soonest, latest = (f"{one.astimezone():%H:%M}" for one in (known.soonest, known.latest))
    return f"done at about {latest}" if soonest == latest else f"done between {soonest} and {latest}"


def elapsed(look: Look) -> str:
    """Return how long a job has taken."""
    return span(max((look.ended_at or look.at) - look.began_at, timedelta(0)))


FILTERS: Final[dict[str, Any]] = {
    "n": number,
    "usd": amount,
    "clock": clock,
    "clock_of": clock_of,
    "mb": megabytes,
    "moment": moment,
    "said": printable,
    "line": line_of,
    "whole": whole,
    "value": value_of,
    "exact": cost_of,
    "request": request_of,
}
GLOBALS: Final[dict[str, Any]] = {
    "marks": MARKS,
    "kinds": KINDS,
    "places": places,
    "parts": parts,
    "percent": percent,
    "ago": ago,
    "age": age,
    "estimate": estimate,
    "elapsed": elapsed,
    "told": told,
    "stopping": stopping,
}
