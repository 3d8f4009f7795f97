"""A shard's rows, as they come from a source, cut again where slices end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


class Slices:
    """Batches from row `row` on; `row` is always the number of the next one."""

    def __init__(self, batches: Iterator[pa.RecordBatch], row: int) -> None:
        self._batches = batches
        self._rest: pa.RecordBatch | None = None
        self.row = row

    def until(self, end: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield (number of the first row, batch) up to row `end`, or as far as there are rows."""
        while self.row < end and not self.exhausted():
            assert self._rest is not None
            start, head = self.row, self._rest.slice(0, end - self.row)
            self._rest = self._rest.slice(head.num_rows)
            self.row += head.num_rows
            yield start, head

    def exhausted(self) -> bool:
        """Say whether no row is left; reads ahead to find out."""
        while self._rest is None or self._rest.num_rows == 0:
            self._rest = next(self._batches, None)
            if self._rest is None:
                return True
        return False
