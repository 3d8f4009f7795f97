"""Charts as SVG shapes and HTML words: shapes stretch with the page, words keep their size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from orchestrator.api.amounts import span
from orchestrator.domain.money import rounded

if TYPE_CHECKING:
    from orchestrator.api.spread import Histogram
    from orchestrator.domain.pictures import Course, Durations

WIDE: Final = 1_000  # of a picture's own units
HIGH: Final = 120
STRIP: Final = 44
LABELS_MAX: Final = 6
AMOUNTS_MAX: Final = 4  # of them, where they are small amounts: these are long
RIGHT_MAX: Final = 0.96  # where the last label may stand: it is centred there
DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Label:
    """A word under a chart, and where it stands: percent from the left."""

    at: float
    word: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart: the words above, at the sides and under it, and its shapes as paths by class."""

    title: str
    note: str
    left: tuple[str, ...]  # from the top down
    shapes: tuple[tuple[str, str], ...]
    under: tuple[Label, ...]
    high: int = HIGH


def rows_chart(course: Course) -> Chart:
    """Return the rows that were answered, over time."""
    top = _round_up(max(course.answered, default=0))
    step = WIDE / len(course.answered)
    bars = "".join(
        f"M{place * step + step * 0.08:.1f} {HIGH}v{-count / top * HIGH:.1f}h{step * 0.84:.1f}V{HIGH}z"
        for place, count in enumerate(course.answered)
        if count
    )
    return Chart(
        title="Rows answered",
        note=f"in each {_width(course.width)}, when their batch was collected"
        + (f"; of {course.undated:,} more it is not known when" if course.undated else ""),
        left=(f"{top:,}", f"{top / 2:,.0f}" if top > 1 else "", "0"),
        shapes=(("grid", f"M0 0H{WIDE}M0 {HIGH / 2:g}H{WIDE}"), ("axis", f"M0 {HIGH}H{WIDE}"), ("f-answered", bars)),
        under=_times(course),
    )


def money_chart(course: Course, budget: Decimal | None) -> Chart:
    """Return what was spent, and what was reserved above it, over time. The budget is a line where it fits in."""
    both = [spent + reserved for spent, reserved in zip(course.spent, course.reserved, strict=True)]
    highest = max([*both, Decimal(0)])
    is_near = budget is not None and 0 < budget <= 3 * highest
    top = budget if budget is not None and is_near and budget >= highest else _round_up(highest)
    step = WIDE / len(both)

    def outline(values: Sequence[Decimal]) -> str:
        places = [(_y(value, top), (place + 1) * step) for place, value in enumerate(values)]
        return "M0 " + "V".join(f"{y:.1f}H{right:.1f}" for y, right in places)

    shapes = [("grid", f"M0 0H{WIDE}M0 {HIGH / 2:g}H{WIDE}"), ("axis", f"M0 {HIGH}H{WIDE}")]
    shapes += [("f-fly", f"{outline(both)}V{HIGH}H0z"), ("l-answered", outline(course.spent))]
    if budget is not None and is_near:
        shapes.append(("l-cap", f"M0 {_y(budget, top):.1f}H{WIDE}"))
    note = "spent, and reserved above it"
    if budget is not None:
        note += f"; the budget is {rounded(budget)}" + (" (the dashed line)" if is_near else "")
    return Chart(
        title="Money, USD",
        note=note,
        left=(rounded(Decimal(top)), rounded(Decimal(top) / 2), "0"),
        shapes=tuple(shapes),
        under=_times(course),
    )


def strip_chart(durations: Durations) -> Chart:
    """Return how long batches took: finished ones above, those in flight below, on one axis."""
    bins = len(durations.finished)
    step = WIDE / bins
    past = None if durations.slowest is None else durations.slowest / durations.width

    def ticks(counts: Sequence[int], top: int, bottom: int, *, late: bool | None = None) -> str:
        return "".join(
            f"M{(place + 0.5) * step:.1f} {top}V{bottom}"
            for place, count in enumerate(counts)
            if count and (late is None or late == (past is not None and place > past))
        )

    known = [f"{sum(durations.finished):,} finished"]
    if durations.fastest is not None and durations.middle is not None and durations.slowest is not None:
        known.append(f"fastest {span(durations.fastest)}, half within {span(durations.middle)}")
        known.append(f"slowest {span(durations.slowest)}")
    in_flight = sum(durations.in_flight)
    return Chart(
        title="How long a batch takes",
        note=", ".join(known) + (f"; {in_flight:,} in flight" if in_flight else "") + ". A line is one or more batches",
        left=("finished", "in flight"),
        shapes=(
            ("axis", f"M0 {STRIP / 2:g}H{WIDE}"),
            ("l-answered", ticks(durations.finished, 2, 20)),
            ("l-there", ticks(durations.in_flight, 24, 42, late=False)),
            ("l-again", ticks(durations.in_flight, 24, 42, late=True)),
        ),
        under=_spans(bins * durations.width),
        high=STRIP,
    )


def histogram_chart(title: str, found: Histogram, *, is_money: bool = False) -> Chart:
    """Return how many answers are in each bin; the number where a bin begins stands under it."""
    top, bins = _round_up(max(found.counts)), len(found.counts)
    step = WIDE / bins
    bars = "".join(
        f"M{place * step + step * 0.04:.1f} {HIGH}v{-max(1.0, float(count / top) * HIGH):.1f}h{step * 0.92:.1f}V{HIGH}z"
        for place, count in enumerate(found.counts)
        if count
    )
    every = -(-bins // (AMOUNTS_MAX if is_money else LABELS_MAX))
    return Chart(
        title=title,
        note="a number is where its bar begins",
        left=(f"{top:,}", f"{top / 2:,.0f}" if top > 1 else "", "0"),
        shapes=(("grid", f"M0 0H{WIDE}M0 {HIGH / 2:g}H{WIDE}"), ("axis", f"M0 {HIGH}H{WIDE}"), ("f-answered", bars)),
        under=tuple(
            Label(place / bins * 100, f"{Decimal(repr(begin)):f}" if is_money else f"{begin:,}")
            for place, begin in enumerate(found.begins)
            if not place % every
        ),
    )


def _y(value: Decimal, top: Decimal | int) -> float:
    return HIGH - float(value / top) * HIGH


def _round_up(value: int | Decimal) -> Decimal:
    """Return the next number that begins with 1, 2, 3, 5 and has zeros after it; 1 for none."""
    if value <= 0:
        return Decimal(1)
    power = Decimal(10) ** Decimal(value).adjusted()
    return next(step * power for step in (1, 2, 3, 5, 10) if step * power >= value)


def _width(width: timedelta) -> str:
    for unit, word in ((DAY, "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute")):
        if width >= unit and not width % unit:
            count = width // unit
            return word if count == 1 else f"{count} {word}s"
    return "second" if width == timedelta(seconds=1) else f"{width.total_seconds():g} seconds"


def _times(course: Course) -> tuple[Label, ...]:
    """Return times under a chart, in this machine's clock: whole ones, as far apart as words need."""
    whole = len(course.answered) * course.width
    step = next(one for one in _STEPS if whole / one <= LABELS_MAX)
    begin = course.begun_at.astimezone()
    midnight = begin.replace(hour=0, minute=0, second=0, microsecond=0)
    at = midnight + -(-(begin - midnight) // step) * step
    form = "%m-%d" if step >= DAY else "%H:%M:%S" if step < timedelta(minutes=1) else "%H:%M"
    found = []
    while at <= begin + RIGHT_MAX * whole:
        found.append(Label((at - begin) / whole * 100, _time(at, begin, form)))
        at += step
    return tuple(found)


def _time(at: datetime, begin: datetime, form: str) -> str:
    is_new_day = form == "%H:%M" and at.date() != begin.date() and at.hour == at.minute == 0
    return f"{at:%m-%d}" if is_new_day else f"{at:{form}}"


def _spans(whole: timedelta) -> tuple[Label, ...]:
    step = next(one for one in _STEPS if whole / one <= LABELS_MAX)
    places = [count * step for count in range(int(RIGHT_MAX * whole / step) + 1)]
    return tuple(Label(place / whole * 100, _brief(place)) for place in places)


def _brief(time: timedelta) -> str:
    return f"{time.total_seconds():g} s" if time < timedelta(minutes=1) else span(time)


_STEP_S: Final = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200)
_STEPS: Final = (
    timedelta(microseconds=10_000),
    timedelta(microseconds=100_000),
    *(timedelta(seconds=one) for one in _STEP_S),
    *(timedelta(days=one) for one in (1, 2, 7, 30, 100, 1_000, 100_000)),
)
