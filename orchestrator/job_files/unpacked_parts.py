"""Parts of which a few rows are wanted again and again, unpacked on the local disk: for rows in quite another order.

Rule 1: a part is unpacked when a few of its rows are wanted for the second time. Where rows are wanted in its own order
        it never is. A part in place never changes, so neither does its copy.
Rule 2: memory is bounded: one unpacked part at a time is mapped into memory, while rows are taken from it. The file is
        in TMPDIR and has no name: it goes with the process.
Rule 3: it is only faster: where the disk has no room, parts are read as ever.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
import pyarrow as pa

FEW: Final = 4  # rows of a part, or more, for each one that is wanted: a few
BATCH_BYTES: Final = 16 * 2**20
FREE_BYTES_MIN: Final = 2**30  # of the disk, and as much again as is unpacked


class _Unpacked(NamedTuple):
    start: int  # in the file
    length: int
    batch_rows: tuple[int, ...]


class UnpackedParts:
    """What is unpacked so far. Several threads may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._parts: dict[int, _Unpacked] = {}
        self._wanted_once = set[int]()
        self._has_room = True

    def take(self, number: int, wanted: Any) -> Any:
        """Return rows of a part, by their numbers, which are in order; None where it is not unpacked."""
        unpacked = self._parts.get(number)
        if unpacked is None or self._file is None:
            return None
        mapped = mmap.mmap(self._file.fileno(), unpacked.length, access=mmap.ACCESS_READ, offset=unpacked.start)
        reader = pa.ipc.open_file(pa.py_buffer(mapped))
        return _taken(unpacked.batch_rows, lambda batch: pa.Table.from_batches([reader.get_batch(batch)]), wanted)

    def taken_of(self, number: int, part: Any, wanted: Any) -> Any:
        """Return such rows of a part, which is a Parquet file; it is unpacked if it is to be."""
        if self._is_to_be_unpacked(number, part, len(wanted)):
            with self._lock:
                if number not in self._parts:  # no other thread has been quicker
                    self._unpack(number, part)
            if number in self._parts:
                return self.take(number, wanted)
        return _taken(_group_rows(part), lambda group: part.read_row_group(group, use_threads=False), wanted)

    def _is_to_be_unpacked(self, number: int, part: Any, wanted_count: int) -> bool:
        if wanted_count * FEW > part.metadata.num_rows or not self._has_room:
            return False
        is_second = number in self._wanted_once
        self._wanted_once.add(number)
        return is_second

    def _unpack(self, number: int, part: Any) -> None:
        """Append a part to the file."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="answers-")  # noqa: SIM115 - it lives as long as this
            disk, end = os.fstatvfs(self._file.fileno()), self._file.seek(0, os.SEEK_END)
            self._has_room = disk.f_bavail * disk.f_frsize >= end + FREE_BYTES_MIN
            if not self._has_room:
                return
            start = self._file.seek(end + -end % mmap.ALLOCATIONGRANULARITY)
            with pa.ipc.new_file(self._file, part.schema_arrow) as writer:
                batches = _written(writer, part)
            self._file.flush()
            length = self._file.seek(0, os.SEEK_END) - start
        except OSError:  # the disk is full, or there is none
            self._has_room = False
            return
        self._parts[number] = _Unpacked(start, length, batches)


def _written(writer: Any, part: Any) -> tuple[int, ...]:
    """Write a part, in batches of about `BATCH_BYTES`: to take rows of a few costs less than of many."""
    rows, held = list[int](), list[Any]()
    for group in range(part.num_row_groups):
        held.append(part.read_row_group(group, use_threads=False))
        if group == part.num_row_groups - 1 or sum(table.nbytes for table in held) >= BATCH_BYTES:
            batch = pa.concat_tables(held).combine_chunks()
            writer.write_table(batch)
            rows.append(batch.num_rows)
            held.clear()
    return tuple(rows)


def _group_rows(part: Any) -> tuple[int, ...]:
    """Return how many rows each row group of a Parquet file has."""
    return tuple(part.metadata.row_group(number).num_rows for number in range(part.num_row_groups))


def _taken(rows: Iterable[int], read: Callable[[int], Any], wanted: Any) -> Any:
    """Return rows, by their numbers, which are in order; of groups of so many rows, which are read if need be."""
    start, tables = 0, []
    for number, count in enumerate(rows):
        first, last = np.searchsorted(wanted, [start, start + count])
        if last > first:
            tables.append(read(number).take(pa.array(wanted[first:last] - start)))
        start += count
    return pa.concat_tables(tables)
