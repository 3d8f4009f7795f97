"""The dataset reader: a table of rows, cut into shards by metadata and read as Arrow batches.

Rule 1: opening reads no rows of Parquet and Arrow files, the header of CSV, the sample for types of JSON lines.
Rule 2: reading is lazy, in source order, in batches of at most READ_ROWS_MAX rows; memory does not grow with the data.
Rule 3: the fingerprint is of the content: a copied folder is the same dataset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import orjson
import pyarrow as pa
import xxhash

from orchestrator import codec
from orchestrator.dataset import csv, jsonl, parquet_arrow
from orchestrator.dataset.delta import NEWEST, is_delta, read_log
from orchestrator.dataset.files import FileFacts, SourceFile, find_files, refuse_changed
from orchestrator.dataset.groups import gathered
from orchestrator.dataset.sampling import sample_digest
from orchestrator.dataset.schema import by_likeness, conform, schema_text, unify, with_notes
from orchestrator.domain.dataset import ReadOptions, Segment, ShardSpec
from orchestrator.domain.errors import ConfigError, DatasetError
from orchestrator.storage.location import locate

READ_ROWS_MAX: Final = parquet_arrow.READ_ROWS_MAX
TEXTS: Final = frozenset({"csv", "jsonl"})
AS_USUAL: Final = ReadOptions()
GATHERED_ROWS_MIN: Final = 1_000
NAMED_FORMATS: Final = {"json": "jsonl"}  # an option, and the name here
READ_THROUGH_BYTES_MAX: Final = 256 * 2**20  # one or two seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A table that can be read again from any row; no file is open between reads."""

    location: str
    schema: pa.Schema
    fingerprint: str
    shards: tuple[ShardSpec, ...]
    format: str = field(repr=False)
    files: Mapping[str, SourceFile] = field(repr=False)
    digests: Mapping[str, bytes] = field(repr=False)  # of each file, as it was inspected
    line_schema: pa.Schema = field(repr=False)  # of text files, as they are parsed
    options: ReadOptions = field(repr=False, default=AS_USUAL)

    def batches(
        self, shard: ShardSpec, *, columns: Sequence[str] | None = None, row_start: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Yield the shard's rows from `row_start` on, with the given columns in that order; None: all columns.

        Small batches, of small files, are gathered: each costs as much as a large one where rows are rendered.
        """
        found = gathered(self._rows(shard, self._selected(columns), row_start), rows_min=GATHERED_ROWS_MIN)
        return found if shard.row_limit is None else _first(found, shard.row_limit - row_start)

    def read_through(self) -> int | None:
        """Read text files once, all columns, if together they are not large. Raises DatasetError.

        Returns how many rows there are; None: they are not text files, or too large.

        A row that cannot be read is found before anything is sent: a last row that is cut short would else be found
        when the rows before it are paid for.
        """
        if self.format in TEXTS and sum(file.size_bytes for file in self.files.values()) <= READ_THROUGH_BYTES_MAX:
            counts: list[int] = [batch.num_rows for shard in self.shards for batch in self.batches(shard)]
            return sum(counts)
        return None

    def _selected(self, columns: Sequence[str] | None) -> pa.Schema:
        if columns is None:
            return self.schema
        for name in columns:
            if name not in self.schema.names:
                there_are = ", ".join(by_likeness(name, self.schema.names)) or "none"
                raise DatasetError(f"{self.location} has no column {name!r}; its columns: {there_are}")
        return pa.schema([self.schema.field(name) for name in columns])

    def _rows(self, shard: ShardSpec, selected: pa.Schema, skip_rows: int) -> Iterator[pa.RecordBatch]:
        for segment in shard.segments:
            if segment.row_count is not None and skip_rows >= segment.row_count:
                skip_rows -= segment.row_count
                continue
            file = self.files.get(segment.file)
            if file is None:
                raise DatasetError(f"{self.location} no longer holds {segment.file}, a file of shard {shard.shard_no}")
            refuse_changed(file, self._digest, self.digests[file.name])
            for batch in self._read(file, segment, selected.names, skip_rows):
                start = min(skip_rows, batch.num_rows)
                skip_rows -= start
                for offset in range(start, batch.num_rows, READ_ROWS_MAX):
                    yield conform(batch.slice(offset, READ_ROWS_MAX), selected, file.partitions, file.name)

    def _digest(self, file: SourceFile) -> bytes:
        return parquet_arrow.inspect_parquet(file).digest if self.format == "parquet" else sample_digest(file)

    def _read(
        self, file: SourceFile, segment: Segment, names: Sequence[str], skip_rows: int
    ) -> Iterator[pa.RecordBatch]:
        match self.format:
            case "parquet":
                return parquet_arrow.read_parquet(file, segment.groups, names, skip_rows)
            case "arrow":
                return parquet_arrow.read_arrow(file, segment.groups, names)
            case "csv":
                return csv.read_csv(file, names, self.options, self.line_schema)
            case _:
                return jsonl.read_jsonl(file, self.line_schema, names, skip_rows)


def open_dataset(
    location: str | Path, *, shard_rows: int, shard_bytes: int, options: ReadOptions = AS_USUAL
) -> Dataset:
    """Inspect the files of `location` (a file, a folder, a glob) and cut them into shards.

    Shards are runs of whole row groups or record batches (or of whole CSV and JSON lines files, which have none),
    closed when the next would exceed `shard_rows` rows or `shard_bytes` bytes (uncompressed, if metadata tells).
    """
    if shard_rows < 1 or shard_bytes < 1:
        raise ConfigError(f"shard_rows ({shard_rows}) and shard_bytes ({shard_bytes}) must be at least 1")
    place = locate(str(location))
    table = read_log(place, options.version) if is_delta(place) else None
    if table is not None:
        format_name, files = "parquet", table.files
        options = replace(options, version=table.version)
    elif options.version != NEWEST:
        raise ConfigError(f"[dataset] has a version, and {location} is no Delta table: remove it")
    else:
        format_name, files = find_files(str(location), format_name=NAMED_FORMATS.get(options.format, options.format))
    if format_name != "csv" and options.for_csv != AS_USUAL:
        raise ConfigError(
            f"[dataset] has options for CSV files, and {location} is {format_name}: remove all but format and limit"
        )
    facts = _inspect(format_name, files, options)
    keys = [key for key, _ in files[0].partitions]
    schemas = [(file.name, fact.schema) for file, fact in zip(files, facts, strict=True)]
    declared = [] if table is None else [("the table's log", table.schema)]
    schema = unify([*declared, *schemas], keys, has_utc=table is not None)
    digest = xxhash.xxh3_128()
    for file, fact in zip(files, facts, strict=True):
        digest.update(orjson.dumps([file.name, file.size_bytes]) + b"\n" + fact.digest)
    digest.update(schema_text(schema).encode())
    if options.for_csv != AS_USUAL:
        digest.update(codec.encode(options.for_csv))
    if table is not None:
        digest.update(orjson.dumps([table.table_id, table.version]))
    dataset = Dataset(
        location=str(location),
        schema=with_notes(schema, facts[0].schema),
        fingerprint=digest.hexdigest(),
        shards=tuple(_shards(files, facts, shard_rows=shard_rows, shard_bytes=shard_bytes)),
        format=format_name,
        files={file.name: file for file in files},
        digests={file.name: fact.digest for file, fact in zip(files, facts, strict=True)},
        line_schema=facts[0].schema if format_name == "jsonl" else schema,
        options=options,
    )
    return _limited(dataset, options.limit) if options.limit else dataset


def _limited(dataset: Dataset, limit: int) -> Dataset:
    """Return the first rows of a dataset, as a dataset of its own; one that has no more is the same dataset."""
    shards, left, is_whole = list[ShardSpec](), limit, True
    for shard in dataset.shards:
        count = shard.row_count
        if count is None:
            count = sum(batch.num_rows for batch in _first(dataset.batches(shard), left + 1))
        is_whole = is_whole and count <= left
        if left or not shards:
            shards.append(replace(shard, row_limit=min(count, left)))
        left -= min(count, left)
        if not is_whole:
            digest = xxhash.xxh3_128_hexdigest(f"{dataset.fingerprint} {limit}".encode())
            return replace(dataset, shards=tuple(shards), fingerprint=digest)
    return dataset


def _first(batches: Iterator[pa.RecordBatch], count: int) -> Iterator[pa.RecordBatch]:
    """Yield the first rows of batches."""
    for batch in batches:
        if count <= 0:
            return
        yield batch.slice(0, count)
        count -= batch.num_rows


def _inspect(format_name: str, files: Sequence[SourceFile], options: ReadOptions) -> list[FileFacts]:
    match format_name:
        case "parquet":
            return [parquet_arrow.inspect_parquet(file) for file in files]
        case "arrow":
            return [parquet_arrow.inspect_arrow(file) for file in files]
        case "csv":
            return csv.inspect_csv(files, options)
        case _:
            return jsonl.inspect_jsonl(files)


def _shards(
    files: Sequence[SourceFile], facts: Sequence[FileFacts], *, shard_rows: int, shard_bytes: int
) -> Iterator[ShardSpec]:
    segments: list[Segment] = []
    shard_no = row_count = size_bytes = 0
    for file, fact in zip(files, facts, strict=True):
        groups = [(0, file.size_bytes)] if fact.groups is None else fact.groups
        for number, (group_rows, group_bytes) in enumerate(groups):
            if segments and (row_count + group_rows > shard_rows or size_bytes + group_bytes > shard_bytes):
                yield ShardSpec(shard_no=shard_no, segments=tuple(segments))
                segments, shard_no, row_count, size_bytes = [], shard_no + 1, 0, 0
            row_count += group_rows
            size_bytes += group_bytes
            if fact.groups is None:
                segments.append(Segment(file=file.name, groups=None, row_count=None))
            elif segments and segments[-1].file == file.name:
                segments[-1] = _extended(segments[-1], group_rows)
            else:
                segments.append(Segment(file=file.name, groups=(number, number + 1), row_count=group_rows))
    if segments or shard_no == 0:
        yield ShardSpec(shard_no=shard_no, segments=tuple(segments))


def _extended(segment: Segment, group_rows: int) -> Segment:
    if segment.groups is None or segment.row_count is None:
        raise ValueError(f"{segment.file} has no row groups to extend")
    first, end = segment.groups
    return Segment(file=segment.file, groups=(first, end + 1), row_count=segment.row_count + group_rows)
