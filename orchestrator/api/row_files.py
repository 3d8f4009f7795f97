"""Reads the parts and the requests of one shard forwards, window by window; each file is opened when it is reached."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from orchestrator.api.asked import asked
from orchestrator.job_files import request_files
from orchestrator.job_files.part_cursor import PartCursor

if TYPE_CHECKING:
    from orchestrator.domain.model import Chunk, Shard
    from orchestrator.ports import Contribution, JobFiles

COLUMNS: Final = (
    *("succeeded", "retryable", "text", "finish_reason", "tool_calls", "input_tokens", "output_tokens", "cost_usd"),
    *("round", "error_code", "error_message", "reused_from"),
)
WINDOW_BYTES_MAX: Final = 16 * 2**20
REACH_MAX: Final = 2**62


class PartReader:
    """The parts with answers or errors of a shard's rows, in the order of rounds; refusals are the first."""

    def __init__(self, files: JobFiles, shard: Shard, contributions: Sequence[Contribution]) -> None:
        self._files, self._shard_no = files, shard.shard_no
        folder = request_files.refusals_folder(shard.shard_no)
        self.refusals = files.names(folder) if shard.refused_count else []
        self._spans = [(name, 0, REACH_MAX) for name in self.refusals]
        for one in contributions:
            if one.chunk.part:
                is_own = one.chunk.shard_no is not None
                span = (one.chunk.row_start, one.chunk.row_end) if is_own else (0, REACH_MAX)
                self._spans.append((one.chunk.part, *span))
        self._open: dict[str, tuple[ExitStack, PartCursor]] = {}

    def close(self) -> None:
        """Close all files."""
        for stack, _ in self._open.values():
            stack.close()
        self._open.clear()

    def bounded(self, start: int, end: int) -> int:
        """Return where a window from `start` ends whose answers are in memory at once: at `end` at the latest."""
        while end - start > 1 and sum(one.weight(start, end) for _, one in self._near(start, end)) > WINDOW_BYTES_MAX:
            end = (start + end) // 2
        return end

    def take(self, start: int, end: int) -> tuple[list[str], list[Any]]:
        """Return the records of the rows [start, end), by part, and the names of the parts.

        No window may begin before the end of an earlier one.
        """
        names, tables = [], []
        for name, cursor in self._near(start, end):
            cursor.skip(start)
            names.append(name)
            tables.append(cursor.take(end))
        for name, _, row_end in self._spans:
            if row_end <= end and name in self._open:
                self._open.pop(name)[0].close()
        return names, tables

    def _near(self, start: int, end: int) -> Iterator[tuple[str, PartCursor]]:
        for name, row_start, row_end in self._spans:
            if row_start < end and start < row_end:
                if name not in self._open:
                    stack = ExitStack()
                    part = stack.enter_context(self._files.open(name))
                    self._open[name] = stack, PartCursor(part, shard_no=self._shard_no, columns=COLUMNS)
                yield name, self._open[name][1]


class RequestReader:
    """The requests of a shard's rows as they were first sent, read forwards."""

    def __init__(self, files: JobFiles, shard_no: int, chunks: Collection[Chunk]) -> None:
        self._files, self._shard_no = files, shard_no
        own = [one for one in chunks if one.shard_no == shard_no and one.requests]
        self._chunks = sorted(own, key=lambda one: (one.row_start, one.round))
        self._lines: dict[str, Iterator[tuple[int, bytes]]] = {}
        self._next: dict[str, tuple[int, bytes]] = {}

    def of(self, rows: Sequence[int]) -> dict[int, str]:
        """Return what the requests of these rows ask, as far as their files are there.

        No row may come before one that was asked for earlier.
        """
        found: dict[int, str] = {}
        if not rows:
            return found
        wanted = frozenset(rows)
        for chunk in self._chunks:
            if chunk.row_start <= rows[-1] and rows[0] < chunk.row_end:
                for row, line in self._until(chunk, rows[-1] + 1):
                    if row in wanted and row not in found:
                        found[row] = asked(line)
        return found

    def _until(self, chunk: Chunk, row_end: int) -> Iterator[tuple[int, bytes]]:
        """Yield the lines of the rows below `row_end` that were not read yet."""
        if chunk.requests not in self._lines:
            is_there = self._files.exists(chunk.requests)
            self._lines[chunk.requests] = self._read(chunk) if is_there else iter(())
        lines = self._lines[chunk.requests]
        held = self._next.pop(chunk.requests, None) or next(lines, None)
        while held is not None and held[0] < row_end:
            yield held
            held = next(lines, None)
        if held is not None:
            self._next[chunk.requests] = held

    def _read(self, chunk: Chunk) -> Iterator[tuple[int, bytes]]:
        for (_, row), line in request_files.requests_of(self._files, chunk):
            yield row, line
