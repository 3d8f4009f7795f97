"""Tables of plain Python values: one type for each column from all rows, without losing a digit.

Rule 1: rows that come one after another wait in a temporary file until the types of all of them are known.
Rule 2: an error names column and row, and never a value.
"""

from __future__ import annotations

import datetime as dt
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as ipc
import pyarrow.types as pat

from orchestrator.dataset.parquet_arrow import each_batch
from orchestrator.domain.errors import DatasetError


def type_name(table: Any) -> str:
    """Return the name of a value's type, for messages."""
    kind = type(table)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__.partition('.')[0]} {kind.__name__}"


def table_of_rows(rows: list[Mapping[str, Any]], start: int) -> pa.Table:
    """Return a table of dicts, with all their names: `from_pylist` takes those of the first row alone."""
    names = dict.fromkeys(name for row in rows for name in row)
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise DatasetError(f"column names must be strings; {wrong[0]!r} is of type {type(wrong[0]).__name__}")
    return pa.table({name: column_of(name, [row.get(name) for row in rows], start) for name in names})


def column_of(name: str, values: Any, start: int) -> Any:
    """Return values as an array. Raises DatasetError with the first row that cannot be with those before."""
    if (found := _array(values)) is not None:
        return found
    values = list(values)
    good, bad = 0, len(values)  # the longest head known to fit, the shortest known not to
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (good, middle) if _array(values[:middle]) is None else (middle, bad)
    kind = type(values[good])
    others = {type(value).__name__ for value in values[:good] if value is not None and type(value) is not kind}
    before = f", and {' or '.join(sorted(others))} in the rows before" if others else ", which no column can hold"
    raise DatasetError(
        f"row {start + good} of the dataset: column {name!r} is of type {type_name(values[good])}{before}: give it "
        "values of one type, such as texts"
    )


def _array(values: Any) -> Any:
    """Return values as an array; None where they are not of one type, or of none that Arrow has."""
    for given in _spellings(values):
        try:
            found = pa.array(*given)
        except (pa.ArrowException, OverflowError, TypeError, ValueError, NotImplementedError):
            continue
        return None if isinstance(values, list) and _loses(found.type, values) else found
    return None


def _spellings(values: Any) -> Iterator[tuple[Any, ...]]:
    """Yield what may be an array: the values; without pandas' own nulls; as large integers; as texts of any bytes."""
    yield (values,)
    if not isinstance(values, list):
        return
    pandas = sys.modules.get("pandas")
    if pandas is not None:
        values = [None if value is pandas.NA or value is pandas.NaT else value for value in values]
        yield (values,)
    yield values, pa.uint64()
    if all(isinstance(value, str | None) for value in values):
        as_bytes = pa.array([value and value.encode(errors="surrogatepass") for value in values], pa.binary())
        options = pc.CastOptions(pa.string(), allow_invalid_utf8=True)  # such a text costs its own row
        yield (as_bytes.cast(options=options),)


def _loses(kind: pa.DataType, values: list[Any]) -> bool:
    """Whether Arrow has taken values of two types as one: a text among bytes, a time of day among dates."""
    if pat.is_binary(kind):
        return any(isinstance(value, str) for value in values)
    return bool(pat.is_date(kind)) and any(isinstance(value, dt.datetime) for value in values)


def united(tables: Iterable[pa.Table], given: str) -> Any:
    """Return a reader of tables under the one schema that holds them all; they wait in a temporary file."""
    batches = _united_batches(tables, given)
    schema = next(batches)
    return pa.RecordBatchReader.from_batches(schema, batches)


def _united_batches(tables: Iterable[pa.Table], given: str) -> Iterator[Any]:
    """Yield the schema, then the batches."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-") as folder:
        path = Path(folder) / "rows"
        schemas = _spool(tables, path)
        if not schemas:
            raise DatasetError(
                f"the dataset, a {given}, gave no rows, so its columns are not known (an iterator can be "
                "read only once)"
            )
        schema = schemas[0]
        for other in schemas[1:]:
            schema = _joined(schema, other)
        yield schema
        with pa.OSFile(str(path)) as source:
            while source.tell() < source.size():
                for batch in each_batch(iter(ipc.open_stream(source)), "the dataset's rows cannot be read again"):
                    yield _asunited(batch, schema)


def _spool(tables: Iterable[pa.Table], path: Path) -> list[pa.Schema]:
    """Write tables one after another, a stream for each change of the schema, and return the schemas."""
    schemas: list[pa.Schema] = []
    writer: Any = None
    with pa.OSFile(str(path), "wb") as sink:
        for table in tables:
            if writer is None or not table.schema.equals(schemas[-1]):
                if writer is not None:
                    writer.close()
                writer = ipc.new_stream(sink, table.schema)
                schemas.append(table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()
    return list(dict.fromkeys(schemas))


def _joined(schema: pa.Schema, other: pa.Schema) -> pa.Schema:
    for field in other:
        before = schema.field(field.name).type if field.name in schema.names else field.type
        try:
            pa.unify_schemas([pa.schema([(field.name, before)]), pa.schema([field])], promote_options="permissive")
            is_one = (
                pat.is_binary(before) == pat.is_binary(field.type) or pat.is_null(before) or pat.is_null(field.type)
            )
        except pa.ArrowException:
            is_one = False
        if not is_one:
            raise DatasetError(
                f"column {field.name!r} of the dataset is {before} in some rows and {field.type} in later ones: give "
                "it values of one type, such as texts"
            )
    return pa.unify_schemas([schema, other], promote_options="permissive")


def _asunited(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = []
    for field in schema:
        values = batch.column(field.name) if field.name in batch.schema.names else pa.nulls(batch.num_rows, field.type)
        try:
            if not values.type.equals(field.type):
                is_nested = pat.is_nested(field.type)  # a struct of fewer fields has no cast
                values = pa.array(values.to_pylist(), field.type) if is_nested else values.cast(field.type)
        except pa.ArrowException:
            raise DatasetError(
                f"column {field.name!r} of the dataset has a value that {field.type}, the type of all rows together, "
                "cannot hold: give it values of one type, such as texts"
            ) from None
        columns.append(values)
    return pa.RecordBatch.from_arrays(columns, schema=schema)
