"""A column of the user's own that names rows: unique, without nulls, and kept so that rows are found by it.

Rule 1: it is checked before anything is sent, in bounded memory: digests of the values are spread over files of this
        machine's temporary folder, and each of those is sorted.
Rule 2: messages name rows, never values.
Rule 3: the values are kept in the job's folder, shard by shard: later the dataset is not needed to find a row.

    keys/s00000.parquet     one column, `key`: the values of a shard, as text, in the order of rows
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from orchestrator.dataset.groups import groups
from orchestrator.domain.errors import ConfigError, DatasetError, StorageError

if TYPE_CHECKING:
    from orchestrator.dataset.dataset import Dataset
    from orchestrator.domain.reconcile import RowKey
    from orchestrator.ports import JobFiles

FOLDER: Final = "keys"
SCHEMA: Final = pa.schema([pa.field("key", pa.string(), nullable=False)])
GROUP_ROWS: Final = 100_000
GROUP_BYTES: Final = 16 * 2**20
PARTS: Final = 256  # by the first byte of a digest: at a thousand million rows each holds 64 MB
PART_BYTES_HELD: Final = 2**17
DIGEST_BYTES: Final = 16


def check_keys(source: Dataset, column: str) -> None:
    """Raise ConfigError for a column that does not exist or names no rows; DatasetError for a null or a duplicate."""
    if column not in source.schema.names:
        raise ConfigError(f"[dataset]: key: {source.location} has no column {column!r}")
    with ExitStack() as stack:
        parts = [stack.enter_context(SpooledTemporaryFile(PART_BYTES_HELD)) for _ in range(PARTS)]
        for _, digests in _digests(source, column):
            first = digests[:, 0]
            order = np.argsort(first, kind="stable")
            ends = np.cumsum(np.bincount(first, minlength=PARTS))
            for part, rows in zip(parts, np.split(order, ends[:-1]), strict=True):
                if len(rows):
                    part.write(digests[rows].tobytes())
        for part in parts:
            part.seek(0)
            found = np.sort(np.frombuffer(part.read(), f"S{DIGEST_BYTES}"))
            doubled = np.flatnonzero(found[1:] == found[:-1])
            if len(doubled):
                raise DatasetError(_duplicate(source, column, found[doubled[0] : doubled[0] + 1].tobytes()))


def _duplicate(source: Dataset, column: str, digest: bytes) -> str:
    wanted = np.frombuffer(digest, np.uint8)
    places = (
        (shard_no, row_start + int(offset))
        for (shard_no, row_start), digests in _digests(source, column)
        for offset in np.flatnonzero((digests == wanted).all(axis=1))
    )
    named = " and ".join(_label(source, place) for place in islice(places, 2))
    return (
        f"key column {column!r} of {source.location} has the same value in {named}: a key must name one row. Name "
        "another column under [dataset], or remove the duplicates"
    )


def _label(source: Dataset, place: RowKey) -> str:
    shard_no, row = place
    return f"row {row}" if len(source.shards) == 1 else f"row {row} of shard {shard_no}"


def _digests(source: Dataset, column: str) -> Iterator[tuple[RowKey, Any]]:
    """Yield (shard, first row) and an array of digests, 16 bytes a row."""
    for place, values in _texts(source, column):
        hashed = b"".join(map(xxhash.xxh3_128_digest, values.cast(pa.binary()).to_pylist()))
        yield place, np.frombuffer(hashed, np.uint8).reshape(-1, DIGEST_BYTES)


def _texts(source: Dataset, column: str) -> Iterator[tuple[RowKey, Any]]:
    """Yield (shard, first row) and the values of the rows, as text."""
    for shard in source.shards:
        row = 0
        for batch in source.batches(shard, columns=[column]):
            values = batch.column(0)
            if values.null_count:
                offset = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
                place = _label(source, (shard.shard_no, row + offset))
                raise DatasetError(f"key column {column!r} of {source.location} is null in {place}: fill it")
            yield (shard.shard_no, row), _as_text(values, column)
            row += batch.num_rows


def _as_text(values: Any, column: str) -> Any:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    try:
        return values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise ConfigError(
            f"[dataset]: key: column {column!r} is {values.type}, which names no rows: name one of texts or numbers"
        ) from None


def keep_keys(source: Dataset, column: str, job_files: JobFiles) -> None:
    """Keep the values in the job's folder. They were checked before."""
    for shard in source.shards:
        with job_files.create(_name(shard.shard_no)) as file, pq.ParquetWriter(file, SCHEMA, compression="zstd") as out:
            batches = (
                pa.RecordBatch.from_arrays([_as_text(batch.column(0), column)], schema=SCHEMA)
                for batch in source.batches(shard, columns=[column])
            )
            for held in groups(batches, rows_max=GROUP_ROWS, bytes_max=GROUP_BYTES):
                out.write_table(pa.Table.from_batches(held, SCHEMA))


def has_keys(job_files: JobFiles) -> bool:
    """Return whether a job has keys."""
    return bool(job_files.names(FOLDER))


def kept_keys(job_files: JobFiles, shard_no: int) -> Iterator[pa.Array]:
    """Yield the keys of a shard's rows, in order, in pieces of any size; nothing where there are none."""
    name = _name(shard_no)
    if not job_files.exists(name):
        return
    try:
        with job_files.open(name) as file:
            opened = pq.ParquetFile(file, pre_buffer=False)
            for group in range(opened.num_row_groups):
                for batch in opened.iter_batches(row_groups=[group], use_threads=False):
                    yield batch.column(0)
    except pa.ArrowException as error:
        raise StorageError(f"{name} is damaged ({type(error).__name__})") from None


def rows_of_keys(job_files: JobFiles, shard_count: int, keys: Collection[str]) -> dict[str, RowKey]:
    """Return the rows that these keys name, of those that name one."""
    found: dict[str, RowKey] = {}
    wanted = pa.array(sorted(keys), pa.string())
    for shard_no in range(shard_count):
        row = 0
        for values in kept_keys(job_files, shard_no):
            for place in np.flatnonzero(pc.is_in(values, value_set=wanted).to_numpy(zero_copy_only=False)).tolist():
                found[values[place].as_py()] = shard_no, row + place
            if len(found) == len(wanted):
                return found
            row += len(values)
    return found


def _name(shard_no: int) -> str:
    return f"{FOLDER}/s{shard_no:05d}.parquet"
