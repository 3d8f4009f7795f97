"""Parses result bytes into answers: every line is assigned to its row, counted, or quarantined; no line stops the file.

Rule 1: lines end at b"\\n" only; U+2028 and similar characters are legal inside a JSON string.
Rule 2: no input raises an exception. A line that names no row is counted as unreadable and quarantined.
Rule 3: at most one line is in memory, and only the beginning of an over-long one. A line with a huge number of tiny
    values is not decoded: it would be many times as large in memory.
Rule 4: the dialect decodes a line (`ReadLine`); this module knows no dialect.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from orchestrator.domain.reconcile import Answer, Placed, Reconciliation
from orchestrator.providers.result_lines import UnreadableLine

LINE_BYTES_MAX: Final = 64 * 1024 * 1024
VALUES_MAX: Final = 4_000_000  # of a line: an empty list takes three bytes in a line, and seventy in memory
QUARANTINED_BYTES_MAX: Final = 1024 * 1024
BOM: Final = b"\xef\xbb\xbf"


class ReadLine(Protocol):
    """A dialect's decoder of result lines."""

    def __call__(self, line: bytes, *, keep_raw: bool) -> tuple[str, Answer]:
        """Return the `custom_id` in the line, and the answer for that row. Raises UnreadableLine."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A line that was not used: where it began in the stream, why, and its first MiB."""

    offset: int
    reason: str
    line: bytes


class CutLine(bytes):
    """The beginning of a line that is too long to keep."""


def read_answers(
    blocks: Iterable[bytes], reconciliation: Reconciliation, read_line: ReadLine, *, keep_raw: bool
) -> Iterator[Quarantined]:
    """Assign every line of a result file to its row; yield unreadable and foreign lines, and duplicates that differ.

    A repetition of the same bytes is a duplicate: counted, and not quarantined.
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
            yield _quarantined(offset, str(exc), line)
            continue
        placed = reconciliation.place(name, answer)
        if placed is Placed.FOREIGN:
            yield _quarantined(offset, "foreign id", line)
        elif placed is Placed.DUPLICATE and answer.digest not in seen:
            yield _quarantined(offset, "duplicate", line)
        seen.add(answer.digest)


def _quarantined(offset: int, reason: str, line: bytes) -> Quarantined:
    return Quarantined(offset=offset, reason=reason, line=bytes(line[:QUARANTINED_BYTES_MAX]))


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
            line = _stripped(bytes(held + first), held_bytes + len(first), offset, line_bytes_max)
            if line:
                yield offset, line
            offset += held_bytes + len(first) + 1
            held[:] = others.pop()
            held_bytes = len(held)
            is_plain = b"\r" not in block and len(block) <= line_bytes_max
            for piece in others:
                line = (
                    piece if is_plain and not piece.isspace() else _stripped(piece, len(piece), offset, line_bytes_max)
                )
                if line:
                    yield offset, line
                offset += len(piece) + 1
        if held_bytes > line_bytes_max:
            del held[min(line_bytes_max, QUARANTINED_BYTES_MAX) :]
    line = _stripped(bytes(held), held_bytes, offset, line_bytes_max)
    if line:
        yield offset, line


def _stripped(line: bytes, length: int, offset: int, line_bytes_max: int) -> bytes:
    """Return the line without BOM and carriage return; empty if it is blank."""
    if length > line_bytes_max:
        return CutLine(line[: min(line_bytes_max, QUARANTINED_BYTES_MAX)])
    if offset == 0:
        line = line.removeprefix(BOM)
    line = line.removesuffix(b"\r")
    return b"" if line.isspace() else line
