"""The `Source` port over tables in memory, one to a shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from orchestrator.domain.dataset import Segment, ShardSpec


class MemorySource:
    """A dataset of one or more tables of the same schema."""

    def __init__(self, tables: Sequence[Any], *, batch_rows: int = 5, knows_counts: bool = True) -> None:
        self.tables = tuple(tables)
        self._batch_rows = batch_rows
        self.shards = tuple(
            ShardSpec(
                shard_no=number,
                segments=(
                    Segment(file=f"{number}.parquet", groups=None, row_count=table.num_rows if knows_counts else None),
                ),
            )
            for number, table in enumerate(self.tables)
        )

    @property
    def schema(self) -> Any:
        """The columns."""
        return self.tables[0].schema

    @property
    def fingerprint(self) -> str:
        """What tells this dataset from another."""
        return "/".join(str(table.num_rows) for table in self.tables)

    def batches(self, shard: ShardSpec, *, columns: Sequence[str] | None = None, row_start: int = 0) -> Iterator[Any]:
        """Read a shard's rows from `row_start` on, in order."""
        table = self.tables[shard.shard_no].slice(row_start)
        yield from (table if columns is None else table.select(list(columns))).to_batches(self._batch_rows)
