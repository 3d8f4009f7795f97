"""Reads a shard's rows of a result part, once and in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.domain.errors import OutputError, StorageError
from orchestrator.job_files.result_parts import PART_SCHEMA, READ_ROWS, opened, reading


class PartCursor:
    """One shard's rows in a part, read once in order. The caller closes the file.

    It holds rows of one row group only: a shard's output is made from many parts, most of which are idle.
    Beside shard and row, it reads only `columns`.
    `improves`: the kind of the answers that its rows have, in earlier parts: see `Chunk.improves`.
    """

    def __init__(
        self,
        part: BinaryIO,
        *,
        shard_no: int,
        columns: Collection[str] = PART_SCHEMA.names,
        improves: str = "",
    ) -> None:
        self.improves = improves
        self._schema, self._part = _with_columns(tuple(columns)), part
        with reading(part):
            self._file = opened(part)
            groups = (_bounds(self._file, number) for number in range(self._file.num_row_groups))
            self._groups = deque(group for group in groups if group.shard_min <= shard_no <= group.shard_max)
        self._weights = [(group.row_min, group.row_max + 1, group.size_bytes) for group in self._groups]
        self._shard_no = shard_no
        self._row_start = 0
        self._last_row = -1
        self._batches: Iterator[Any] = iter(())  # of the row group that it is in
        self._held: Any = None  # the rest of the batch read last

    def skip(self, row_start: int) -> None:
        """Skip the rows below `row_start`; row groups entirely below it are not read."""
        self._row_start = max(self._row_start, row_start)

    def weight(self, row_start: int, row_end: int) -> int:
        """Return about how many bytes the rows [row_start, row_end) take, by the sizes of their row groups."""
        found = 0
        for first, end, size_bytes in self._weights:
            rows = min(end, row_end) - max(first, row_start)
            if rows > 0:
                found += size_bytes * rows // (end - first)
        return found

    def take(self, row_end: int) -> Any:
        """Return the shard's rows below `row_end` that were not yet taken, in order.

        Raises OutputError for a duplicate or misplaced row, StorageError where the part cannot be read.
        """
        taken = []
        while self._held is not None or self._advance(row_end):
            rows = self._held["row"].to_numpy()
            first, end = np.searchsorted(rows, [self._row_start, row_end])
            taken.append(self._held.slice(first, max(0, end - first)))
            if end < len(rows):
                self._held = self._held.slice(end)
                break
            self._held = None
        return pa.Table.from_batches(taken, self._schema)

    def _advance(self, row_end: int) -> bool:
        """Load the next batch with rows of the shard; False where the part has none below `row_end`."""
        while True:
            with reading(self._part):
                batch = next(self._batches, None)
            if batch is not None:
                own = batch.filter(pc.equal(batch["shard"], self._shard_no))
                if own.num_rows:
                    self._check_order(own["row"].to_numpy())
                    self._held = own
                    return True
                continue
            while self._groups and self._groups[0].row_max < self._row_start:
                self._groups.popleft()
            if not self._groups or self._groups[0].row_min >= row_end:
                return False
            with reading(self._part):
                self._batches = self._file.iter_batches(
                    READ_ROWS, use_threads=False, row_groups=[self._groups.popleft().number], columns=self._schema.names
                )

    def _check_order(self, rows: Any) -> None:
        is_late = np.diff(rows, prepend=self._last_row) <= 0
        if is_late.any():
            row = rows[np.argmax(is_late)]
            raise OutputError(f"a part holds row {row} of shard {self._shard_no} twice or out of order")
        self._last_row = int(rows[-1])


@lru_cache
def _with_columns(names: tuple[str, ...]) -> Any:
    return pa.schema([field for field in PART_SCHEMA if field.name in ("shard", "row", *names)])


class _Group(NamedTuple):
    number: int
    shard_min: int
    shard_max: int
    row_min: int
    row_max: int
    size_bytes: int  # uncompressed


def _bounds(file: Any, number: int) -> _Group:
    group = file.metadata.row_group(number)
    shard, row = group.column(0).statistics, group.column(1).statistics
    if shard is None or row is None or not (shard.has_min_max and row.has_min_max):
        raise StorageError("a file of parsed results lacks the bounds of its row groups")
    return _Group(number, shard.min, shard.max, row.min, row.max, group.total_byte_size)
