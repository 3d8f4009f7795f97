"""A small HTML table for `_repr_html_` in notebooks. Every value is escaped; it has no colours of its own."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final

_CELL: Final = "text-align:left;vertical-align:top;border:0;padding:0 1em 0 0"


def html_table(title: str, rows: Iterable[tuple[str, object]]) -> str:
    """Return a table of names and values under a title."""
    lines = "".join(
        f"<tr style='background:none'><th style='{_CELL};font-weight:normal;opacity:.75'>{escape(name)}</th>"
        f"<td style='{_CELL};overflow-wrap:anywhere'>{escape(_text(value))}</td></tr>"
        for name, value in rows
    )
    caption = f"<caption style='text-align:left;color:inherit;padding:0'><b>{escape(title)}</b></caption>"
    return (
        f"<table style='border-collapse:collapse;color:inherit;max-width:46em;line-height:1.5'>{caption}{lines}</table>"
    )


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
