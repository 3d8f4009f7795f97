"""All jobs of a work folder on a terminal: those that need you first, then by how far they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.api.amounts import counted
from orchestrator.api.run_view import STYLES, percent, shortened
from orchestrator.domain.look import GROUPS, MARKS, Activity
from orchestrator.domain.money import rounded
from orchestrator.log import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.look import Look

ENDED_SHOWN: Final = 10
NAME: Final = 29  # of a job, in cells; fewer on a narrow terminal
NAME_MIN: Final = 15
NUMBERS: Final = 42  # cells beside it
_STYLES: Final = {"!": "needs_you", "●": "answered", "◌": "muted", "○": "to_send_again", "✓": "answered", "–": "muted"}  # noqa: RUF001


def table(looks: Sequence[Look], work: str, width: int) -> RenderableType:
    """Return the table; the jobs are in the order of their begin, the newest first."""
    if not looks:
        return Text(f"no job yet in {work}")
    groups = [(title, [one for one in looks if one.activity in some]) for title, some in GROUPS]
    told = ", ".join(_told(len(some), title) for title, some in groups if some)
    lines = [Text(f"{counted(len(looks), 'job', 'jobs')}: {told}"), Text("")]
    head = f"  {'job':<{_name(width)}} {'answered':>9} {'of rows':>11} {'failed':>7} {'USD':>9}"
    lines.append(Text(head, STYLES["muted"]))
    for title, some in groups:
        if some:
            lines.append(Text(title, STYLES["muted"]))
            shown = some[:ENDED_SHOWN] if title == "ended" else some
            lines += [_job(one, width) for one in shown]
            if len(shown) < len(some):
                lines.append(
                    Text(f"  {len(some) - len(shown):,} older ones: orchestrator status --json", STYLES["muted"])
                )
    return Group(*lines)


def _name(width: int) -> int:
    return max(NAME_MIN, min(NAME, width - NUMBERS))


def _told(jobs: int, title: str) -> str:
    return "1 needs you" if (jobs, title) == (1, "need you") else f"{jobs:,} {title}"


def _job(look: Look, width: int) -> Text:
    mark = MARKS[look.activity]
    spent = "?" if look.money.spent is None else rounded(look.money.spent)
    name = _name(width)
    line = Text(no_wrap=True).append(mark, STYLES[_STYLES[mark]])
    rows = f"{look.rows.total:,}" + ("" if look.rows.all_read else "+")
    line.append(
        f" {shortened(look.job_id, name):<{name}} {percent(look):>9} {rows:>11} {look.rows.failed:>7,} {spent:>9}"
    )
    note = _note(look)
    room = width - len(line) - 3
    return line.append(f"   {note}", STYLES["muted"]) if 0 < len(note) <= room else line


def _note(look: Look) -> str:
    if look.has_ended and look.ended_at:
        return f"{look.ended_at.astimezone():%d %b %H:%M}"
    if look.unresolved:
        return f"{look.unresolved:,} to decide"
    if look.activity in (Activity.NEEDS_YOU, Activity.STOPPED):
        return printable(look.decision or "stopped")
    return "" if look.activity is Activity.UNATTENDED else look.activity.value
