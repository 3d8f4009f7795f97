"""The records of finished output parts: rows, bytes and digest of each, so that sealing need not read the output.

Rule 1: a record describes the file in place. It is written after the file and before the ledger counts the part.
Rule 2: if a crash leaves a file without a record, the record is made by reading that file.

    finished/r1/part-00000.json            the first output's part-00000.parquet; r2: of the second revision
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator import codec
from orchestrator.domain.errors import OutputError
from orchestrator.job_files import records
from orchestrator.storage.digests import HashedReader

if TYPE_CHECKING:
    from orchestrator.ports import JobFiles

FINISHED: Final = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPart:
    """One output part, as the manifest lists it."""

    file: str
    rows: int
    bytes: int
    xxh3_128: str
    # Of its rows; None where the record was made by reading the file.
    cost_usd: Decimal | None = None
    failed_usd: Decimal | None = None  # of those that have failed
    replaced_usd: Decimal | None = None  # beside it: answers that others have taken the place of, on request

    def as_dict(self) -> dict[str, Any]:
        """Return the manifest's entry."""
        return {name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in asdict(self).items()}


def keep_output_part(job_files: JobFiles, revision: int, part: OutputPart) -> None:
    """Put the record of an output part in place, unless there is one."""
    with job_files.create(_record_name(revision, part.file)) as file:
        file.write(codec.encode(part))


def recorded_part(job_files: JobFiles, revision: int, file_name: str) -> OutputPart | None:
    """Return the record of an output part; None where there is none. Raises StorageError where it is damaged."""
    name = _record_name(revision, file_name)
    return records.read(job_files, name, OutputPart) if job_files.exists(name) else None


def read_output_part(output: JobFiles, name: str) -> OutputPart:
    """Return the record of an output part by reading the whole file. Raises OutputError where it is no Parquet file."""
    with output.open(name) as file:
        try:
            rows = pq.read_metadata(file).num_rows
        except pa.ArrowException:
            raise OutputError(f"{name} is damaged: it is not a complete Parquet file") from None
        file.seek(0)
        hashed = HashedReader(file)
        digest = hashed.finish()
        return OutputPart(file=base_name(name), rows=rows, bytes=file.tell(), xxh3_128=digest)


def base_name(name: str) -> str:
    """Return the file name of an output part without its folder."""
    return name.rpartition("/")[2]


def _record_name(revision: int, file_name: str) -> str:
    return f"{FINISHED}/r{revision}/{file_name.removesuffix('.parquet')}.json"
