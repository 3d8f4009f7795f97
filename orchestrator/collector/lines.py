"""Cuts a stream of bytes into lines.

Rule 1: lines end at b"\\n" only; U+2028 and similar characters are legal inside a JSON string.
Rule 2: at most one line is in memory, and only the beginning of an over-long one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

LINE_BYTES_MAX: Final = 64 * 1024 * 1024
KEPT_BYTES_MAX: Final = 1024 * 1024  # of a longer line
BOM: Final = b"\xef\xbb\xbf"


class CutLine(bytes):
    """The beginning of a line that is too long to keep."""


class OpenLine(bytes):
    """The last line of a file, without an end: perhaps the file was cut within it."""


def lines(
    blocks: Iterable[bytes], *, offset: int = 0, line_bytes_max: int = LINE_BYTES_MAX
) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line) of each line that is not blank, without its b"\\n" or b"\\r\\n" and without a leading BOM.

    A line over `line_bytes_max` comes as a CutLine, a last line without an end as an OpenLine.

    Args:
        offset: where the stream begins in its file.
    """
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
            del held[min(line_bytes_max, KEPT_BYTES_MAX) :]
    line = _stripped(bytes(held), held_bytes, offset, line_bytes_max)
    if line:
        yield offset, line if type(line) is CutLine else OpenLine(line)


def _stripped(line: bytes, length: int, offset: int, line_bytes_max: int) -> bytes:
    """Return the line without BOM and carriage return; empty if it is blank."""
    if length > line_bytes_max:
        return CutLine(line[: min(line_bytes_max, KEPT_BYTES_MAX)])
    if offset == 0:
        line = line.removeprefix(BOM)
    line = line.removesuffix(b"\r")
    return b"" if line.isspace() else line
