"""Result bytes to answers: every line is placed, counted, or set aside; none of them can stop the file.

Rule 1: lines end at b"\\n" and nowhere else; U+2028 and its kin are legal inside a JSON string.
Rule 2: nothing raises because of the bytes. A line that names no row is counted as unreadable and set aside.
Rule 3: memory holds one line at most, and of an over-long one its head; a line of nothing but tiny values, which would
    be many times as large once it is read, is not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from orchestrator.domain.reconcile import Placed, Reconciliation
from orchestrator.providers.result_lines import UnreadableLine, read_line

LINE_BYTES_MAX: Final = 64 * 1024 * 1024
VALUES_MAX: Final = 4_000_000  # of a line: an empty list is three bytes there, and seventy in memory
SET_ASIDE_BYTES_MAX: Final = 1024 * 1024
BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A line set aside: where it began in the stream, why, and its first MiB."""

    offset: int
    reason: str
    line: bytes


class CutLine(bytes):
    """The head of a line that was too long to hold."""


def read_answers(blocks: Iterable[bytes], reconciliation: Reconciliation, *, keep_raw: bool) -> Iterator[Quarantined]:
    """Place every line of a result file; yield those that are unreadable, foreign, or a differing duplicate.

    A repetition of the same bytes is a duplicate, counted and not set aside.
    """
    seen: set[int] = set()
    for offset, line in lines(blocks):
        try:
            if type(line) is CutLine:
                raise UnreadableLine("too long")
            if len(line) > VALUES_MAX and line.count(b",") + line.count(b":") > VALUES_MAX:
                raise UnreadableLine("too many values")
            name, answer = read_line(line, keep_raw=keep_raw)
        except UnreadableLine as exc:
            reconciliation.unreadable()
            yield _set_aside(offset, str(exc), line)
            continue
        placed = reconciliation.place(name, answer)
        if placed is Placed.FOREIGN:
            yield _set_aside(offset, "foreign id", line)
        elif placed is Placed.DUPLICATE and answer.digest not in seen:
            yield _set_aside(offset, "duplicate", line)
        seen.add(answer.digest)


def _set_aside(offset: int, reason: str, line: bytes) -> Quarantined:
    return Quarantined(offset=offset, reason=reason, line=bytes(line[:SET_ASIDE_BYTES_MAX]))


def lines(blocks: Iterable[bytes], *, line_bytes_max: int = LINE_BYTES_MAX) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line) of each line that is not blank, without its b"\\n" or b"\\r\\n" and without a leading BOM.

    A line over `line_bytes_max` comes as a CutLine.
    """
    offset = 0  # of the line that is being put together
    held = bytearray()  # its beginning, from earlier blocks
    held_bytes = 0  # how long that beginning is; more than `held` once that is cut
    for block in blocks:
        first, *others = block.split(b"\n")
        if not others:
            held_bytes += len(block)
            held += block
        else:
            line = _tidied(bytes(held + first), held_bytes + len(first), offset, line_bytes_max)
            if line:
                yield offset, line
            offset += held_bytes + len(first) + 1
            held[:] = others.pop()
            held_bytes = len(held)
            is_tidy = b"\r" not in block and len(block) <= line_bytes_max
            for piece in others:
                line = piece if is_tidy and not piece.isspace() else _tidied(piece, len(piece), offset, line_bytes_max)
                if line:
                    yield offset, line
                offset += len(piece) + 1
        if held_bytes > line_bytes_max:
            del held[min(line_bytes_max, SET_ASIDE_BYTES_MAX) :]
    line = _tidied(bytes(held), held_bytes, offset, line_bytes_max)
    if line:
        yield offset, line


def _tidied(line: bytes, length: int, offset: int, line_bytes_max: int) -> bytes:
    """Return the line without BOM and carriage return; empty if it is blank."""
    if length > line_bytes_max:
        return CutLine(line[: min(line_bytes_max, SET_ASIDE_BYTES_MAX)])
    if offset == 0:
        line = line.removeprefix(BOM)
    line = line.removesuffix(b"\r")
    return b"" if line.isspace() else line
