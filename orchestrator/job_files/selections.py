"""The rows that a person has chosen to be sent again: which, in which chunk each is counted, and of what kind it was.

Rule 1: they are written before the ledger is told, and never change: each selection has a name of its own.
Rule 2: a shard's rows are in a file of their own, in order: writing and reading hold some rows at a time.

    selections/2-1f9a63c0.s00000.parquet    the rows chosen for revision 2, of shard 0
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.domain.errors import StorageError

if TYPE_CHECKING:
    from orchestrator.domain.model import Chunk
    from orchestrator.domain.reconcile import RowKey
    from orchestrator.ports import JobFiles

FOLDER: Final = "selections"
GROUP_ROWS: Final = 100_000
_NAME = pa.dictionary(pa.int32(), pa.string())
SCHEMA: Final = pa.schema([("row", pa.int64()), ("chunk", _NAME), ("kind", _NAME)])


class ShardSelection:
    """Writes the chosen rows of a shard."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._tables: list[pa.Table] = []
        self._rows = 0

    def add(self, rows: Sequence[int], chunks: Sequence[str], kinds: Sequence[str]) -> None:
        """Add rows, in order, each with its chunk and its kind."""
        columns = (rows, chunks, kinds)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
        self._tables.append(pa.Table.from_arrays(arrays, schema=SCHEMA))
        self._rows += len(rows)
        if self._rows >= GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what was added."""
        if self._tables:
            self._writer.write_table(pa.concat_tables(self._tables).unify_dictionaries())
        self._tables, self._rows = [], 0


@contextmanager
def kept_selection(job_files: JobFiles, selection: str, shard_no: int) -> Iterator[ShardSelection]:
    """Put the chosen rows of a shard in place."""
    with job_files.create(_name(selection, shard_no)) as file, pq.ParquetWriter(file, SCHEMA) as writer:
        rows = ShardSelection(writer)
        yield rows
        rows.flush()


def has_selections(job_files: JobFiles) -> bool:
    """Return whether rows of the job were ever chosen one by one."""
    return bool(job_files.names(FOLDER))


def chosen_rows(job_files: JobFiles, selection: str, chunk: Chunk) -> dict[str, list[RowKey]]:
    """Return the chosen rows of a chunk, by kind, in order. Raises StorageError."""
    if chunk.shard_no is None:
        names = [name for name in job_files.names(FOLDER) if name.startswith(f"{FOLDER}/{selection}.")]
    else:
        names = [_name(selection, chunk.shard_no)]
    found = defaultdict[str, list["RowKey"]](list)
    for name in names:
        if not job_files.exists(name):
            continue
        shard_no = int(name.removesuffix(".parquet").rpartition(".s")[2])
        try:
            with job_files.open(name) as file:
                for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(GROUP_ROWS, use_threads=False):
                    mine = batch.filter(pc.equal(batch["chunk"].dictionary_decode(), chunk.name))
                    for row, kind in zip(mine["row"].to_pylist(), mine["kind"].to_pylist(), strict=True):
                        found[kind].append((shard_no, row))
        except pa.ArrowException as error:
            raise StorageError(f"{name} is damaged ({type(error).__name__})") from None
    return dict(found)


def _name(selection: str, shard_no: int) -> str:
    return f"{FOLDER}/{selection}.s{shard_no:05d}.parquet"
