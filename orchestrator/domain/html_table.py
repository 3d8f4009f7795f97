"""A small HTML table for `_repr_html_` in notebooks. Every value is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def html_table(title: str, rows: Iterable[tuple[str, object]]) -> str:
    """Return a table of names and values under a title."""
    lines = "".join(f"<tr>{_cell('th', name)}{_cell('td', _text(value))}</tr>" for name, value in rows)
    return f"<table>{_cell('caption', title)}{lines}</table>"


def _cell(tag: str, text: str) -> str:
    return f"<{tag} style='text-align:left'>{escape(text)}</{tag}>"


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
