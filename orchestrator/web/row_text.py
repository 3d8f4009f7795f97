"""Rows' texts on a page: whole or cut, what would act shown as it is written, and what was looked for marked."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, Final

from markupsafe import Markup, escape

from orchestrator.domain.money import exact
from orchestrator.log import printable

LIST_LENGTH_MAX: Final = 420  # characters of a text in a list
WHOLE_LENGTH_MAX: Final = 100_000
BEFORE: Final = 120  # characters before what was looked for, where it is far from the beginning


def line_of(text: str | None, looked_for: str = "") -> Markup:
    """Return a text as one line: cut, around what was looked for, and this marked."""
    shown = printable(text or "")
    at = shown.casefold().find(looked_for.casefold()) if looked_for else -1
    start = max(0, at - BEFORE) if at + len(looked_for) > LIST_LENGTH_MAX else 0
    cut = shown[start : start + LIST_LENGTH_MAX]
    pieces = re.split(f"({re.escape(looked_for)})", cut, flags=re.IGNORECASE) if looked_for else [cut]
    found = Markup("").join(
        Markup("<mark>{}</mark>").format(piece) if number % 2 else _flat(piece) for number, piece in enumerate(pieces)
    )
    return Markup("{}{}{}").format("… " if start else "", found, " …" if start + len(cut) < len(shown) else "")


def _flat(text: str) -> Markup:
    """Return a text without line ends: a mark stands for each."""
    return Markup(' <span class="soft">↵</span> ').join(map(escape, re.split(r"\s*\n\s*", text)))


def whole(text: str) -> str:
    """Return a text as it is, but for what is far too long for a page."""
    shown = printable(text[:WHOLE_LENGTH_MAX])
    more = len(text) - WHOLE_LENGTH_MAX
    return shown if more <= 0 else f"{shown}\n… {more:,} more characters"


def value_of(value: Any) -> str:
    """Return a value of a table or of JSON as text; objects and lists over several lines."""
    if isinstance(value, str):
        return whole(value)
    is_deep = isinstance(value, dict | list)
    return whole(json.dumps(value, ensure_ascii=False, indent=1 if is_deep else None, default=str))


def request_of(request: Any) -> str:
    """Return a request as it was sent, for reading."""
    return whole(json.dumps(request, ensure_ascii=False, indent=1))


def cost_of(value: Any) -> str:
    """Return an amount of a column, without an exponent."""
    return exact(Decimal(repr(value) if isinstance(value, float) else str(value)))
