"""The objects of a JSON file, each as the text of one line: of lines, or of an array, told by the first character.

Rule 1: a block or an element is held at a time, never the file.
Rule 2: a text is as written (its digits, its escapes, its bytes), but for the ends of lines within an element.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.dataset.files import SourceFile, open_stream, refuse_other_content, translated
from orchestrator.domain.errors import DatasetError

LINE_BYTES_MAX: Final = 64 * 2**20
READ_BYTES: Final = 2**20
_BOM: Final = b"\xef\xbb\xbf"
_BLANK: Final = re.compile(r"[ \t\r\n]*")
_LINE_ENDS: Final = str.maketrans("\r\n", "  ")  # within a string they are escaped
_DECODER: Final = json.JSONDecoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The text of a line that is not blank, or of an element of an array."""

    number: int  # of its first line: 1-based, blank lines counted
    text: bytes
    element: int | None = None  # 1-based

    @property
    def place(self) -> str:
        """Where it is in its file."""
        return f"line {self.number}" if self.element is None else f"element {self.element} (line {self.number})"


def json_texts(file: SourceFile) -> Iterator[Line]:
    """Yield the lines or elements of a file. Raises DatasetError."""
    complaint = f"{file.name} cannot be read: damaged, cut short, or not compressed as its name says"
    with translated(complaint):
        source = open_stream(file)
    with source:
        blocks = _blocks(source, complaint)
        head = next(blocks, b"")
        refuse_other_content(file, head, expected="JSON")
        head = head.removeprefix(_BOM)
        yield from (_elements if head.lstrip().startswith(b"[") else _lines)(file, head, blocks)


def _blocks(source: Any, complaint: str) -> Iterator[bytes]:
    while True:
        with translated(complaint):
            block = source.read(READ_BYTES)
        if not block:
            return
        yield block


def _lines(file: SourceFile, block: bytes, blocks: Iterator[bytes]) -> Iterator[Line]:
    begun: list[bytes] = []
    line_count = 0
    while block:
        first, *rest = block.split(b"\n")
        begun.append(first)
        if rest:
            for text in (b"".join(begun), *rest[:-1]):
                line_count += 1
                if text.strip():
                    yield Line(number=line_count, text=text)
            begun = [rest[-1]]
        if sum(map(len, begun)) > LINE_BYTES_MAX:
            raise DatasetError(f"{file.name}, line {line_count + 1}: longer than {LINE_BYTES_MAX} bytes")
        block = next(blocks, b"")
    if last := b"".join(begun).strip():
        yield Line(number=line_count + 1, text=last)


def _elements(file: SourceFile, head: bytes, blocks: Iterator[bytes]) -> Iterator[Line]:
    text = _Text(head, blocks)
    text.next_mark(is_taken=True)
    element = 0
    is_over = text.next_mark() == "]"
    while not is_over:
        element += 1
        number = text.line
        found = text.value()
        if found is None:
            raise DatasetError(
                f"{file.name}, element {element} (line {number}): not valid JSON, cut short, or longer than "
                f"{LINE_BYTES_MAX} bytes"
            )
        yield Line(number=number, text=found, element=element)
        mark = text.next_mark(is_taken=text.next_mark() == ",")
        is_over = mark == "]"
        if mark not in (",", "]"):
            what = "the file ends within its array" if not mark else "neither a comma nor the array's end"
            raise DatasetError(f"{file.name}, line {text.line}: {what}, after element {element}")
        text.next_mark()
    text.next_mark(is_taken=True)
    if text.next_mark():
        raise DatasetError(
            f"{file.name}, line {text.line}: more stands after the end of its array: the file must be one array of "
            "objects, or one object a line"
        )


class _Text:
    """The text of a stream, decoded as far as it is needed; bytes that are no UTF-8 stay what they are."""

    def __init__(self, head: bytes, blocks: Iterator[bytes]) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
        self._blocks = blocks
        self._held = self._decoder.decode(head)
        self._at = 0
        self._is_over = False
        self.line = 1

    def next_mark(self, *, is_taken: bool = False) -> str:
        """Return the next character that is not blank, and with `is_taken` pass it over; "" at the end."""
        while True:
            blank = _BLANK.match(self._held, self._at)
            assert blank is not None  # noqa: S101 - it matches nothing, too
            self._pass(blank.end())
            if self._at < len(self._held) or self._is_over:
                break
            self._read(READ_BYTES)
        mark = self._held[self._at : self._at + 1]
        if is_taken:
            self._pass(self._at + len(mark))
        return mark

    def value(self) -> bytes | None:
        """Return the text of the value that begins here, and pass it over; None where there is none."""
        while True:
            try:
                end = _DECODER.raw_decode(self._held, self._at)[1]
            except (ValueError, RecursionError):
                end = -1
            if end >= 0:
                text = self._held[self._at : end].translate(_LINE_ENDS)
                self._pass(end)
                return text.encode(errors="surrogateescape")
            if self._is_over or len(self._held) - self._at > LINE_BYTES_MAX:
                return None
            self._read(len(self._held) - self._at)

    def _pass(self, end: int) -> None:
        self.line += self._held.count("\n", self._at, end)
        self._at = end

    def _read(self, wanted: int) -> None:
        """Read about as many characters more, and drop those that are passed."""
        pieces = [self._held[self._at :]]
        self._at = 0
        while wanted > 0 and not self._is_over:
            block = next(self._blocks, b"")
            self._is_over = not block
            pieces.append(self._decoder.decode(block, final=self._is_over))
            wanted -= len(pieces[-1])
        self._held = "".join(pieces)
