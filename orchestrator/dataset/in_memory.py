"""Keeps tables and files that are nowhere else, or might not be there later.

Rule 1: the name is the digest of the content: equal tables, however chunked, make one file.
Rule 2: a table is streamed, a row group at a time; an existing file is kept.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from orchestrator.dataset import parquet_arrow
from orchestrator.dataset.arrow_digest import RowsDigest
from orchestrator.dataset.frames import reader_of
from orchestrator.dataset.groups import groups
from orchestrator.dataset.schema import conform, plain_schema, refuse_duplicates, schema_text, with_notes
from orchestrator.domain.errors import DatasetError, StorageError
from orchestrator.storage import permissions
from orchestrator.storage.disk_errors import why_unwritten

if TYPE_CHECKING:
    from orchestrator.ports import JobFiles

GROUP_ROWS_MAX: Final = 50_000
GROUP_BYTES_MAX: Final = 128 * 2**20  # documents of 100 kB: a row group must still fit in memory
CONFORM_ROWS: Final = 1_000  # texts of 2 MB each must still fit in one array
COPY_BYTES: Final = 8 * 2**20


def keep_table(table: Any, folder: Path) -> Path:
    """Write a table of any kind that `frames` knows to `folder/<digest>.parquet`, and return that path.

    The digest is of the content: equal tables, however chunked, make one file, and an existing file is kept.
    A DataFrame's plain RangeIndex is dropped; any other index, or one with a name, becomes columns.
    Raises DatasetError for column names that are not strings, or duplicate.
    """
    reader = reader_of(table)
    refuse_duplicates("the table", reader.schema.names)
    with _temporary(folder) as (handle, temporary):
        with os.fdopen(handle, "wb") as sink:
            digest = _write_rows(reader, sink)
            _finish(sink, folder)
        return _put(temporary, folder / f"{digest}.parquet")


def keep_files(files: Iterable[tuple[str, Iterable[bytes]]], folder: Path) -> Path:
    """Write files, given by name and content, to `folder/<digest>/…`; return the path of the only one, or the folder.

    The digest is of names and contents; files that are there are kept.
    """
    digest, waiting = xxhash.xxh3_128(), []
    with ExitStack() as stack:
        for name, blocks in files:
            handle, temporary = stack.enter_context(_temporary(folder))
            content = xxhash.xxh3_128()
            with os.fdopen(handle, "wb") as sink:
                for block in blocks:
                    content.update(block)
                    with _storing(folder):
                        sink.write(block)
                _finish(sink, folder)
            digest.update(f"{name}\n{content.hexdigest()}\n".encode())
            waiting.append((name, temporary))
        root = folder / digest.hexdigest()
        for name, temporary in waiting:
            with _storing(root):
                permissions.make_folder((root / name).parent)
            _put(temporary, root / name)
    return root / waiting[0][0] if len(waiting) == 1 else root


def keep_in(job_files: JobFiles, folder: str, keep: Callable[[Path], Path]) -> str:
    """Put what `keep` writes to a folder of this machine into a store, below `folder`, and return its name.

    It is written to a local disk first: its name is its digest, which is known only then.
    """
    with ExitStack() as stack:
        with _storing(Path(tempfile.gettempdir())):
            here = stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrator-"))
        kept = keep(Path(here))
        for path in sorted(kept.rglob("*")) if kept.is_dir() else [kept]:
            name = f"{folder}/{path.relative_to(here)}"
            if path.is_file() and not job_files.exists(name):
                with path.open("rb") as file, job_files.create(name) as target:
                    shutil.copyfileobj(file, target, COPY_BYTES)
        return f"{folder}/{kept.relative_to(here)}"


@contextmanager
def _temporary(folder: Path) -> Iterator[tuple[int, Path]]:
    """Make an open file in a folder, which is removed afterwards."""
    with _storing(folder):
        permissions.make_folder(folder)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".keep-", suffix=".tmp")
    try:
        yield handle, Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _finish(sink: BinaryIO, folder: Path) -> None:
    with _storing(folder):
        sink.flush()
        os.fsync(sink.fileno())
        permissions.share_file(sink.fileno(), folder)


def _put(temporary: Path, path: Path) -> Path:
    """Give a finished file its name; one that is there stays."""
    with _storing(path), suppress(FileExistsError):
        path.hardlink_to(temporary)
        permissions.sync_folder(path.parent)
    return path


@contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StorageError(f"{path} cannot be written: {why_unwritten(exc)}") from exc


def _write_rows(reader: Any, sink: Any) -> str:
    schema = plain_schema(reader.schema, "the table")
    digest = RowsDigest()
    try:
        # With the metadata, which is not part of the digest: the output gets it back.
        with pq.ParquetWriter(
            sink, with_notes(schema, reader.schema), compression="zstd", compression_level=1
        ) as writer:
            rows = _conformed(reader, schema, digest)
            for group in groups(rows, rows_max=GROUP_ROWS_MAX, bytes_max=GROUP_BYTES_MAX):
                table = pa.Table.from_batches(group)
                writer.write_table(table.cast(writer.schema), row_group_size=GROUP_ROWS_MAX)
    except pa.ArrowException as exc:
        raise DatasetError(f"the table cannot be kept as Parquet ({type(exc).__name__})") from None
    content = "\n".join([schema_text(schema), *digest.values().values()])
    return xxhash.xxh3_128_hexdigest(content.encode())


def _conformed(reader: Any, schema: pa.Schema, digest: RowsDigest) -> Iterator[pa.RecordBatch]:
    for whole in parquet_arrow.each_batch(iter(reader), "the table cannot be read"):
        for offset in range(0, whole.num_rows, CONFORM_ROWS):
            rows = conform(whole.slice(offset, CONFORM_ROWS), schema, (), "the table")
            digest.add(rows)
            yield rows
