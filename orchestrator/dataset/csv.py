"""CSV: columns of text unless the options say otherwise, read as a stream.

A column is a string, exactly as written: `007` stays `007`, an empty field is the empty string, not a null. Other
types are declared or inferred by an option (`csv_types`): `n/a` after a million numbers stops a job, which nobody
should meet who did not ask for numbers. Blank lines are skipped. Separator, encoding and the like are as the options
say, and never guessed: where a file plainly has another separator than it should, it is refused with the option to set.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pacsv

from orchestrator.dataset.csv_types import DoesNotFit, Inference, declared_types, typed
from orchestrator.dataset.files import (
    FileFacts,
    SourceFile,
    open_stream,
    refuse_other_content,
    translated,
)
from orchestrator.dataset.sampling import sample_digest
from orchestrator.dataset.schema import by_likeness, refuse_duplicates
from orchestrator.domain.dataset import INFER, UTF8, ReadOptions
from orchestrator.domain.errors import DatasetError

BLOCK_BYTES: Final = 4 * 2**20  # a row must fit into it; pyarrow reads up to 32 blocks ahead
RELEASE_S_MAX: Final = 10.0
HEADER_BYTES_MAX: Final = 2**20
DELIMITERS: Final = (",", ";", "\t", "|")
COMPARED_ROWS: Final = 20
INFER_BYTES_MAX: Final = 256 * 2**20
_END: Final = "end-of-file-2b8f5c1de07a4396"
_WHERE: Final = "under [dataset] in the job file, or in dataset_options"
_OTHER_TEXT: Final = (
    f"not {UTF8.upper()}: set encoding {_WHERE}, such as 'cp1252' (Windows), 'latin-1' or 'utf-16', "
    f"or convert the file to {UTF8.upper()}"
)


def inspect_csv(files: Sequence[SourceFile], options: ReadOptions) -> list[FileFacts]:
    """Read the header rows, and rows where types are to be inferred."""
    headers = [_header(file, options) for file in files]
    for file, names in zip(files, headers, strict=True):
        refuse_duplicates(file.name, names)
    types = _inferred(files, options) if options.types == INFER else declared_types(options)
    if unknown := sorted(types.keys() - {name for names in headers for name in names}):
        near = ", ".join(by_likeness(unknown[0], headers[0]))
        raise DatasetError(
            f"{files[0].name} has no column {unknown[0]!r}, of which types under [dataset] speaks; its columns: {near}"
        )
    schemas = [pa.schema([(name, types.get(name, pa.string())) for name in names]) for names in headers]
    return [
        FileFacts(schema=schema, digest=sample_digest(file), groups=None)
        for file, schema in zip(files, schemas, strict=True)
    ]


def _inferred(files: Sequence[SourceFile], options: ReadOptions) -> dict[str, pa.DataType]:
    """Infer one type for each column from the first 256 MiB of all files."""
    inference, left_bytes = Inference(), INFER_BYTES_MAX
    for file in files:
        for batch in _texts(file, _header(file, options), options) if left_bytes > 0 else ():
            inference.add(batch)
            left_bytes -= batch.nbytes
            if left_bytes <= 0:
                break
    return inference.types()


def read_csv(
    file: SourceFile, names: Sequence[str], options: ReadOptions, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Yield the rows, with those columns of `names` that exist, of their types in `schema`."""
    row = 1 if options.columns else 2
    types = {name: schema.field(name).type for name in names} if options.types else {}
    for batch in _texts(file, names, options):
        try:
            yield typed(batch, types)
        except DoesNotFit as misfit:
            where = "" if options.columns else " (the header is row 1)"
            raise DatasetError(
                f"{file.name}, row {row + misfit.offset}{where}: column {misfit.column!r} holds a value that is no "
                f"{misfit.kind}: correct it, name it in null_values if it means nothing, or set "
                f'types = {{ "{misfit.column}" = "string" }} {_WHERE}'
            ) from None
        row += batch.num_rows


def _texts(file: SourceFile, names: Sequence[str], options: ReadOptions) -> Iterator[pa.RecordBatch]:
    """Yield the rows as texts, with those columns of `names` that exist."""
    header = _header(file, options)
    present = [name for name in header if name in set(names)]
    with _opened(file, options, f"{file.name} cannot be opened") as source:
        for batch in _parsed(file, source, header, present, options):
            yield batch.select(present)


@contextmanager
def _opened(file: SourceFile, options: ReadOptions, complaint: str) -> Iterator[Any]:
    """Open a file as UTF-8 text."""
    with translated(complaint):
        source = open_stream(file)
    with source:
        yield source if options.encoding == UTF8 else _Utf8(file, source, options.encoding)


class _Utf8:
    """A stream of text in another encoding, read as UTF-8."""

    def __init__(self, file: SourceFile, source: Any, encoding: str) -> None:
        self._file = file
        self._source = source
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._held = b""
        self._is_over = False

    def read(self, size_bytes: int) -> bytes:
        while len(self._held) < size_bytes and not self._is_over:
            block = self._source.read(HEADER_BYTES_MAX)
            self._is_over = not block
            try:
                self._held += self._decoder.decode(block, final=self._is_over).encode()
            except UnicodeError:
                # from None: the error holds the text.
                raise DatasetError(
                    f"{self._file.name}: its text is not {self._encoding}: set another encoding {_WHERE}"
                ) from None
        block, self._held = self._held[:size_bytes], self._held[size_bytes:]
        return block


class _WithEndRow:
    """A stream with one more row at its end: an unclosed quote swallows that row, which reveals the error.

    A block is full, so that the header is never alone in one, and does not end between CR and LF: the parser would see
    two ends of a row.
    """

    closed = False  # required by pyarrow

    def __init__(self, source: Any, field_count: int, delimiter: str) -> None:
        self._source = source
        self._end: bytes | None = ("\n" + delimiter.join([_END] * field_count) + "\n").encode()
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


def _parsed(
    file: SourceFile, source: Any, header: Sequence[str], present: Sequence[str], options: ReadOptions
) -> Iterator[pa.RecordBatch]:
    delimiter = _delimiter(file, options)
    stream = _WithEndRow(source, len(header), delimiter)
    is_released = threading.Event()
    weakref.finalize(stream, is_released.set)
    reader, failure = None, ""
    try:
        reader = pacsv.open_csv(
            pa.PythonFile(stream, mode="r"),
            # One thread: otherwise the parser has no row numbers for its errors.
            read_options=pacsv.ReadOptions(
                block_size=BLOCK_BYTES, use_threads=False, column_names=list(options.columns) or None
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=delimiter, quote_char=options.quote or False, newlines_in_values=bool(options.quote)
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()),
                include_columns=list(present) or [header[0]],  # an empty list would mean all columns
                null_values=list(options.null_values),
                strings_can_be_null=bool(options.null_values),
                quoted_strings_can_be_null=False,
            ),
        )
        waiting: pa.RecordBatch | None = None
        for batch in reader:
            if waiting is not None and batch.num_rows:
                yield waiting
            waiting = batch if batch.num_rows else waiting
    # Only the words are kept, and raised below: an error's traceback holds the stream, and the parser quotes the row.
    except DatasetError as exc:
        failure = str(exc)
    except (pa.ArrowException, OSError) as exc:
        failure = f"{file.name}: {_reason(str(exc), options)}"
    finally:
        # A thread of pyarrow's reads ahead. If it still holds a Python object when Python ends, the process aborts:
        # https://github.com/apache/arrow/issues/33975 and 50482, read 2026-12-01.
        del reader, stream
        is_released.wait(RELEASE_S_MAX)
    if failure:
        raise DatasetError(failure)
    if waiting is None or any(column[-1].as_py() != _END for column in waiting.columns):
        raise DatasetError(f"{file.name}: a quoted field is never closed; is the file cut short?")
    yield waiting.slice(0, waiting.num_rows - 1)


def _reason(words: str, options: ReadOptions) -> str:
    first, names = ("", "`columns` names") if options.columns else (" (the header is row 1)", "the header has")
    if counts := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", words):
        return f"row {counts[1]}{first} has {counts[3]} fields, {names} {counts[2]}"
    if "straddl" in words:
        return f"a row is longer than {BLOCK_BYTES} bytes, or a quoted field is never closed"
    if "invalid UTF8" in words:
        row = re.search(r"Row #(\d+)", words)
        return f"{f'row {row[1]}{first}' if row else 'a row'} is {_OTHER_TEXT}"
    if "ompress" in words or "inflate" in words or "zstd" in words.lower():
        return "the compressed file is damaged or cut short"
    return "a row cannot be read as CSV"


def _header(file: SourceFile, options: ReadOptions) -> list[str]:
    complaint = f"{file.name} cannot be read: damaged, or not compressed as its name says"
    with translated(complaint), _opened(file, options, complaint) as source:
        head = source.read(HEADER_BYTES_MAX)
    if options.encoding == UTF8 and (head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in head[:9]):
        mark = "utf-16" if head[0] in b"\xff\xfe" else "utf-16-be" if head[0] == 0 else "utf-16-le"
        raise DatasetError(f"{file.name}: its text looks like UTF-16: set encoding = {mark!r} {_WHERE}")
    refuse_other_content(file, head, expected="CSV")
    text = head.decode("utf-8-sig", errors="replace")  # a wrong byte in a row is found when the row is read
    _refuse_other_delimiter(file, text, options)
    if options.columns:
        return list(options.columns)
    try:
        names = next(_rows(text, _delimiter(file, options), options), [])
    except csv.Error as exc:
        raise DatasetError(f"{file.name}: the header row cannot be read as CSV ({exc})") from exc
    if not names:
        raise DatasetError(f"{file.name} is empty; a CSV needs a header row with the names of its columns")
    if any("\ufffd" in name for name in names):
        raise DatasetError(f"{file.name}: the header row is {_OTHER_TEXT}")
    return names


def _rows(text: str, delimiter: str, options: ReadOptions) -> Iterator[list[str]]:
    lines = io.StringIO(text, newline="")
    if not options.quote:
        return (row for row in csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE) if row)
    return (row for row in csv.reader(lines, delimiter=delimiter, quotechar=options.quote) if row)


def _delimiter(file: SourceFile, options: ReadOptions) -> str:
    name = file.name.rpartition(".")[0] if file.compression else file.name
    return options.delimiter or ("\t" if name.lower().endswith(".tsv") else ",")


def _refuse_other_delimiter(file: SourceFile, text: str, options: ReadOptions) -> None:
    """Raise DatasetError where no separator was set, and all first rows have one number of fields by another only."""
    if options.delimiter:
        return
    usual = _delimiter(file, options)
    counts = {one: _field_counts(text, one, options) for one in DELIMITERS}
    if len(counts[usual]) == 1 and (counts[usual] != {1} or len(options.columns) == 1):
        return
    for other, found in counts.items():
        if other != usual and len(found) == 1 and found != {1}:
            raise DatasetError(
                f"{file.name}: the separator looks like {other!r}, not {usual!r}: set delimiter = {json.dumps(other)} "
                f"{_WHERE} (or {json.dumps(usual)}, if it is right)"
            )


def _field_counts(text: str, delimiter: str, options: ReadOptions) -> set[int]:
    """Return the numbers of fields of the first rows; none where they cannot be read."""
    try:
        rows = list(islice(_rows(text, delimiter, options), COMPARED_ROWS + 1))
    except csv.Error:
        return set()
    is_cut = len(rows) > COMPARED_ROWS or len(text) >= HEADER_BYTES_MAX // 4  # a character has up to 4 bytes
    return {len(row) for row in (rows[:-1] if is_cut and len(rows) > 1 else rows)}
