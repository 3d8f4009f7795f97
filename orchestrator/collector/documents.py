"""Finds the results in a file: one a line, or in one JSON document, an array or an object that holds the array.

Rule 1: a document is recognised by its first result alone: the first object of an array, which names a row of this
    chunk. Anything else is read as lines, also what follows a document.
Rule 2: results are cut out of a document byte by byte where it nests; the dialect decodes them, like lines.
Rule 3: no more than the beginning of a file, or one result, is in memory.

    [{"custom_id", …}, …]     {"status", "results": [{"custom_id", …}, …]}     {"metadata": {"output": {"…": [ … ]}}}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from orchestrator.collector.lines import BOM, KEPT_BYTES_MAX, LINE_BYTES_MAX, CutLine, OpenLine, lines

HEAD_BYTES_MAX: Final = 1 << 20
DEPTH_MAX: Final = 8  # of an array of results: Gemini's is the fifth, in metadata.output.inlinedResponses
NESTING_MAX: Final = 1_000
# What changes the depth, and whole strings, whose brackets are text; a quote alone begins a string that is cut.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{}"]', re.DOTALL)

NamesRow = Callable[[bytes], bool]  # whether a JSON object is the result of a row


def results_in(blocks: Iterable[bytes], names_row: NamesRow) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, result) of each result of a file; a line that is no result comes as it is."""
    source = filter(None, blocks)
    head, is_document = b"", False
    for block in source:
        head += block
        if (len(head) < len(BOM) or not head.removeprefix(BOM).strip()) and len(head) < HEAD_BYTES_MAX:
            continue
        if names_row(head.removeprefix(BOM).partition(b"\n")[0]):
            break
        look = _Document(names_row)
        is_document = any(type(found) is bytes for _, found in look.results(iter((head,))))
        if is_document or look.has_ended or len(head) > HEAD_BYTES_MAX:
            break
    every = chain((head,), source)
    if not is_document:
        yield from lines(every)
        return
    document = _Document(names_row)
    yield from document.results(every)
    yield from document.others(every)


@dataclass(slots=True)
class _Document:
    """Cuts the results out of a document, as its bytes come."""

    names_row: NamesRow
    has_ended: bool = False  # the document is complete, or there is none
    _arrays: list[bool | None] = field(default_factory=list)  # of results or not; None: not known; False for objects
    _held: bytes = b""
    _at: int = 0  # the offset of `_held`
    _place: int = 0  # in `_held`: what is before it was read

    def results(self, blocks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, result)."""
        self._more(blocks)
        if self._held.removeprefix(BOM).lstrip()[:1] not in (b"[", b"{"):
            self.has_ended = True
        while not self.has_ended:
            found = _TOKEN.search(self._held, self._place)
            if found is None or found[0] == b'"':
                self._drop(len(self._held) if found is None else found.start())
                if not self._more(blocks):
                    return
                continue
            self._place = found.end()
            if found[0] == b"{" and self._arrays and self._arrays[-1] is not False and len(self._arrays) <= DEPTH_MAX:
                self._place = found.start()
                end = self._whole(blocks)
                start = self._place
                if self._arrays[-1] is None and end:
                    self._arrays[-1] = self.names_row(self._held[start:end])
                if self._arrays[-1]:
                    yield self._at + start, self._result(start, end)
                    self._place, self.has_ended = end or len(self._held), not end
                    continue
                self._place += 1
            self._nest(found[0])

    def others(self, blocks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
        """Yield the lines behind the document."""
        self._drop(self._place)
        yield from lines(chain((self._held,), blocks), offset=self._at)

    def _nest(self, token: bytes) -> None:
        if token in (b"[", b"{"):
            self._arrays.append(None if token == b"[" else False)
        elif token in (b"]", b"}"):
            del self._arrays[-1:]
            self.has_ended = not self._arrays
        self.has_ended = self.has_ended or len(self._arrays) > NESTING_MAX

    def _result(self, start: int, end: int) -> bytes:
        if end:
            return self._held[start:end]
        if len(self._held) > LINE_BYTES_MAX:
            return CutLine(self._held[:KEPT_BYTES_MAX])
        return OpenLine(self._held)

    def _whole(self, blocks: Iterator[bytes]) -> int:
        """Hold the object at the present place, and return its end; 0 where the file ends, or it is too long."""
        while not (end := _end_of(self._held, self._place)):
            self._drop(self._place)
            wanted = 2 * len(self._held)  # so that a long result is not looked through for every block
            while len(self._held) < wanted:
                if len(self._held) > LINE_BYTES_MAX or not self._more(blocks):
                    return _end_of(self._held, 0)
        return end

    def _more(self, blocks: Iterator[bytes]) -> bool:
        block = next(blocks, b"")
        self._held += block
        return bool(block)

    def _drop(self, count: int) -> None:
        self._held = self._held[count:]
        self._at += count
        self._place = 0


def _end_of(text: bytes, start: int) -> int:
    """Return where the object ends that begins at `start`; 0 where it does not end."""
    depth = 0
    for found in _TOKEN.finditer(text, start):
        token = found[0]
        if token in (b"{", b"["):
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                return found.end()
        elif token == b'"':
            return 0
    return 0
