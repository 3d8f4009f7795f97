"""The output of an ended job: streamed, as a dataset, or as one table.

Rule: reading some rows opens only the parts that hold them; only `to_arrow` and `to_pandas` load the whole output.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pyarrow.types as pat

from orchestrator.api.documents.status import Report
from orchestrator.api.row_names import RowNames
from orchestrator.api.status import Status
from orchestrator.api.wanted_rows import BoundRows, WantedRows, bound, codes_of, wanted_rows
from orchestrator.collector.finish import revision_folder
from orchestrator.collector.seal import manifest_name
from orchestrator.domain.errors import ConfigError, OutputError, StorageError
from orchestrator.domain.model import Job
from orchestrator.domain.policy import OutputOptions
from orchestrator.domain.row_kinds import RowKind
from orchestrator.storage.arrow_fs import filesystem_of
from orchestrator.storage.location import is_url, join, parent_and_name

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
    names: RowNames

    def __repr__(self) -> str:
        """Show the job, its counts and where the output is; never a row."""
        flaws = {name: count for name, count in self.flaws.items() if count}
        counts = ", ".join(f"{name}={count}" for name, count in (self.counts | flaws).items())
        return f"Result(job_id={self.job_id!r}, {counts}, path={self.path!r})"

    def _repr_html_(self) -> str:
        """Show in a notebook how the job ended, and where its output is; never a row."""
        from orchestrator.api.look_html import look_html

        return look_html(self.status.look, more=[("output", self.path)])

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

    def cost_shares(self) -> dict[str, Decimal]:
        """Return what of the cost is in the rows, as `llm_cost_usd`, what was `replaced` by other answers because you
        asked for them, and what was paid for `nothing`: tries that failed. Empty where part of the cost is not known.
        """
        store, folder = filesystem_of(self.path)
        total = self.cost_usd
        try:
            with store.open_input_file(manifest_name(folder.rstrip("/"))) as file:
                manifest = json.loads(file.read())
        except (OSError, ValueError):
            return {}
        rows, replaced = manifest.get("rows_usd"), manifest.get("replaced_usd")
        if rows is None or replaced is None or total is None or self.status.totals.unpriced:
            return {}
        found = {"rows": Decimal(rows), "replaced": Decimal(replaced)}
        return {**found, "nothing": total - found["rows"] - found["replaced"]}

    def iter_batches(
        self,
        *,
        columns: Sequence[str] | None = None,
        batch_rows: int = BATCH_ROWS,
        kind: str | Collection[str] | WantedRows | None = None,
        keys: Sequence[object] = (),
        skip: int = 0,
    ) -> Iterator[pa.RecordBatch]:
        """Read the output in source order, at most `batch_rows` rows at a time; a part is opened when it is reached.

        A batch ends where a row group ends, so that it takes no more memory than one.

        Args:
            columns: read only these.
            kind: only such rows, or such as one of these means: "succeeded", "failed", "truncated", "empty", "refused",
                "invalid", an error code, a condition on columns ("llm_score < 0.3"), "key:ID". Row groups that have
                none of a kind or a code are not read.
            keys: and single rows by their names, as in `JobHandle.show`; without `kind` these alone.
            skip: pass over so many of these rows; of all rows, without reading what lies before.
        """
        store, parts = self._parts()
        found = self._bound(store, parts, self._filter(kind, keys))
        return self._batches(store, parts, self._known(store, parts, columns), batch_rows, found, skip)

    def _filter(self, kind: str | Collection[str] | WantedRows | None, keys: Sequence[object] = ()) -> WantedRows:
        if isinstance(kind, WantedRows):
            return kind
        return wanted_rows(kind, keys, codes_of(self.status.look.causes))

    def _bound(self, store: Any, parts: Sequence[str], rows: WantedRows) -> BoundRows:
        with _translated(self.path):
            schema = pq.read_schema(parts[0], filesystem=store)
        return bound(rows, schema, self.options, self.names)

    def schema(self, columns: Sequence[str] | None = None) -> pa.Schema:
        """Return the columns of the output, or these of them. Raises ConfigError for a column that it has not."""
        store, parts = self._parts()
        with _translated(self.path):
            found = pq.read_schema(parts[0], filesystem=store)
        if columns is None:
            return found
        return pa.schema([found.field(name) for name in chosen(columns, found)], metadata=found.metadata)

    def dataset(self) -> pads.Dataset:
        """Return the output as a pyarrow Dataset, to filter and scan without loading all of it."""
        import pyarrow.dataset as pads  # takes a second; other uses do not need it

        store, parts = self._parts()
        with _translated(self.path):
            return pads.dataset(parts, format="parquet", filesystem=store)

    def head(self, rows: int = 5) -> pa.Table:
        """Return the first rows."""
        return self._first(rows, WantedRows())

    def failures(self, limit: int | None = None) -> pa.Table:
        """Return the failed rows with their errors, in source order; `limit` returns the first of them only."""
        return self.rows(RowKind.FAILED, limit)

    def rows(self, kind: str, limit: int | None = None) -> pa.Table:
        """Return the rows of a kind, in source order; the kinds are those of `iter_batches`.

        Args:
            limit: return the first of them only.
        """
        return self._first(limit, self._filter(kind))

    def errors(self) -> Counter[str]:
        """Return how many rows failed with which error code."""
        column = f"{self.options.prefix}error_code"
        counted: Counter[str] = Counter()
        for batch in self.iter_batches(columns=[column], kind=RowKind.FAILED):
            counted.update(code or "unknown" for code in batch[column].to_pylist())
        return counted

    def document(self) -> Report:
        """Return the report for programs. Reads the error codes of the output."""
        shares = {name: f"{value:f}" for name, value in self.cost_shares().items()}
        return Report(**self.status.standing(), output=self.path, errors=dict(self.errors()), cost_shares=shares)

    def to_arrow(self) -> pa.Table:
        """Return the whole output, in source order."""
        with _translated(self.path):
            return self.dataset().to_table()

    def to_pandas(self) -> pd.DataFrame:
        """Return the whole output, in source order. Integers with nulls stay integers (dtype `Int64`, …)."""
        return frame_of(self.to_arrow())

    def to_polars(self) -> Any:
        """Return the whole output as a polars DataFrame, in source order.

        To scan it lazily: `polars.scan_parquet(result.path)`, or for an object store
        `polars.scan_pyarrow_dataset(result.dataset())`.
        """
        return _package("polars").from_arrow(self.to_arrow())

    def to_duckdb(self, connection: Any = None) -> Any:
        """Return the output as a DuckDB relation: it is read when it is queried, and only what the query needs.

        Args:
            connection: a DuckDB connection; None: DuckDB's own.
        """
        return (connection or _package("duckdb")).from_arrow(self.dataset())

    def _known(self, store: Any, parts: Sequence[str], columns: Sequence[str] | None) -> Sequence[str] | None:
        if columns is None:
            return None
        with _translated(self.path):
            return chosen(columns, pq.read_schema(parts[0], filesystem=store))

    def _first(self, limit: int | None, rows: WantedRows) -> pa.Table:
        store, parts = self._parts()
        with _translated(self.path):
            schema = pq.read_schema(parts[0], filesystem=store)
        batch_rows = BATCH_ROWS if limit is None or rows else max(1, min(limit, BATCH_ROWS))
        found = self._bound(store, parts, rows)
        batches: list[pa.RecordBatch] = []
        missing = limit
        for batch in self._batches(store, parts, None, batch_rows, found) if limit != 0 else ():
            batches.append(batch if missing is None else batch.slice(0, missing))
            if missing is not None:
                missing -= len(batches[-1])
                if missing == 0:
                    break
        return pa.Table.from_batches(batches, schema)

    def _batches(
        self,
        store: Any,
        parts: Sequence[str],
        columns: Sequence[str] | None,
        batch_rows: int,
        wanted: BoundRows,
        skip: int = 0,
    ) -> Iterator[pa.RecordBatch]:
        needed = wanted.columns
        read = None if columns is None else [*columns, *(name for name in needed if name not in columns)]
        with _translated(self.path):
            for part in parts:
                with store.open_input_file(part) as file:
                    opened = pq.ParquetFile(file, pre_buffer=False)
                    for group in _groups_with(wanted.rows.kinds, opened.metadata, needed):
                        if not wanted.rows and skip >= opened.metadata.row_group(group).num_rows:
                            skip -= opened.metadata.row_group(group).num_rows
                            continue
                        for batch in opened.iter_batches(
                            batch_rows, row_groups=[group], columns=read, use_threads=not is_url(self.path)
                        ):
                            found = wanted.of(batch)
                            passed = min(skip, found.num_rows)
                            found, skip = found.slice(passed), skip - passed
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


def _groups_with(kinds: Collection[str], metadata: Any, names: Sequence[str]) -> list[int]:
    """Return the row groups that may hold rows of one of these kinds, by the statistics of the last of the columns."""
    everything = list(range(metadata.num_row_groups))
    numbers = [number for number in range(metadata.num_columns) if metadata.schema.column(number).path in names[-1:]]
    is_mixed = len(names) > 1  # no one column tells
    if not numbers or not kinds or is_mixed:
        return everything
    found = []
    for group in everything:
        seen = metadata.row_group(group).column(numbers[0]).statistics
        if seen is None or not seen.has_min_max or any(seen.min <= kind <= seen.max for kind in kinds):
            found.append(group)
    return found


def chosen(columns: Sequence[str], schema: pa.Schema) -> list[str]:
    """Return the columns, each once. Raises ConfigError for one that is not there."""
    for name in columns:
        if name not in schema.names:
            near = difflib.get_close_matches(name, schema.names, n=1)
            meant = f"did you mean {near[0]}? There are" if near else "there are"
            raise ConfigError(f"there is no column {name!r} in the output; {meant}: {', '.join(schema.names)}")
    return list(dict.fromkeys(columns))


# TypeError: a list of pandas' ArrowDtype, whose own note pyarrow cannot read.
_NOT_IN_PANDAS: Final = (pa.ArrowException, ValueError, OverflowError, TypeError, KeyError, NotImplementedError)


def frame_of(table: pa.Table) -> pd.DataFrame:
    """Return a table as a pandas DataFrame. Integers with nulls stay integers, which pandas' floats are not."""
    import pandas as pd

    try:
        frame: pd.DataFrame = table.to_pandas()
    except _NOT_IN_PANDAS:  # such as a time that pandas has no type for
        frame = pd.DataFrame({name: _objects(table[name]) for name in table.column_names})
    for name, column in zip(table.column_names, table.columns, strict=True):
        # A period is an integer here, and restored already.
        if (
            pat.is_integer(column.type)
            and column.null_count
            and name in frame.columns
            and frame[name].dtype.kind == "f"
        ):
            dtype = f"{str(column.type).replace('i', 'I').replace('u', 'U')}"
            frame[name] = pd.array(column.to_pylist(), dtype=dtype)
    return frame


def _objects(column: Any) -> Any:
    try:
        return column.to_pandas()
    except _NOT_IN_PANDAS:
        import pandas as pd

        return pd.Series(column.to_pylist(), dtype=object)


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise ConfigError(f"{name} is not installed: type pip install {name}") from None


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
