"""Writes rows to one file, batch after batch: Parquet, CSV or JSON lines.

Rule 1: memory is bounded by a batch, for Parquet by a row group.
Rule 2: JSON and CSV hold the values as they are: decimals and dates as text, bytes as base64, lists as JSON.
Rule 3: in CSV a text that a spreadsheet would run as a formula gets an apostrophe in front, unless the caller wants the
        texts exactly. A null is an empty field, an empty text is `""`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, BinaryIO, Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pyarrow.types as pat

from orchestrator.dataset.groups import groups
from orchestrator.domain.errors import ConfigError

FORMATS: Final = {"parquet": "parquet", "csv": "csv", "jsonl": "jsonl", "ndjson": "jsonl"}
GROUP_ROWS: Final = 20_000
GROUP_BYTES: Final = 64 * 2**20
# https://owasp.org/www-community/attacks/CSV_Injection, read 2026-12; the last four are the full-width forms.
FORMULA: Final = "^[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
NUMBER: Final = r"^[+-]?[0-9]+([.,][0-9]+)*([eE][+-]?[0-9]+)?$"
_WRITTEN_AS_THEY_ARE: Final = (pat.is_boolean, pat.is_integer, pat.is_floating)
_BINARY: Final = (pat.is_binary, pat.is_large_binary, pat.is_fixed_size_binary, pat.is_binary_view)
_WRITTEN_BY_PYTHON: Final = (pat.is_nested, pat.is_decimal, pat.is_duration, *_BINARY)


def write_table(
    file: BinaryIO, kind: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch], *, exact_text: bool = False
) -> int:
    """Write all rows, and return how many there were.

    Args:
        kind: a value of FORMATS.
        exact_text: write CSV texts as they are, also those that a spreadsheet would run.
    """
    if kind == "parquet":
        return _write_parquet(file, schema, batches)
    rows = 0
    if kind == "jsonl":
        for batch in batches:
            file.write(json_lines(batch))
            rows += batch.num_rows
        return rows
    with _csv_writer(file, schema, exact_text=exact_text) as write:
        for batch in batches:
            write(batch)
            rows += batch.num_rows
    return rows


def written(kind: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Iterator[bytes]:
    """Yield a file of CSV or JSON lines piece by piece, for one who takes it as it comes."""
    if kind == "jsonl":
        yield from map(json_lines, batches)
        return
    held = BytesIO()
    with _csv_writer(held, schema, exact_text=False) as write:
        for batch in batches:
            write(batch)
            yield _taken(held)
    yield _taken(held)


def _taken(held: BytesIO) -> bytes:
    """Return what was written, and forget it."""
    found = held.getvalue()
    held.seek(0)
    held.truncate()
    return found


def _write_parquet(file: BinaryIO, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> int:
    rows = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for held in groups(batches, rows_max=GROUP_ROWS, bytes_max=GROUP_BYTES):
            table = pa.Table.from_batches(held, schema)
            writer.write_table(table, row_group_size=GROUP_ROWS)
            rows += table.num_rows
    return rows


def json_lines(batch: pa.RecordBatch) -> bytes:
    """Return the rows as JSON, one a line."""
    names = batch.schema.names
    columns = [_stored(column).to_pylist() for column in batch.columns]
    lines = [
        orjson.dumps(dict(zip(names, row, strict=True)), default=_plain, option=orjson.OPT_NON_STR_KEYS)
        for row in zip(*columns, strict=True)
    ]
    return b"".join(line + b"\n" for line in lines)


def _stored(column: Any) -> Any:
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def _plain(value: object) -> Any:
    """Return a value that JSON has not: bytes as base64, an amount without an exponent, all else as its text."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, int):
        return str(value)  # over 64 bits
    return format(value, "f") if hasattr(value, "as_tuple") else str(value)


class _csv_writer:  # noqa: N801 - a context manager, used like a function
    def __init__(self, file: BinaryIO, schema: pa.Schema, *, exact_text: bool) -> None:
        self._convert: Callable[[Any], Any] = _text if exact_text else lambda column: _harmless(_text(column))
        names = schema.names if exact_text else _harmless(pa.array(schema.names, pa.string())).to_pylist()
        self._types = [field.type if _is_plain(field.type) else pa.string() for field in schema]
        self._schema = pa.schema([pa.field(name, kind) for name, kind in zip(names, self._types, strict=True)])
        self._writer = pcsv.CSVWriter(file, self._schema)

    def __enter__(self) -> Callable[[pa.RecordBatch], None]:
        return self._write

    def __exit__(self, *_error: object) -> None:
        self._writer.close()

    def _write(self, batch: pa.RecordBatch) -> None:
        columns = [column if _is_plain(column.type) else self._convert(_stored(column)) for column in batch.columns]
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))


def _is_plain(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in _WRITTEN_AS_THEY_ARE)


def _text(column: Any) -> Any:
    """Return a column as text."""
    if pat.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if not any(is_kind(kind) for is_kind in _WRITTEN_BY_PYTHON):
        try:
            return column.cast(pa.string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass  # a type without a text in Arrow: Python's is taken
    return pa.array([None if value is None else _json_text(value) for value in column.to_pylist()], pa.string())


def _json_text(value: object) -> str:
    text = value if isinstance(value, (list, dict)) else _plain(value)
    return (
        text if isinstance(text, str) else orjson.dumps(text, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode()
    )


def _harmless(texts: Any) -> Any:
    """Return texts of which no spreadsheet runs one as a formula."""
    runs = pc.and_(pc.match_substring_regex(texts, FORMULA), pc.invert(pc.match_substring_regex(texts, NUMBER)))
    return pc.if_else(runs, pc.binary_join_element_wise("'", texts, ""), texts)


def format_of(name: str) -> str:
    """Return the format that a file's name asks for. Raises ConfigError."""
    kind = FORMATS.get(name.rpartition(".")[2].lower())
    if kind is None or "." not in name:
        raise ConfigError(f"{name}: name the file .parquet, .csv or .jsonl: the ending says what is written")
    return kind
