"""The view of a job for notebooks: the words and numbers of the terminal's view, as HTML.

Rule 1: every text is escaped; there is no script, no class and no style sheet, as notebooks remove them.
Rule 2: it has no colour of text or ground of its own, and each colour of the bar shows on light and on dark ground.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from orchestrator.api import run_view
from orchestrator.api.amounts import span
from orchestrator.domain.look import MARKS
from orchestrator.log import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.domain.look import Look

_HATCHED: Final = "repeating-linear-gradient(45deg,currentColor 0 2px,transparent 2px 5px)"
COLOURS: Final = {
    "answered": "#2f80bb",
    "answered_there": "#6cb0dc",
    "at_provider": "#a9cfe8",
    "to_send_again": "#dd9f1f",
    "waiting": "rgba(128,128,128,.3)",
    "failed": "#d0523b",
    "needs_you": _HATCHED,
}
PARTS: Final = {"answered_there": "answered there", "needs_you": "needs you"} | run_view.NAMES
SMALL: Final = "opacity:.75"


def look_html(look: Look, *, tip: str = "", more: Iterable[tuple[str, str]] = ()) -> str:
    """Return the view.

    Args:
        tip: how to leave a run.
        more: names and values that stand below.
    """
    since = span((look.ended_at or look.at) - look.began_at)
    state = f"{MARKS[look.activity]} {look.activity.value}, {since}"
    tip = "" if look.has_ended else tip
    head = f"<b>{_text(look.job_id)}</b> &nbsp;{_text(state)}{_small(f' · {tip}') if tip else ''}"
    lines = "".join(_line(*one) for one in _lines(look))
    below = "".join(
        f"<div style='overflow-wrap:anywhere'>{_small(name)} &nbsp;{_text(value)}</div>" for name, value in more
    )
    told = "".join(f"<div>! {_text(one)}</div>" for one in run_view.troubles(look))
    table = f"<table style='border-collapse:collapse;color:inherit;font:inherit;margin:6px 0 0'>{lines}</table>"
    style = "max-width:46em;line-height:1.5;font-variant-numeric:tabular-nums"
    return f"<div style='{style}'><div>{head}</div>{_bar(look)}{table}{below}{told}</div>"


def _lines(look: Look) -> Iterable[tuple[str, str, list[str]]]:
    shown = [name for name in run_view.NAMES if name == "answered" or getattr(look.rows, name)]
    for name in shown:
        yield run_view.NAMES[name], f"{getattr(look.rows, name):,}", run_view.phrases_of(name, look)
    yield "money", *run_view.money(look)
    if run_view.has_end_in_sight(look):
        yield "done in", *run_view.estimate(look)


def _line(name: str, number: str, phrases: Iterable[str]) -> str:
    cell = "padding:0 1em 0 0;text-align:{};vertical-align:top;border:0"
    beside = _small("; ".join(phrases))
    return (
        f"<tr style='background:none'><td style='{cell.format('left')};white-space:nowrap'>{_small(name)}</td>"
        f"<td style='{cell.format('right')};white-space:nowrap'>{_text(number)}</td>"
        f"<td style='{cell.format('left')}'>{beside}</td></tr>"
    )


def _bar(look: Look) -> str:
    """Return the bar: each part as wide as its rows, and at least to be seen."""
    parts = "".join(
        f"<div title='{_text(f'{PARTS[name]} {count:,}')}' "
        f"style='flex:{count} 0 0;min-width:3px;background:{COLOURS[name]}'></div>"
        for name, count in run_view.parts(look)
        if count
    )
    edge = "box-shadow:inset 0 0 0 1px rgba(128,128,128,.4)"
    bar = f"<div style='display:flex;flex:1;height:12px;border-radius:3px;overflow:hidden;{edge}'>{parts}</div>"
    share = f"<b style='min-width:4.5em;text-align:right'>{run_view.percent(look)}</b>"
    return f"<div style='display:flex;align-items:center;margin-top:4px'>{bar}{share}</div>"


def _small(text: str) -> str:
    return f"<span style='{SMALL}'>{_text(text)}</span>"


def _text(text: str) -> str:
    return escape(printable(text))
