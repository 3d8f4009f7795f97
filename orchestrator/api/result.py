"""The output of an ended job: streamed, as a dataset, or as one table.

Rule: reading some rows opens only the parts that hold them; only `to_arrow` and `to_pandas` load the whole output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from orchestrator.api.status import Status, cost_text
from orchestrator.collector.finish import revision_folder
from orchestrator.collector.join import FAILED, SUCCEEDED
from orchestrator.domain.errors import OutputError, StorageError
from orchestrator.domain.html_table import html_table
from orchestrator.domain.model import Job
from orchestrator.domain.policy import OutputOptions
from orchestrator.domain.row_kinds import RowKind, kind_named
from orchestrator.storage.arrow_fs import filesystem_of
from orchestrator.storage.location import join, parent_and_name

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.dataset as pads

BATCH_ROWS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Result:
    """The output of an ended job, in files."""

    status: Status
    path: str  # a folder, or the URL of one
    options: OutputOptions

    def __repr__(self) -> str:
        """Show the job, its counts and where the output is; never a row."""
        flaws = {name: count for name, count in self.flaws.items() if count}
        counts = ", ".join(f"{name}={count}" for name, count in (self.counts | flaws).items())
        return f"Result(job_id={self.job_id!r}, {counts}, path={self.path!r})"

    def _repr_html_(self) -> str:
        """Show the same in a notebook."""
        rows: list[tuple[str, object]] = [
            *self.counts.items(),
            *((name, count) for name, count in self.flaws.items() if count),
            ("cost", cost_text(self.status.totals)),
            ("path", self.path),
        ]
        return html_table(f"Result of {self.job_id}", rows)

    @property
    def job_id(self) -> str:
        """The job."""
        return self.status.job_id

    @property
    def counts(self) -> dict[str, int]:
        """`rows`, `succeeded`, `failed`: rows = succeeded + failed."""
        return {
            "rows": self.status.totals.rows,
            "succeeded": self.status.totals.succeeded,
            "failed": self.status.failed,
        }

    @property
    def flaws(self) -> dict[str, int]:
        """`truncated`, `empty`, `refused`: how many of the succeeded answers are not whole."""
        return self.status.totals.flaws

    @property
    def cost_usd(self) -> Decimal | None:
        """What the job's batches cost, as far as the provider reports it or a price is known; None where nothing is.

        It is a minimum where `status.totals.unpriced` is not zero: the cost of so many rows is not known.
        """
        return self.status.totals.known_cost_usd

    def iter_batches(
        self, *, columns: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS, kind: str | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Read the output in source order, at most `batch_rows` rows at a time; a part is opened when it is reached.

        Args:
            columns: read only these.
            kind: only rows of this kind: "failed", "truncated", "empty" or "refused"; row groups without any are not
                read.
        """
        store, parts = self._parts()
        return self._batches(store, parts, columns, batch_rows, None if kind is None else kind_named(kind))

    def dataset(self) -> pads.Dataset:
        """Return the output as a pyarrow Dataset, to filter and scan without loading all of it."""
        import pyarrow.dataset as pads  # takes a second; other uses do not need it

        store, parts = self._parts()
        with _translated(self.path):
            return pads.dataset(parts, format="parquet", filesystem=store)

    def head(self, rows: int = 5) -> pa.Table:
        """Return the first rows."""
        return self._first(rows, None)

    def failures(self, limit: int | None = None) -> pa.Table:
        """Return the failed rows with their errors, in source order; `limit` returns the first of them only."""
        return self.rows(RowKind.FAILED, limit)

    def rows(self, kind: str, limit: int | None = None) -> pa.Table:
        """Return the rows of a kind, in source order: "failed", or answers that are "truncated", "empty", "refused".

        Args:
            limit: return the first of them only.
        """
        return self._first(limit, kind_named(kind))

    def errors(self) -> Counter[str]:
        """Return how many rows failed with which error code."""
        column = f"{self.options.prefix}error_code"
        counted: Counter[str] = Counter()
        for batch in self.iter_batches(columns=[column], kind=RowKind.FAILED):
            counted.update(code or "unknown" for code in batch[column].to_pylist())
        return counted

    def to_arrow(self) -> pa.Table:
        """Return the whole output, in source order."""
        with _translated(self.path):
            return self.dataset().to_table()

    def to_pandas(self) -> pd.DataFrame:
        """Return the whole output, in source order."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def _first(self, limit: int | None, kind: RowKind | None) -> pa.Table:
        store, parts = self._parts()
        with _translated(self.path):
            schema = pq.read_schema(parts[0], filesystem=store)
        batch_rows = BATCH_ROWS if limit is None or kind else max(1, min(limit, BATCH_ROWS))
        batches: list[pa.RecordBatch] = []
        missing = limit
        for batch in self._batches(store, parts, None, batch_rows, kind) if limit != 0 else ():
            batches.append(batch if missing is None else batch.slice(0, missing))
            if missing is not None:
                missing -= len(batches[-1])
                if missing == 0:
                    break
        return pa.Table.from_batches(batches, schema)

    def _batches(
        self, store: Any, parts: Sequence[str], columns: Sequence[str] | None, batch_rows: int, kind: RowKind | None
    ) -> Iterator[pa.RecordBatch]:
        status, code = f"{self.options.prefix}status", f"{self.options.prefix}error_code"
        needed = [] if kind is None else [status] if kind is RowKind.FAILED else [status, code]
        read = None if columns is None else [*columns, *(name for name in needed if name not in columns)]
        with _translated(self.path):
            for part in parts:
                with store.open_input_file(part) as file:
                    opened = pq.ParquetFile(file, pre_buffer=False)
                    groups = _groups_with(kind, opened.metadata, needed[-1]) if kind else None
                    for batch in opened.iter_batches(batch_rows, row_groups=groups, columns=read):
                        if kind is None:
                            yield batch
                            continue
                        wanted = pc.equal(batch[status], FAILED if kind is RowKind.FAILED else SUCCEEDED)
                        if kind is not RowKind.FAILED:
                            wanted = pc.and_(wanted, pc.equal(batch[code], kind.value))
                        found = batch.filter(wanted)
                        if found.num_rows:
                            yield found if columns is None else found.select(list(columns))

    def _parts(self) -> tuple[Any, list[str]]:
        """Return the file system of the output, and its parts in the order of rows."""
        store, folder = filesystem_of(self.path)
        with _translated(self.path):
            if store.get_file_info(f"{folder}/_SUCCESS").type != pafs.FileType.File:
                raise OutputError(f"{self.path} holds no finished output: it has no file _SUCCESS")
            entries = store.get_file_info(pafs.FileSelector(folder))
            parts = sorted(entry.path for entry in entries if _is_part(entry.base_name))
        if not parts:
            raise OutputError(f"{self.path} has lost its output: _SUCCESS is there, the files part-*.parquet are not")
        return store, parts


def _groups_with(value: str, metadata: Any, name: str) -> list[int]:
    """Return the row groups in which a column may have this value, by their statistics."""
    columns = [number for number in range(metadata.num_columns) if metadata.schema.column(number).path == name]
    found = []
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(columns[0]).statistics if columns else None
        if statistics is None or not statistics.has_min_max or statistics.min <= value <= statistics.max:
            found.append(group)
    return found


@contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        # from None: in an object store the library's message may hold signed URLs.
        raise StorageError(f"{path} cannot be read ({type(error).__name__})") from None


def _is_part(name: str) -> bool:
    return name.startswith("part-") and name.endswith(".parquet")


def revision_path(root: str, job: Job) -> str:
    """Return the location of the job's latest output revision."""
    parent, name = parent_and_name(root)
    return join(parent, revision_folder(name, job.revision))
