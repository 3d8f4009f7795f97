"""Re-batches a shard's rows so that batches end where slices end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestrator.ports import Checkpoint, never_interrupted

if TYPE_CHECKING:
    import pyarrow as pa


class Slices:
    """Batches from row `row` on; `row` is the number of the next row. `checkpoint` is called before each batch."""

    def __init__(self, batches: Iterator[pa.RecordBatch], row: int, checkpoint: Checkpoint = never_interrupted) -> None:
        self._batches = batches
        self._checkpoint = checkpoint
        self._rest: pa.RecordBatch | None = None
        self.row = row

    def until(self, end: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield (number of the first row, batch) up to row `end` or the last row."""
        while self.row < end and (rest := self._next()) is not None:
            self._checkpoint()
            start, head = self.row, rest.slice(0, end - self.row)
            self._rest = rest.slice(head.num_rows)
            self.row += head.num_rows
            yield start, head

    def exhausted(self) -> bool:
        """Return whether no row is left; reads ahead to find out."""
        return self._next() is None

    def _next(self) -> pa.RecordBatch | None:
        """Return the next rows, at least one; None where there are no more."""
        while self._rest is None or self._rest.num_rows == 0:
            self._rest = next(self._batches, None)
            if self._rest is None:
                return None
        return self._rest
