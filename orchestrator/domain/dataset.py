"""How a dataset is cut before its rows are read: files, segments of files, shards of segments.

Rule 1: a shard is fixed by file metadata and the spec alone; its number never changes afterwards.
Rule 2: a row is identified by (shard_no, row): its 0-based position in the shard, in source order.
Rule 3: what a person says about how files are written is part of the dataset's identity.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from orchestrator.domain.changes import JobMoved, ShardMoved
from orchestrator.domain.errors import ConfigError, OrchestratorError
from orchestrator.domain.model import Job, JobState, Shard
from orchestrator.domain.progress import Totals

UTF8: Final = "utf-8"
INFER: Final = "infer"
CANCEL_WAIT_S: Final = 1.0  # before a cancel whose batches are in flight is looked at again
FORMATS: Final = ("parquet", "arrow", "csv", "json")
_TYPE: Final = re.compile(
    r"string|text|bool|u?int(8|16|32|64)|float(32|64)|double|date|date32"
    r"|timestamp(\[(s|ms|us|ns)(, ?[^\]]+)?\])?|decimal\(([1-9]|[12]\d|3[0-8]), ?\d{1,2}\)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How files are written, where their names and contents do not say it. Checked when made: raises ConfigError."""

    format: str = ""
    """Of files whose names do not tell it: `"parquet"`, `"arrow"`, `"csv"`, `"json"`."""
    sheet: str = ""
    """Of a [workbook](docs/datasets.md#read-once); empty: the only one."""
    version: int = -1
    """Of a [Delta table](docs/datasets.md#what-is-read); -1: the newest."""
    image_folder: str = ""
    """Of the files that a column of [images](docs/datasets.md#images) names; empty: the dataset's own."""
    delimiter: str = ""
    """CSV: one character; empty: a comma, or a tab where the file is named `.tsv`."""
    quote: str = '"'
    """CSV: one character; empty: fields are never quoted."""
    encoding: str = UTF8
    """CSV: as Python calls it, `"cp1252"`, `"latin-1"`, `"utf-16"`."""
    columns: tuple[str, ...] = ()
    """CSV: the names of the columns, where the file has no header row."""
    null_values: tuple[str, ...] = ()
    """CSV: fields that mean null, such as `["NA", ""]`; a quoted field is text."""
    types: str | dict[str, str] = ""
    """CSV: the [types of columns](docs/datasets.md#types-of-csv-columns) that are not text, or `"infer"`; empty: all
    are text."""
    key: str = ""
    """The [column that names rows](docs/datasets.md#keys): unique, and never null."""
    limit: int = 0
    """Only the first rows, so many, of files of any format, as `--limit` does; 0: all."""

    def __post_init__(self) -> None:
        self._check_marks()
        for name in ("sheet", "image_folder"):
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"[dataset]: {name} must be a text")
        if not isinstance(self.key, str):
            raise ConfigError("[dataset]: key must be the name of a column")
        if not _is_count(self.version, at_least=-1):
            raise ConfigError("[dataset]: version must be the number of a version of a Delta table")
        if not _is_count(self.limit, at_least=0):
            raise ConfigError("[dataset]: limit must be a whole number of rows; 0 means all rows")
        for name in ("columns", "null_values"):
            given = getattr(self, name)
            if not isinstance(given, list | tuple) or not all(isinstance(text, str) for text in given):
                raise ConfigError(f"[dataset]: {name} must be a list of texts")
            object.__setattr__(self, name, tuple(given))
        if self.format and self.format not in FORMATS:
            raise ConfigError(f"[dataset]: format must be one of {', '.join(FORMATS)}")
        object.__setattr__(self, "types", _checked_types(self.types))
        object.__setattr__(self, "encoding", _known_encoding(self.encoding))

    def _check_marks(self) -> None:
        for name in ("delimiter", "quote"):
            given = getattr(self, name)
            if not isinstance(given, str) or (given and not (len(given) == 1 and _is_mark(given))):
                raise ConfigError(f'[dataset]: {name} must be one ASCII character, such as ";" or "\\t"')
        if self.delimiter and self.delimiter == self.quote:
            raise ConfigError("[dataset]: delimiter and quote are the same character")

    @property
    def declared_types(self) -> Mapping[str, str]:
        """The types of columns that are declared."""
        return self.types if isinstance(self.types, dict) else {}

    @property
    def of_files(self) -> ReadOptions:
        """What is left to say once a sheet is a table."""
        return replace(self, sheet="")

    @property
    def for_csv(self) -> ReadOptions:
        """What is for CSV files alone, and determines their rows."""
        return replace(self, format="", image_folder="", version=-1, key="", limit=0)


def _checked_types(given: object) -> str | dict[str, str]:
    """Return types in the order of names. Raises ConfigError."""
    if given in ("", INFER):
        return str(given)
    if not isinstance(given, Mapping):
        raise ConfigError('[dataset]: types must be "infer", or a table such as { age = "int64", day = "date" }')
    for name, kind in given.items():
        if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
            raise ConfigError(
                f"[dataset]: types: {name!r} is given a type that is not known; known are string, int64, float64, "
                "bool, date, timestamp, timestamp[us, UTC], decimal(12, 2) and other widths"
            )
    return dict(sorted(given.items()))


def _known_encoding(given: str) -> str:
    """Return the usual name of an encoding. Raises ConfigError."""
    try:
        known = codecs.lookup(given).name
        "".encode(known)
    except (LookupError, TypeError):
        raise ConfigError(
            f"[dataset]: encoding {given!r} is not known; known are such as utf-8, utf-16, cp1252, latin-1"
        ) from None
    return known


def _is_count(given: object, *, at_least: int) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and given >= at_least


def _is_mark(text: str) -> bool:
    return text.isascii() and text not in "\r\n\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of one file that belongs to one shard."""

    file: str  # relative to the dataset's root, with forward slashes
    groups: tuple[int, int] | None  # row groups (Parquet) or record batches (Arrow) [first, end); None: the whole file
    row_count: int | None  # None where the file must be read to know it (CSV, JSONL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSpec:
    """A run of consecutive segments: the unit of planning and of finishing."""

    shard_no: int
    segments: tuple[Segment, ...]
    row_limit: int | None = None  # it ends after so many rows, and has as many

    @property
    def row_count(self) -> int | None:
        """Rows in the shard, or None where a segment's count is not known."""
        if self.row_limit is not None:
            return self.row_limit
        counts = [segment.row_count for segment in self.segments]
        return None if None in counts else sum(count for count in counts if count is not None)


def answers_command(job_id: str) -> str:
    """Return how to get what was answered where the dataset cannot be read any more."""
    return (
        f"`orchestrator results {job_id} --answers` prints what was answered, without the dataset; "
        f"`orchestrator export {job_id} --answers -o answers.parquet` writes it to a file"
    )


def ended_without_dataset(job: Job, totals: Totals, error: OrchestratorError) -> Job | None:
    """Return a job whose dataset cannot be read, or is another by now; None: its batches in flight come first.

    It is stopped until the dataset is put back. A cancel ends all the same, without an output.
    """
    reason = f"{error}. {answers_command(job.id)}" if totals.settled else str(error)
    if job.state is not JobState.CANCELLING:
        return replace(job, state=JobState.STOPPED, reason=reason)
    if totals.live_chunks or totals.waiting:
        return None
    return replace(job, state=JobState.CANCELLED, reason=f"it has no output: {reason}")


def without_dataset(
    job: Job, shard: Shard, totals: Totals, error: OrchestratorError, *, now: datetime
) -> JobMoved | ShardMoved:
    """Return what follows for a job whose dataset cannot be read; its shard waits for batches that come first."""
    after = ended_without_dataset(job, totals, error)
    if after is None:
        return ShardMoved(before=shard, after=shard, due_at=now + timedelta(seconds=CANCEL_WAIT_S))
    return JobMoved(before=job, after=after, due_at=None if after.state is JobState.CANCELLED else now)
