"""CSV: text columns, read as a stream.

Every column is a string, exactly as written: `007` stays `007`, an empty field is the empty string, not a null.
Types inferred from the first block would fail on a later row (`n/a` after a million numbers), and would turn `007`
into 7. Blank lines are skipped; a header row is required; UTF-8, with or without a BOM.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pacsv

from orchestrator.dataset.files import (
    FileFacts,
    SourceFile,
    open_stream,
    refuse_other_content,
    sample_digest,
    translated,
)
from orchestrator.dataset.schema import refuse_duplicates
from orchestrator.domain.errors import DatasetError

BLOCK_BYTES: Final = 4 * 2**20  # a row must fit into it; pyarrow reads up to 32 blocks ahead
HEADER_BYTES_MAX: Final = 2**20
_END: Final = "end-of-file-2b8f5c1de07a4396"


def inspect_csv(file: SourceFile) -> FileFacts:
    """Read the header row: a schema of strings."""
    names = _header(file)
    refuse_duplicates(file.name, names)
    schema = pa.schema([(name, pa.string()) for name in names])
    return FileFacts(schema=schema, digest=sample_digest(file), groups=None)


def read_csv(file: SourceFile, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows, with those columns of `names` that exist."""
    header = _header(file)
    present = [name for name in header if name in set(names)]
    with translated(f"{file.name} cannot be opened"):
        source = open_stream(file)
    with source:
        for batch in _parsed(file, source, header, present):
            yield batch.select(present)


class _WithEndRow:
    """A stream with one more row at its end: an unclosed quote swallows that row, which reveals the error.

    A block is full, so that the header is never alone in one, and does not end between CR and LF: the parser would see
    two ends of a row.
    """

    closed = False  # required by pyarrow

    def __init__(self, source: Any, field_count: int) -> None:
        self._source = source
        self._end: bytes | None = ("\n" + ",".join([_END] * field_count) + "\n").encode()
        self._held = b""

    def read(self, size_bytes: int) -> bytes:
        block = self._held
        while len(block) < size_bytes and self._end is not None:
            piece: bytes = self._source.read(size_bytes - len(block))
            block += piece or self._end
            self._end = self._end if piece else None
        length = min(len(block), size_bytes)
        length -= 1 < length < len(block) + (self._end is not None) and block[length - 1 : length] == b"\r"
        self._held = block[length:]
        return block[:length]

    def close(self) -> None:
        self.closed = True


def _parsed(file: SourceFile, source: Any, header: Sequence[str], present: Sequence[str]) -> Iterator[pa.RecordBatch]:
    try:
        reader = pacsv.open_csv(
            pa.PythonFile(_WithEndRow(source, len(header)), mode="r"),
            # One thread: otherwise the parser has no row numbers for its errors.
            read_options=pacsv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
            parse_options=pacsv.ParseOptions(newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()),
                include_columns=list(present) or [header[0]],  # an empty list would mean all columns
            ),
        )
        waiting: pa.RecordBatch | None = None
        for batch in reader:
            if waiting is not None and batch.num_rows:
                yield waiting
            waiting = batch if batch.num_rows else waiting
    except (pa.ArrowException, OSError) as exc:
        # from None: the parser quotes the row.
        raise DatasetError(f"{file.name}: {_reason(str(exc))}") from None
    if waiting is None or any(column[-1].as_py() != _END for column in waiting.columns):
        raise DatasetError(f"{file.name}: a quoted field is never closed; is the file cut short?")
    yield waiting.slice(0, waiting.num_rows - 1)


def _reason(words: str) -> str:
    if counts := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", words):
        return f"row {counts[1]} (the header is row 1) has {counts[3]} fields, the header has {counts[2]}"
    if "straddl" in words:
        return f"a row is longer than {BLOCK_BYTES} bytes, or a quoted field is never closed"
    if "invalid UTF8" in words:
        row = re.search(r"Row #(\d+)", words)
        return f"{f'row {row[1]} (the header is row 1)' if row else 'a row'} is not UTF-8; convert the file to UTF-8"
    if "ompress" in words or "inflate" in words or "zstd" in words.lower():
        return "the compressed file is damaged or cut short"
    return "a row cannot be read as CSV"


def _header(file: SourceFile) -> list[str]:
    complaint = f"{file.name} cannot be read: damaged, or not compressed as its name says"
    with translated(complaint), open_stream(file) as source:
        head = source.read(HEADER_BYTES_MAX)
    refuse_other_content(file, head, expected="CSV")
    text = head.decode("utf-8-sig", errors="replace")  # a wrong byte in a row is found when the row is read
    try:
        names = next((row for row in csv.reader(io.StringIO(text, newline="")) if row), [])
    except csv.Error as exc:
        raise DatasetError(f"{file.name}: the header row cannot be read as CSV ({exc})") from exc
    if not names:
        raise DatasetError(f"{file.name} is empty; a CSV needs a header row with the names of its columns")
    if any("\ufffd" in name for name in names):
        raise DatasetError(f"{file.name}: the header row is not UTF-8; convert the file to UTF-8")
    return names
