"""Rows as a table for a terminal: one line a row, never wider than the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson
from rich.cells import cell_len, set_cell_size

GAP: Final = "  "
CELL_WIDTH_MIN: Final = 12
MARK: Final = "…"


def table_text(rows: Sequence[dict[str, Any]], columns: Sequence[str], *, width: int) -> str:
    """Return the rows as lines of at most `width` cells, below their columns."""
    cells = [[_cell(row[name], width) for name in columns] for row in rows]
    head = [_cell(name, width) for name in columns]
    widths = _widths([head, *cells], width)
    lines = [head, ["─" * size for size in widths], *cells]
    return "\n".join(_line(line, widths) for line in lines)


def columns_that_fit(wanted: Sequence[str], *, width: int) -> list[str]:
    """Return as many of the columns, the most wanted first, as can be read beside each other."""
    return list(wanted[: max(1, (width + len(GAP)) // (CELL_WIDTH_MIN + len(GAP)))])


def most_wanted(rows: Sequence[dict[str, Any]], names: Sequence[str], custom_id: str, prefix: str) -> list[str]:
    """Return the columns of the output in the order in which they matter to a person who looks at a few rows.

    The answer, or the fields that it has been taken apart into, why there is none, and the source's columns.
    """
    at = names.index(custom_id) if custom_id in names else len(names)
    code, response, status = (f"{prefix}{name}" for name in ("error_code", "response", "status"))
    fields = names[names.index(response) + 1 : names.index(status)] if {response, status} <= {*names} else []
    first = [name for name in (*(fields or [response]), code) if name in names]
    if code in names and not any(row[code] for row in rows):
        first.remove(code)
    return [*first, *names[:at]] if first else list(names)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return GAP.join(_fitted(cell, size) for cell, size in zip(cells, widths, strict=True)).rstrip()


def _fitted(cell: str, size: int) -> str:
    return set_cell_size(cell, size) if cell_len(cell) <= size else set_cell_size(cell, size - 1) + MARK


def _widths(lines: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return the widths of the columns: as wide as their cells, the widest cut until all fit."""
    widths = [max(1, *(cell_len(line[place]) for line in lines)) for place in range(len(lines[0]))]
    room = width - len(GAP) * (len(widths) - 1)
    while sum(widths) > room and max(widths) > 1:
        widths[widths.index(max(widths))] -= 1
    return widths


def _cell(value: Any, width: int) -> str:
    """Return a value in one line; what would move the cursor or the text is a dot."""
    return "".join(_printed(value, width))


def _printed(value: Any, width: int) -> Iterator[str]:
    if value is None:
        return
    text = (
        value if isinstance(value, str) else orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    )
    for character in text[: 2 * width]:
        yield character if character.isprintable() else " " if character.isspace() else "·"
