"""Tables that a program holds, whoever made them, as one stream of Arrow batches.

Rule 1: nothing is loaded as a whole that can be streamed: readers, lazy frames, mapped files, iterators.
Rule 2: what has types keeps them: Arrow's, the features of Hugging Face, pandas' own.
Rule 3: an error names what was given, column and row, never a value.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from orchestrator.dataset.parquet_arrow import READ_ROWS_MAX
from orchestrator.dataset.rows import column_of, table_of_rows, type_name, united
from orchestrator.dataset.schema import refuse_duplicates
from orchestrator.domain.errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd

PIECE_ROWS: Final = 1_000
PIECE_BYTES: Final = 16 * 2**20
ACCEPTED: Final = (
    "a path or URL; a table of pandas, polars, pyarrow, DuckDB or of anything else with __arrow_c_stream__; a dataset "
    "of Hugging Face; a dict of columns; or rows, each a dict, in a list or from an iterator"
)


def reader_of(table: Any) -> Any:
    """Return a RecordBatchReader of a table. Raises DatasetError for what is none."""
    if isinstance(table, pa.RecordBatchReader):
        return table
    known = _reader_by_class(table)
    if known is not None:
        return known
    if hasattr(table, "__arrow_c_stream__"):
        return _imported(table, pa.RecordBatchReader.from_stream)
    if hasattr(table, "__arrow_c_array__"):
        return _imported(table, lambda given: pa.Table.from_batches([pa.record_batch(given)]).to_reader())
    if isinstance(table, Mapping):
        return _table_of_columns(table).to_reader()
    if isinstance(table, Iterable) and not isinstance(table, str | bytes | bytearray | memoryview):
        return united(_pieces(table), type_name(table))
    raise DatasetError(f"the dataset is of type {type_name(table)}, which is no table. It can be {ACCEPTED}")


def _reader_by_class(table: Any) -> Any:
    """Return a reader of a class that needs more than its Arrow stream, or has none; None for any other."""
    if isinstance(table, pa.Table) or _is(table, "pyarrow.dataset", "Scanner"):
        return table.to_reader()
    # A caller who has an object of a library has imported the library.
    if _is(table, "pyarrow.dataset", "Dataset"):
        # The scanner's default read-ahead holds 16 batches of 131,072 rows.
        return table.scanner(batch_size=READ_ROWS_MAX, batch_readahead=4, fragment_readahead=1).to_reader()
    if _is(table, "pandas", "DataFrame"):
        return _table_of_frame(table).to_reader()
    if _is(table, "pandas", "Series") or _is(table, "polars", "Series"):
        raise DatasetError(f"a {type_name(table)} is one column, not a table: give it as series.to_frame()")
    if _is(table, "polars", "DataFrame"):
        _refuse_objects(table)
    if _is(table, "polars", "LazyFrame"):
        return _reader_of_lazy(table)
    if _is(table, "datasets", "Dataset") or (_is(table, "datasets", "IterableDataset") and table.features):
        schema = table.features.arrow_schema
        return pa.RecordBatchReader.from_batches(schema, _batches_of_features(table, schema))
    if _is(table, "datasets", "DatasetDict") or _is(table, "datasets", "IterableDatasetDict"):
        splits, first = ", ".join(map(repr, table)), next(iter(table), "train")
        raise DatasetError(
            f"a {type_name(table)} holds several tables ({splits}): give one of them, as in dataset[{first!r}]"
        )
    return None


def _refuse_objects(frame: Any) -> None:
    """Raise DatasetError for a column of Python objects: polars would export their addresses."""
    if wrong := [name for name, kind in frame.schema.items() if str(kind) == "Object"]:
        raise DatasetError(f"column {wrong[0]!r} of the DataFrame holds objects of Python: cast it to a type of polars")


def _is(table: Any, module: str, name: str) -> bool:
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(table, kind)


def _imported(table: Any, read: Any) -> Any:
    try:
        return read(table)
    except (pa.ArrowException, TypeError, ValueError) as exc:
        is_column = "non-struct" in str(exc)
        what = "is one column, not a table" if is_column else f"cannot be read through Arrow ({type(exc).__name__})"
        raise DatasetError(f"the dataset, a {type_name(table)}, {what}. It can be {ACCEPTED}") from None


def _reader_of_lazy(frame: Any) -> Any:
    """Run a lazy query, batch by batch where its version of polars can."""
    if not hasattr(frame, "collect_batches"):
        return reader_of(frame.collect())
    schema = pa.RecordBatchReader.from_stream(frame.collect_schema().to_frame()).schema
    frames = frame.collect_batches(chunk_size=READ_ROWS_MAX, maintain_order=True)
    batches = (batch for one in frames for batch in pa.RecordBatchReader.from_stream(one))
    return pa.RecordBatchReader.from_batches(schema, batches)


def _batches_of_features(table: Any, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield a Hugging Face dataset's rows, in the order of its indices, with nothing decoded."""
    for piece in table.with_format("arrow").iter(batch_size=PIECE_ROWS):
        yield from piece.cast(schema).to_batches()


def _table_of_frame(frame: pd.DataFrame) -> pa.Table:
    if wrong := [name for name in frame.columns if not isinstance(name, str)]:
        raise DatasetError(
            f"column names must be strings; these are not: {', '.join(map(repr, wrong[:10]))}. "
            "Name them, as in frame.columns = ['id', 'text', …]"
        )
    refuse_duplicates("the DataFrame", list(frame.columns))
    has_named_index = any(name is not None for name in frame.index.names)
    if twice := sorted({str(name) for name in frame.index.names} & set(frame.columns)):
        raise DatasetError(
            f"the DataFrame has both a column and an index named {twice[0]!r}: drop one, as in "
            "frame.reset_index(drop=True)"
        )
    try:
        return pa.Table.from_pandas(frame, preserve_index=True if has_named_index else None)
    except (pa.ArrowException, ValueError, OverflowError, TypeError, NotImplementedError) as exc:
        # from None: the message quotes the value.
        column = re.search(r"Conversion failed for column (.+) with type", str(exc))
        where = f"column {column[1]!r}" if column else "a column"
        raise DatasetError(
            f"{where} of the DataFrame holds values of types that cannot be in one column: convert it, as in "
            "frame.astype({'column': 'string'})"
        ) from None


def _table_of_columns(columns: Mapping[Any, Any]) -> pa.Table:
    """Return a table of a dict of columns."""
    arrays: dict[str, Any] = {}
    for name, values in columns.items():
        if not isinstance(name, str):
            raise DatasetError(f"column names must be strings; {name!r} is of type {type(name).__name__}")
        if hasattr(values, "__arrow_c_stream__"):
            arrays[name] = _imported(values, pa.chunked_array)
        elif isinstance(values, Mapping | str | bytes) or not isinstance(values, Iterable):
            raise DatasetError(
                f"the dataset is a dict whose {name!r} is of type {type_name(values)}: a dict must hold columns, "
                "each a list of values; a list of such dicts is a table, too"
            )
        else:
            arrays[name] = column_of(name, list(values) if not hasattr(values, "dtype") else values, 0)
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name!r} has {length:,}" for name, length in list(lengths.items())[:10])
        raise DatasetError(f"the columns of the dataset differ in length: {shown}")
    return pa.table(arrays)


def _pieces(rows: Iterable[Any]) -> Iterator[pa.Table]:
    """Yield the rows of an iterable as tables: of dicts, or of tables of any kind."""
    iterator = iter(rows)
    held: list[Mapping[str, Any]] = []
    start = size_bytes = 0
    for row in iterator:
        fields = _fields(row)
        if fields is None:
            if held or start:
                raise DatasetError(
                    f"row {start + len(held)} of the dataset is of type {type_name(row)}, not a dict as those before"
                )
            for table in chain([row], iterator):
                whole = reader_of(table).read_all()
                yield _without_guesses(whole) if _is(table, "pandas", "DataFrame") else whole
            return
        held.append(fields)
        size_bytes += sum(len(value) for value in fields.values() if isinstance(value, str | bytes))
        if len(held) == PIECE_ROWS or size_bytes >= PIECE_BYTES:
            yield table_of_rows(held, start)
            start, held, size_bytes = start + len(held), [], 0
    if held:
        yield table_of_rows(held, start)


def _without_guesses(piece: pa.Table) -> pa.Table:
    """Return a part of a DataFrame whose floats are null where all of them are: pandas' guess for an empty column."""
    for number, field in enumerate(piece.schema):
        if pa.types.is_floating(field.type) and piece.column(number).null_count == piece.num_rows:
            piece = piece.set_column(number, field.name, pa.nulls(piece.num_rows))
    return piece


def _fields(row: Any) -> Mapping[str, Any] | None:
    """Return a row's values by name; None for a table. Raises DatasetError for anything else."""
    if isinstance(row, Mapping):
        return row
    if hasattr(row, "keys") and hasattr(row, "__getitem__") and not hasattr(row, "__arrow_c_stream__"):
        return {name: row[name] for name in row.keys()}  # noqa: SIM118 - a row of sqlite3
    for name in ("_asdict", "model_dump"):  # of named tuples, of pydantic
        if callable(getattr(row, name, None)):
            found: Mapping[str, Any] = getattr(row, name)()
            return found
    if hasattr(row, "__arrow_c_stream__") or _is(row, "pandas", "DataFrame"):
        return None
    advice = ', as in [{"text": one} for one in texts]' if isinstance(row, str) else ""
    raise DatasetError(f"the dataset's rows are of type {type_name(row)}: each must be a dict{advice}")
