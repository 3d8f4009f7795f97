"""Gathers rows into groups that are bounded in rows and in bytes, for writing.

Rule: where a group ends depends on the rows alone, and not on how a reader cut them into batches: the same rows give
the same file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

GATHERED_BYTES: Final = 4 * 2**20
BLOCK_ROWS: Final = 16  # a group that is full of bytes ends at a multiple of it


def groups(batches: Iterator[pa.RecordBatch], *, rows_max: int, bytes_max: int) -> Iterator[list[pa.RecordBatch]]:
    """Yield the rows in groups of `rows_max` rows, or of fewer that hold `bytes_max` bytes; the last has the rest."""
    held: list[pa.RecordBatch] = []
    rows = size_bytes = row = 0
    for batch in batches:
        while batch.num_rows:
            head = batch.slice(0, rows_max - rows)
            if size_bytes + weight(head) >= bytes_max:  # it ends among these rows: look block by block
                head = head.slice(0, BLOCK_ROWS - row % BLOCK_ROWS)
            held.append(head)
            rows, size_bytes, row = rows + head.num_rows, size_bytes + weight(head), row + head.num_rows
            batch = batch.slice(head.num_rows)
            if rows == rows_max or (size_bytes >= bytes_max and row % BLOCK_ROWS == 0):
                yield held
                held, rows, size_bytes = [], 0, 0
    if held:
        yield held


def gathered(batches: Iterator[pa.RecordBatch], *, rows_min: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches of at least `rows_min` rows, or GATHERED_BYTES, but the last."""
    held: list[pa.RecordBatch] = []
    rows = size_bytes = 0
    for batch in batches:
        if not held and batch.num_rows >= rows_min:
            yield batch
            continue
        held.append(batch)
        rows, size_bytes = rows + batch.num_rows, size_bytes + batch.nbytes
        if rows >= rows_min or size_bytes >= GATHERED_BYTES:
            yield from _as_one(held)
            held, rows, size_bytes = [], 0, 0
    yield from _as_one(held)


def _as_one(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    if len(batches) < 2 or not batches[0].num_columns:
        return batches
    try:
        return [pa.concat_batches(batches)]
    except pa.ArrowException:  # such as dictionaries within lists, which differ
        return batches


def weight(batch: pa.RecordBatch) -> int:
    """Return about how many bytes the values take; of two parts of a batch the sum is that of the whole."""
    return sum(map(_weight, batch.columns))


def _weight(values: Any) -> int:
    kind = values.type
    if isinstance(values, pa.ExtensionArray):
        return _weight(values.storage)
    if pat.is_dictionary(kind):
        return 4 * len(values)
    if pat.is_string(kind) or pat.is_large_string(kind) or pat.is_binary(kind) or pat.is_large_binary(kind):
        return 8 * len(values) + (pc.sum(pc.binary_length(values)).as_py() or 0)
    if pat.is_struct(kind):
        return sum(map(_weight, values.flatten()))
    if pat.is_map(kind):
        values = values.cast(pa.list_(kind.field(0)))
    if pat.is_nested(kind):
        return 8 * len(values) + _weight(values.flatten())
    return 8 * len(values)
