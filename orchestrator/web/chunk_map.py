"""The map of a job's chunks: what each square looks like, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.api.amounts import counted

if TYPE_CHECKING:
    from orchestrator.domain.pictures import ChunkMap, Square

LEGEND: Final = (
    ("answered", "", "collected"),
    ("there", "", "answered there"),
    ("fly", "", "at the provider"),
    ("wait", "", "waiting"),
    ("again", "↻", "rows to send again"),
    ("fail", "✕", "given up"),
    ("need", "!", "needs you"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A square as it is drawn."""

    square: Square
    kind: str
    mark: str
    style: str  # how far it is filled with what; "" for one colour
    title: str


def cells(squares: Iterable[Square]) -> list[Cell]:
    """Return the squares as they are drawn."""
    return [_cell(square) for square in squares]


def chosen(found: ChunkMap, name: str) -> Square | None:
    """Return the square that a chunk is in; without one, the first that needs a look, else the first."""
    squares = [*found.planned, *found.again]
    if name:
        mine = (one for one in squares if one.first <= name <= one.last and one.first[0] == name[0])
        return next(mine, None)
    return max(squares, key=_urgency, default=None)


def _urgency(square: Square) -> tuple[bool, ...]:
    return square.unresolved > 0, square.given_up > 0, square.to_send_again > 0, square.at_provider > 0


def _cell(square: Square) -> Cell:
    kind, mark, style = _look(square)
    return Cell(square=square, kind=kind, mark=mark, style=style, title=f"{_name(square)}: {told(square)}")


def _name(square: Square) -> str:
    return square.first if square.chunks == 1 else f"{square.first} to {square.last}"


def told(square: Square) -> str:
    """Return where the rows of a square are, in words."""
    settled = square.answered + square.failed + square.moved
    waiting = square.rows - settled - square.at_provider - square.to_send_again
    places = (
        (square.answered, "answered"),
        (square.at_provider, "at the provider"),
        (square.to_send_again, "to send again"),
        (square.failed, "failed"),
        (square.moved, "sent again in other batches"),
    )
    words = [f"{count:,} {word}" for count, word in places if count]
    if square.unresolved:
        words.insert(0, counted(square.unresolved, "batch needs you", "batches need you"))
    if not words or (waiting > 0 and not square.answered):
        words.append(f"{max(0, waiting):,} waiting")
    return ", ".join(words)


def _look(square: Square) -> tuple[str, str, str]:
    """Return class, mark and fill: an exception takes the square, whatever the rest of it is."""
    if square.unresolved:
        return "need", "!", ""
    if square.given_up:
        return "fail", "✕", ""
    if square.to_send_again:
        return "again", "↻", ""
    rows = max(1, square.rows)
    settled = square.answered + square.failed + square.moved
    there = min(square.answered_there, square.at_provider)
    if settled == 0 and square.at_provider == 0:
        return "wait", "", ""
    if square.at_provider == 0 and settled * 100 >= rows * 99:
        return "answered", "", ""
    if settled == 0 and there == 0 and square.at_provider >= rows:
        return "fly", "", ""
    ends = (settled, settled + there, settled + square.at_provider)
    return "mix", "", ";".join(f"--{name}:{end * 100 // rows}%" for name, end in zip("abc", ends, strict=True))
