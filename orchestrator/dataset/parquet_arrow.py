"""Parquet and Arrow IPC files: their metadata gives row counts and types without reading rows.

Rule 1: inspecting a file reads its footer (and, in Arrow, the header of each record batch), never a column.
Rule 2: one row group or record batch is read at a time, so memory holds a few pages (Parquet) or one record batch
        (Arrow), however long the file.
Rule 3: no memory map: if another process truncated the file, SIGBUS would kill this one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from orchestrator.dataset.files import (
    FileFacts,
    SourceFile,
    open_random,
    open_stream,
    translated,
)
from orchestrator.dataset.sampling import Sampling, sample_digest, sampled
from orchestrator.dataset.schema import refuse_duplicates
from orchestrator.domain.errors import DatasetError

READ_ROWS_MAX: Final = 5_000
READ_BYTES_MAX: Final = 16 * 2**20  # of the values of a batch, about
SAMPLING: Final = Sampling(2**20, 4, 2**16)  # few: in an object store each is a request, and slices are digested
INT96_UNIT: Final = "us"  # nanoseconds end in the year 2262, and INT96 is used for dates after that
PAGE_BUFFER_BYTES: Final = 2**20  # for each column that is read, but not more than the next for all of them
PAGE_BUFFERS_BYTES: Final = 64 * 2**20
FETCH_BYTES_MAX: Final = 64 * 2**20  # of a row group in an object store: up to this size it is read whole
_ARROW_MAGIC: Final = b"ARROW1"
_PARQUET_TAIL_BYTES: Final = 8  # the footer's length, little-endian, and the magic


def inspect_parquet(file: SourceFile) -> FileFacts:
    """Read the footer: schema, row groups, and a digest of the footer's own bytes."""
    if file.size_bytes == 0:
        raise DatasetError(f"{file.name} is empty (0 bytes): no Parquet file, perhaps a copy that was cut short")
    complaint = f"{file.name} cannot be read as Parquet: damaged, cut short, or another format than its name says"
    with translated(complaint), open_random(file) as source:
        with closing(pq.ParquetFile(source, coerce_int96_timestamp_unit=INT96_UNIT)) as parquet:
            metadata = parquet.metadata
            groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
            schema = parquet.schema_arrow
        source.seek(max(0, file.size_bytes - _PARQUET_TAIL_BYTES))
        footer_bytes = struct.unpack("<I", source.read(4))[0]
        source.seek(max(0, file.size_bytes - _PARQUET_TAIL_BYTES - footer_bytes))
        digest = xxhash.xxh3_128(source.read()).digest()
        digest += sampled(source, file.size_bytes, SAMPLING)  # a value may change and the footer stay
    refuse_duplicates(file.name, schema.names)
    return FileFacts(
        schema=schema,
        digest=digest,
        groups=tuple((group.num_rows, group.total_byte_size) for group in groups),
    )


def read_parquet(
    file: SourceFile, groups: tuple[int, int] | None, names: Sequence[str], skip_rows: int
) -> Iterator[pa.RecordBatch]:
    """Yield row groups [first, end), with those columns of `names` that exist.

    The caller drops the first `skip_rows` rows: row groups entirely within them come without columns, unread.
    """
    with translated(f"{file.name} cannot be opened"):
        source = open_random(file)
    with source:
        with translated(f"{file.name} cannot be read as Parquet; was it changed meanwhile?"):
            # pre_buffer would hold every row group asked for until the end; a buffer reads pages as they are needed.
            buffer_bytes = min(PAGE_BUFFER_BYTES, PAGE_BUFFERS_BYTES // max(1, len(names)))
            parquet = pq.ParquetFile(
                source, pre_buffer=False, buffer_size=buffer_bytes, coerce_int96_timestamp_unit=INT96_UNIT
            )
            metadata = parquet.metadata
        present = [name for name in parquet.schema_arrow.names if name in set(names)]
        for number in range(*(groups or (0, parquet.num_row_groups))):
            complaint = f"{file.name}: row group {number} cannot be read"
            with translated(complaint):
                row_count = metadata.row_group(number).num_rows
                if file.is_far and _stored_bytes(metadata.row_group(number), present) <= FETCH_BYTES_MAX:
                    # One for each row group.
                    parquet = pq.ParquetFile(
                        source, metadata=metadata, pre_buffer=True, coerce_int96_timestamp_unit=INT96_UNIT
                    )
                length = _rows_at_a_time(metadata.row_group(number), present)
                batches = parquet.iter_batches(
                    length, row_groups=[number], columns=present, use_threads=not file.is_far
                )
            if skip_rows >= row_count:
                skip_rows -= row_count
                yield bare_rows(row_count)
                continue
            skip_rows = 0
            # More may come than was asked for: "a" is also the path to a column named "a.b". The caller takes by name.
            yield from each_batch(batches, complaint)


def _columns(group: Any, names: Sequence[str]) -> list[Any]:
    columns = [group.column(number) for number in range(group.num_columns)]
    starts = tuple(f"{name}." for name in names)
    return [found for found in columns if f"{found.path_in_schema}.".startswith(starts)]


def _stored_bytes(group: Any, names: Sequence[str]) -> int:
    return sum(column.total_compressed_size for column in _columns(group, names))


def _rows_at_a_time(group: Any, names: Sequence[str]) -> int:
    """Return how many rows of a row group make a batch: fewer where they are large."""
    row_bytes = sum(column.total_uncompressed_size for column in _columns(group, names)) / max(1, group.num_rows)
    return max(1, min(READ_ROWS_MAX, int(READ_BYTES_MAX / max(1.0, row_bytes))))


def inspect_arrow(file: SourceFile) -> FileFacts:
    """Read the footer of the file format; a stream has none and counts as one piece of unknown length."""
    complaint = f"{file.name} cannot be read as Arrow: damaged, cut short, or another format than its name says"
    with translated(complaint):
        if not _has_footer(file):
            with open_stream(file) as source, pa.ipc.open_stream(source) as stream:
                schema, groups = stream.schema, None
        else:
            with open_random(file) as source, pa.ipc.open_file(source) as reader:
                schema = reader.schema
                groups = tuple(_record_batches(source, file.size_bytes))
                if len(groups) != reader.num_record_batches:
                    raise DatasetError(complaint)
    refuse_duplicates(file.name, schema.names)
    return FileFacts(schema=schema, digest=sample_digest(file), groups=groups)


def read_arrow(file: SourceFile, groups: tuple[int, int] | None, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield record batches [first, end), or the whole stream, of `names` the columns there are."""
    with translated(f"{file.name} cannot be opened"):
        source = open_stream(file) if groups is None else open_random(file)
    with source:
        with translated(f"{file.name} cannot be read as Arrow; was it changed meanwhile?"):
            reader = pa.ipc.open_stream(source) if groups is None else pa.ipc.open_file(source)
            present = [name for name in reader.schema.names if name in set(names)]
            if groups is None:
                batches = iter(reader)
            else:
                wanted = pa.ipc.IpcReadOptions(included_fields=[reader.schema.names.index(name) for name in present])
                if present:  # an empty list would mean all columns
                    reader = pa.ipc.open_file(source, options=wanted)
                batches = (reader.get_batch(number) for number in range(*groups))
        for batch in each_batch(batches, f"{file.name}: a record batch cannot be read"):
            yield batch.select(present)


def bare_rows(row_count: int) -> pa.RecordBatch:
    """Return a batch of rows without columns."""
    return pa.RecordBatch.from_arrays([pa.nulls(row_count)], names=["row"]).select([])


def each_batch(batches: Iterator[pa.RecordBatch], complaint: str) -> Iterator[pa.RecordBatch]:
    """Yield the batches; what goes wrong in reading one is a DatasetError with this complaint."""
    while True:
        with translated(complaint):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _has_footer(file: SourceFile) -> bool:
    with open_random(file) as source:
        return bool(source.read(len(_ARROW_MAGIC)) == _ARROW_MAGIC)


def _record_batches(source: Any, size_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield (rows, bytes) of each record batch.

    pyarrow tells the rows of a batch only by unpacking its columns; the format keeps them in the batch's head.
    Source: https://arrow.apache.org/docs/format/Columnar.html (File.fbs, Message.fbs), frozen since format 1.0.
    """
    source.seek(size_bytes - 10)
    footer_bytes = struct.unpack("<i", source.read(4))[0]
    source.seek(size_bytes - 10 - footer_bytes)
    footer = source.read(footer_bytes)
    try:
        blocks = _field(footer, _root(footer), 3)
        if blocks is None:
            return
        blocks += _unsigned(footer, blocks)
        for number in range(_unsigned(footer, blocks)):
            offset, head_bytes, body_bytes = struct.unpack_from("<qi4xq", footer, blocks + 4 + 24 * number)
            source.seek(offset)
            head = source.read(head_bytes)
            # Since format 1.0 a marker stands before the length; older files have the length alone.
            head = head[8:] if head.startswith(b"\xff\xff\xff\xff") else head[4:]
            union = _field(head, _root(head), 2)
            batch = union + _unsigned(head, union) if union is not None else 0
            length = _field(head, batch, 0)
            yield (struct.unpack_from("<q", head, length)[0] if length is not None else 0), body_bytes
    except struct.error as exc:
        raise pa.ArrowInvalid("the footer points outside the file") from exc


def _unsigned(table: bytes, place: int) -> int:
    return int(struct.unpack_from("<I", table, place)[0])


def _root(table: bytes) -> int:
    return _unsigned(table, 0)


def _field(table: bytes, start: int, number: int) -> int | None:
    """Return where field `number` of the FlatBuffers table at `start` stands, or None for its default."""
    vtable = start - struct.unpack_from("<i", table, start)[0]
    if 4 + 2 * number >= struct.unpack_from("<H", table, vtable)[0]:
        return None
    offset = struct.unpack_from("<H", table, vtable + 4 + 2 * number)[0]
    return start + offset if offset else None
