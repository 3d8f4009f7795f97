"""Parses result bytes into answers: every line is assigned to its row, counted, or quarantined; no line stops the file.

Rule 1: no input raises an exception. A line that names no row is counted as unreadable and quarantined; a row that it
        may have answered is `unreadable`, too (see `Reconciliation`).
Rule 2: at most one line is in memory, and only the beginning of an over-long one. A line with a huge number of tiny
    values is not decoded: it would be many times as large in memory.
Rule 3: the dialect decodes a line (`ReadLine`); this module knows no dialect.
Rule 4: a file that is one JSON document holds results in place of lines (`documents`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from orchestrator.collector.documents import results_in
from orchestrator.collector.lines import KEPT_BYTES_MAX, CutLine, OpenLine
from orchestrator.domain.custom_id import respelled
from orchestrator.domain.faults import Fault
from orchestrator.domain.reconcile import Answer, Placed, Reconciliation
from orchestrator.providers.result_lines import BrokenLine, UnreadableLine, row_name

VALUES_MAX: Final = 4_000_000  # of a line: an empty list takes three bytes in a line, and seventy in memory
_KEPT: Final = Placed.KEPT
# An id before anything nested: what follows the beginning of an over-long line is not known.
_NAMED_FIRST: Final = re.compile(rb'\s*\{[^{}\[\]]{0,400}?"(?:custom_id|customId|key)"\s*:\s*"([^"\\]{1,100})"')


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


def read_answers(
    blocks: Iterable[bytes], reconciliation: Reconciliation, read_line: ReadLine, *, keep_raw: bool
) -> Iterator[Quarantined]:
    """Assign every line of a result file to its row; yield unreadable and foreign lines, and duplicates that differ.

    A repetition of the same bytes is a duplicate: counted, and not quarantined.
    """
    seen: set[int] = set()
    for offset, line in results_in(blocks, lambda text: reconciliation.names_row(row_name(text))):
        try:
            if type(line) is CutLine:
                raise UnreadableLine("too long")
            if len(line) > VALUES_MAX and line.count(b",") + line.count(b":") > VALUES_MAX:
                raise UnreadableLine("too many values")
            name, answer = read_line(line, keep_raw=keep_raw)
        except UnreadableLine as exc:
            _suspect(reconciliation, line, is_broken=isinstance(exc, BrokenLine))
            yield _quarantined(offset, str(exc), line)
            continue
        placed = reconciliation.place(name, answer)
        if placed is _KEPT and answer.fault is None:  # almost every line
            seen.add(answer.digest)
            continue
        if placed is Placed.FOREIGN:
            if not respelled(name):  # it names no row of any job
                reconciliation.suspect(line)
            yield _quarantined(offset, "foreign id", line)
        elif placed is Placed.DUPLICATE and answer.digest not in seen:
            yield _quarantined(offset, "duplicate", line)
        elif answer.fault is Fault.UNREADABLE:
            yield _quarantined(offset, "unknown shape", line)
        seen.add(answer.digest)


def _suspect(reconciliation: Reconciliation, line: bytes, *, is_broken: bool) -> None:
    """Count a line that cannot be read."""
    if type(line) is CutLine:
        first = _NAMED_FIRST.match(line)
        reconciliation.unreadable(b"" if first is None else first[1])
    else:
        is_cut = is_broken and type(line) is OpenLine and line.lstrip().startswith(b"{")
        reconciliation.unreadable(line, is_cut=is_cut)


def _quarantined(offset: int, reason: str, line: bytes) -> Quarantined:
    return Quarantined(offset=offset, reason=reason, line=bytes(line[:KEPT_BYTES_MAX]))
