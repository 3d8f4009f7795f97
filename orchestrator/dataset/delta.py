"""A Delta table by its log: the files that a version has, and the types that it declares.

Rule 1: the version is part of the dataset; a job reads the one that it was planned with, whatever is committed later.
Rule 2: what plain reading of these files would get wrong is refused by name: deletion vectors, mapped columns, and
        whatever else a table says that its readers must know.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.types as pat

from orchestrator.dataset.files import SourceFile, file_below, has_folder, translated
from orchestrator.domain.errors import ConfigError, DatasetError
from orchestrator.storage.location import is_url
from orchestrator.storage.object_url import service_variables

LOG: Final = "_delta_log"
NEWEST: Final = -1
# What a reader of the listed files needs not know: types are cast to those of the log, checkpoints are deltalake's.
HARMLESS: Final = frozenset(
    {"timestampNtz", "typeWidening", "typeWidening-preview", "v2Checkpoint", "vacuumProtocolCheck"}
)
MAPPING: Final = "delta.columnMapping.mode"
VECTORS: Final = "deletionVectors"
ADVICE: Final = (
    "write its rows to Parquet, or give their reader to orchestrator.run, as in deltalake.DeltaTable(folder).scan()"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaTable:
    """One version of a table. Paths of files are below its folder; partitions are texts of values."""

    version: int
    table_id: str
    schema: pa.Schema
    files: tuple[SourceFile, ...]


def is_delta(place: str) -> bool:
    """Return whether a folder is a Delta table."""
    return has_folder(place, LOG)


def read_log(place: str, version: int) -> DeltaTable:
    """Return a version of a table, NEWEST or by number. Raises ConfigError, DatasetError."""
    try:
        import deltalake
        from deltalake.exceptions import DeltaError, TableNotFoundError
    except ModuleNotFoundError:
        raise ConfigError(
            f"{place} is a Delta table, of which plain reading would take deleted rows too. Reading its log needs one "
            "package more: pip install 'batch-orchestrator[delta]'"
        ) from None
    options = dict(service_variables(os.environ)) if is_url(place) else None
    try:
        table = deltalake.DeltaTable(place, version=None if version == NEWEST else version, storage_options=options)
        _refuse_unreadable(place, table)
        adds = pa.table(table.get_add_actions())
        schema = pa.schema(table.schema().to_arrow())
        table_id, found = str(table.metadata().id), int(table.version())
    except (DeltaError, TableNotFoundError, OSError, ValueError) as error:
        # from None: the library's message may hold signed URLs.
        which = "its log" if version == NEWEST else f"version {version} of it"
        raise DatasetError(
            f"{place} is a Delta table, and {which} cannot be read ({type(error).__name__}); set version under "
            "[dataset] to one that is still there, or leave it out"
        ) from None
    files = tuple(sorted(_files(place, adds, found), key=lambda file: file.name))
    if not files:
        raise DatasetError(f"{place} is a Delta table without rows in version {found}")
    return DeltaTable(version=found, table_id=table_id, schema=schema, files=files)


def _refuse_unreadable(place: str, table: Any) -> None:
    """Raise DatasetError for a table whose files alone do not say what its rows are."""
    features = set(table.protocol().reader_features or ())
    mode = table.metadata().configuration.get(MAPPING, "none")
    wrong = sorted(features - HARMLESS - {VECTORS, "columnMapping"})
    if mode != "none":
        wrong.append(f"columns mapped by {mode}")
    if VECTORS in features and any(
        batch.num_rows for batch in pa.RecordBatchReader.from_stream(table.deletion_vectors())
    ):
        wrong.append("rows deleted by deletion vectors (REORG TABLE … APPLY (PURGE) writes them out)")
    if wrong:
        raise DatasetError(f"{place} is a Delta table with {', '.join(wrong)}, which is not read here: {ADVICE}")


def _files(place: str, adds: pa.Table, version: int) -> Iterator[SourceFile]:
    texts: dict[str, list[str | None]] = {}
    if "partition" in adds.schema.names:
        partitions = adds["partition"].combine_chunks()
        texts = {field.name: _texts(partitions.field(field.name)) for field in partitions.type}
    for row, encoded in enumerate(adds["path"].to_pylist()):
        name = unquote(encoded)
        if ":/" in name or name.startswith("/") or ".." in name.split("/"):
            raise DatasetError(f"{place} is a Delta table with files outside of its folder (a shallow clone): {ADVICE}")
        with translated(f"{place}: {name} cannot be inspected"):
            file = file_below(place, name, tuple((key, values[row]) for key, values in texts.items()))
        if file is None:
            raise DatasetError(
                f"{place}: {name}, a file of version {version}, is gone: VACUUM removes the files of old versions. Put "
                "it back, or run a new job with the newest version"
            )
        yield file


def _texts(values: Any) -> list[str | None]:
    """Return a partition's values as texts that can be cast back."""
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if pat.is_binary(values.type) or pat.is_large_binary(values.type):
        raise DatasetError("the Delta table is partitioned by bytes, which is not read here")
    texts: list[str | None] = values.cast(pa.string()).to_pylist()
    return texts
