"""The view of a job: of a run on a terminal, and of `status`. Pure: a `Look` and a size in, text out.

Rule 1: one number for each place a row can be in; they add up to the rows. A line that was shown once stays.
Rule 2: the bar is these numbers and nothing else, and can be read without colour.
Rule 3: beside a number stand whole phrases, the weightiest first: as many as fit, none cut.
Rule 4: 100 % is said of the end alone; an estimate comes from finished batches, or there is none.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.api.amounts import counted, span
from orchestrator.api.doing_words import stopping
from orchestrator.domain.look import BATCHES_MIN, ON_ITS_WAY, Activity
from orchestrator.domain.money import rounded, usd
from orchestrator.domain.timeline import Group as BatchGroup
from orchestrator.domain.workers import Kind
from orchestrator.log import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from orchestrator.domain.look import Look
    from orchestrator.domain.progress import Trouble

# 16 colours, so that the terminal's own palette holds: cool is the normal way of a row, warm an exception, reverse you.
STYLES: Final = {
    "title": "bold",
    "muted": "dim",
    "command": "bold",
    "answered": "bold cyan",
    "answered_there": "cyan",
    "at_provider": "dim cyan",
    "to_send_again": "yellow",
    "waiting": "dim",
    "failed": "red",
    "needs_you": "bold reverse",
    "trouble": "yellow",
}
NAMES: Final = {
    "answered": "answered",
    "at_provider": "at the provider",
    "to_send_again": "to send again",
    "waiting": "waiting",
    "failed": "failed",
    "needs_decision": "needs you",
}
ALWAYS: Final = frozenset({"answered", "at_provider", "waiting"})
NAME_WIDTH: Final = 17
NUMBER_WIDTH: Final = 10
WIDTH_MIN: Final = 60  # on a narrower terminal there is no view
LINES_MIN: Final = 18  # on a lower one it has three lines
TROUBLES_MAX: Final = 2
ONE_HOUR: Final = timedelta(hours=1)
ONE_SECOND: Final = timedelta(seconds=1)
# What a job does that goes on only once somebody has done something.
NO_END_IN_SIGHT: Final = frozenset(
    {Activity.NEEDS_YOU, Activity.STOPPED, Activity.STOPPING, Activity.UNATTENDED, Activity.PAUSED}
)
TIP: Final = "Ctrl-C leaves it safely"
STOPS: Final = "Ctrl-C leaves at once now"
_MARKS: Final = {True: "━╍╌~·×!", False: "=--~.x!"}


@dataclass(slots=True)
class Lines:
    """Which lines of a view have been shown: they stay."""

    shown: set[str] = field(default_factory=lambda: set(ALWAYS))

    def of(self, look: Look) -> list[str]:
        """Return the places that this look has a line for."""
        self.shown |= {name for name in NAMES if getattr(look.rows, name)}
        return [name for name in NAMES if name in self.shown]


def frame(
    look: Look,
    lines: Lines,
    *,
    width: int,
    height: int = 24,
    tip: str = TIP,
    is_unicode: bool = True,
    is_last: bool = False,
) -> RenderableType:
    """Return the view; on a low terminal its head, its bar and what matters most.

    Args:
        is_last: what follows below it names what to type.
    """
    commands = [] if is_last else _commands(look)
    head = _head(look, width, tip)
    top: list[RenderableType] = [head, bar(look, width, is_unicode=is_unicode)]
    if height < LINES_MIN:
        matters = next(iter([*commands, *troubles(look), next_look(look)]))
        return Group(*top, Text("  " + textwrap.shorten(printable(matters), width - 2, placeholder=" …")))
    body = [_line(name, look, width) for name in lines.of(look)]
    return Group(*top, Text(""), *body, Text(""), *_below(look, width, commands))


def still(look: Look, width: int) -> RenderableType:
    """Return the view of a job at one moment: without what will happen next."""
    by = [f"by pid {one.pid} on {one.host}" if one.kind is Kind.RUN else f"by {one.host}" for one in look.worked_by[:1]]
    more = f" and {len(look.worked_by) - 1:,} more" if len(look.worked_by) > 1 else ""
    head = _head(look, width, f"{by[0]}{more}" if by else "")
    lines = Lines().of(look)
    told = _money(look, width)
    return Group(head, bar(look, width), Text(""), *(_line(name, look, width) for name in lines), Text(""), *told)


def _head(look: Look, width: int, tip: str) -> Text:
    since = span((look.ended_at or look.at) - look.began_at)
    state = f"{look.activity.value}, {since}"
    tip = "" if look.has_ended else STOPS if tip == TIP and look.activity is Activity.STOPPING else tip
    name = shortened(look.job_id, width - len(state) - 2)
    head = Text(no_wrap=True).append(name, STYLES["title"]).append(f"  {state}")
    room = width - len(head) - len(tip)
    return head.append(" " * room).append(tip, STYLES["muted"]) if tip and room >= 2 else head


def shortened(job_id: str, width: int) -> str:
    """Return a job's id in at most so many cells: its middle goes, never the digits at its end."""
    if len(job_id) <= width:
        return job_id
    end = job_id.rpartition("-")[2]
    kept = max(1, width - len(end) - 2)
    return f"{job_id[:kept]}…-{end}"


def bar(look: Look, width: int, *, is_unicode: bool = True) -> Text:
    """Return the bar and the share of rows that are answered: at least one cell for whatever is there."""
    counts = parts(look)
    share = percent(look)
    room = width - 9
    cells = _cells([count for _, count in counts], room)
    text = Text(no_wrap=True)
    for (name, _), mark, count in zip(counts, _MARKS[is_unicode], cells, strict=True):
        text.append(mark * count, STYLES[name])
    return text.append(" " * (room - sum(cells))).append(f"  {share:>7}", STYLES["title"])


def parts(look: Look) -> tuple[tuple[str, int], ...]:
    """Return the parts of the bar, in order: the name of a style, and rows."""
    rows = look.rows
    there = min(look.at_provider.answered, rows.at_provider)
    return (
        ("answered", rows.answered),
        ("answered_there", there),
        ("at_provider", rows.at_provider - there),
        ("to_send_again", rows.to_send_again),
        ("waiting", rows.waiting),
        ("failed", rows.failed),
        ("needs_you", rows.needs_decision),
    )


def _cells(counts: Sequence[int], room: int) -> list[int]:
    """Share cells out by the counts; what is there has one at least, and the largest takes the rest."""
    total = sum(counts)
    if not total:
        return [0] * len(counts)
    cells = [max(1, count * room // total) if count else 0 for count in counts]
    cells[counts.index(max(counts))] += room - sum(cells)
    return cells


def percent(look: Look) -> str:
    """Return the share of rows that are answered, rounded down; nothing while it is not known how many there are."""
    rows = look.rows
    return f"{rows.answered * 1000 // rows.total / 10:.1f} %" if rows.total and rows.all_read else ""


def _line(name: str, look: Look, width: int) -> Text:
    number: int = getattr(look.rows, name)
    style = {"failed": "failed", "to_send_again": "to_send_again", "needs_decision": "needs_you"}.get(name, "")
    return row(NAMES[name], f"{number:,}", phrases_of(name, look), width, style=style if number else "")


def row(name: str, number: str, phrases: Iterable[str], width: int, *, style: str = "") -> Text:
    """Return a line: a name, a number, and as many phrases as fit."""
    text = Text("  ", no_wrap=True).append(name, STYLES[style or "muted"])
    text.append(" " * (NAME_WIDTH - len(name))).append(f"{number:>{NUMBER_WIDTH}}")
    beside = _fitted(phrases, width - len(text) - 3)
    return text.append(f"   {beside}", STYLES["muted"]) if beside else text


def _fitted(phrases: Iterable[str], width: int) -> str:
    """Join whole phrases, up to a width; one that does not fit is left out."""
    told = ""
    for phrase in map(printable, phrases):
        longer = f"{told}; {phrase}" if told else phrase
        told = longer if len(longer) <= width else told
    return told


def phrases_of(name: str, look: Look) -> list[str]:
    """Return what there is to say beside the number of a place, the weightiest first."""
    there, rows = look.at_provider, look.rows
    match name:
        case "answered":
            read = f"of {counted(rows.total, 'row', 'rows')}" + ("" if rows.all_read else " read so far")
            reused = [f"{rows.reused:,} of them copied"] if rows.reused else []
            return [read, *reused, *(f"{count:,} {kind}" for kind, count in look.flaws.items() if count)]
        case "at_provider" if rows.at_provider:
            answered = [f"{there.answered:,} answered there"] if there.answered else []
            age = [f"oldest {span(look.at - there.oldest_sent_at)}"] if there.oldest_sent_at else []
            batches = [counted(there.batches, "batch", "batches")] if there.batches else []
            return [*answered, *batches, *age, *(f"{count:,} {word}" for word, count in there.words.items())]
        case "waiting" if look.activity is Activity.CANARY:
            return ["until the canary has come back well"]
        case "waiting" if look.decision:
            return ["until you decide"] if rows.waiting else []
        case "waiting" | "to_send_again" if look.paused_at is not None:
            return ["until you resume it"] if getattr(rows, name) else []
        case "waiting" if rows.waiting:
            return [counted(look.unsent, "batch", "batches"), f"{look.in_flight_max:,} may be in flight at a time"]
        case "failed":
            return [f"{one.code} {one.rows:,}" for one in look.causes]
        case "needs_decision" if rows.needs_decision:
            return _needs(look)
    return []


def _needs(look: Look) -> list[str]:
    if not look.unresolved:
        return []
    most = [one.usd_max for one in look.decisions]
    at_most = [] if None in most else [f"at most {usd(sum(filter(None, most), Decimal(0)))}"]
    return [counted(look.unresolved, "batch", "batches"), *(at_most if len(most) == look.unresolved else [])]


def _below(look: Look, width: int, commands: Iterable[str]) -> list[Text]:
    lines = _money(look, width)
    for trouble in troubles(look)[:TROUBLES_MAX]:
        for number, words in enumerate(textwrap.wrap(printable(trouble), width - 4)[:3]):
            lines.append(Text("  ! " if number == 0 else "    ", STYLES["trouble"]).append(words, "default"))
    told = next_look(look)
    lines += [Text(f"  {told}", STYLES["muted"])] if told else []
    return [*lines, *(Text(f"  {typed}", STYLES["command"]) for typed in commands)]


def _money(look: Look, width: int) -> list[Text]:
    lines = [row("money", *money(look), width)]
    return [*lines, _estimate(look, width)] if has_end_in_sight(look) else lines


def money(look: Look) -> tuple[str, list[str]]:
    """Return what a job has cost, and what there is to say beside it."""
    known = look.money
    beside = ["USD spent" + ("" if known.budget is None else f" of {rounded(known.budget)}")]
    if known.reserved:
        beside.append(f"{rounded(known.reserved)} reserved")
    if known.expected is not None and not look.has_ended and look.activity is not Activity.CANCELLING:
        few = f", by {counted(look.few_paid, 'answer', 'answers')}" if look.few_paid else ""
        beside.append(f"about {rounded(known.expected)} in the end{few}")
    if known.unpriced:
        beside.append(f"the cost of {counted(known.unpriced, 'answer', 'answers')} is not known")
    return "?" if known.spent is None else rounded(known.spent), beside


def has_end_in_sight(look: Look) -> bool:
    """Return whether there is to say when the job ends, or why that is not known."""
    return not look.has_ended and bool(look.estimate or look.activity not in NO_END_IN_SIGHT)


def _commands(look: Look) -> list[str]:
    """Return what a person can type now."""
    if look.decision:
        return [f"orchestrator approve {look.job_id}", f"orchestrator cancel {look.job_id}"]
    if look.activity in (Activity.UNATTENDED, Activity.STOPPING) and not look.unresolved:
        return [f"orchestrator {look.lacks or f'run {look.job_id}'}"]
    resolve = [f"orchestrator resolve {look.job_id}"] if look.unresolved else []
    return [*resolve, *([f"orchestrator resume {look.job_id}"] if look.paused_at is not None else [])]


def _estimate(look: Look, width: int) -> Text:
    number, beside = estimate(look)
    if not number:
        return row("done in", number, beside, width)
    text = Text("  ", no_wrap=True).append("done in", STYLES["muted"])
    text.append(f"{number:>{NAME_WIDTH + NUMBER_WIDTH - len('done in')}}")
    return text.append(f"   {_fitted(beside, width - len(text) - 3)}", STYLES["muted"])


def estimate(look: Look) -> tuple[str, list[str]]:
    """Return in what time a job may end, and what there is to say beside it; "" and why that is not known."""
    if look.estimate is None:
        return "", [_why_no_estimate(look)]
    soonest, latest = (one - look.at for one in (look.estimate.soonest, look.estimate.latest))
    begin, end = clock(look.estimate.soonest), clock(look.estimate.latest)
    between = f"at about {end}" if begin == end else f"between {begin} and {end}"
    finished = counted(look.estimate.batches, "finished batch", "finished batches")
    return _from_to(soonest, latest), [between, f"from {finished}"]


def _why_no_estimate(look: Look) -> str:
    if not look.rows.all_read:
        return "no estimate before all rows are read"
    if look.batches[BatchGroup.COLLECTED] < BATCHES_MIN and look.activity is not Activity.CANCELLING:
        return "no estimate before three batches have ended"
    return "no estimate" if look.activity in ON_ITS_WAY else f"no estimate while {look.activity.value}"


def _from_to(soonest: timedelta, latest: timedelta) -> str:
    """Return a span of times, coarsely: an estimate is no promise."""
    first, last = span(soonest), span(latest)
    if soonest >= 2 * ONE_HOUR:
        first, last = (f"{round(one / ONE_HOUR)}" for one in (soonest, latest))
        return f"{first} h" if first == last else f"{first} to {last} h"
    return first if first == last else f"{first} to {last}"


def troubles(look: Look) -> list[str]:
    """Return what is being tried again, and why nothing is sent."""
    paused = [look.reason] if look.reason and look.activity in _WITH_A_REASON else []
    return stopping(look) + paused + [_trouble(one) for one in look.troubles if not one.is_unresolved]


_WITH_A_REASON: Final = (Activity.ACCOUNT, Activity.BUDGET, Activity.NEEDS_YOU)


def _trouble(one: Trouble) -> str:
    since = f" since {clock(one.since)}" if one.since else ""
    again = f"; next at {clock(one.next_at, seconds=True)}" if one.next_at else ""
    return f"{counted(one.chunks, 'chunk', 'chunks')} tried again{since}{again}: {one.reason}"


def next_look(look: Look) -> str:
    """Return when the provider is asked again about a batch; "" where nothing is asked for."""
    due = look.at_provider.next_look_at
    if due is None or all(one.is_stopping for one in look.worked_by):
        return ""
    return f"next look in {span(due - look.at)}" if due - look.at >= ONE_SECOND else "looking at its batches now"


def clock(at: datetime, *, seconds: bool = False) -> str:
    """Return a time of day, local."""
    return f"{at.astimezone():%H:%M:%S}" if seconds else f"{at.astimezone():%H:%M}"


def plain(look: Look) -> str:
    """Return a look as one line, for a pipe or a log: the same words in the same order."""
    rows = look.rows
    of = f"{rows.answered:,} of {rows.total:,} answered" if rows.all_read else f"{rows.total:,} rows read so far"
    if look.revision > 1 and rows.answered < rows.total and not look.has_ended:
        of += " (rows that are sent again keep their answers until new ones are there)"
    parts = [f"{look.activity.value}: {of}"]
    for name, word in NAMES.items():
        number: int = getattr(rows, name)
        if number and name != "answered":
            parts.append(f"{number:,} {'need you' if name == 'needs_decision' else word}")
    money = look.money
    spent = "cost not known" if money.spent is None else usd(money.spent)
    parts.append(spent if money.budget is None else f"{spent} of {rounded(money.budget)}")
    return ", ".join(parts)
