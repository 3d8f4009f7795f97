"""A job's complete state in the ledger: an audit reads it, a recovery writes it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain.model import Attempt, Chunk, Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A chunk with its attempts and rows by shard, read in one transaction."""

    chunk: Chunk
    attempts: tuple[Attempt, ...]  # in order
    rows_by_shard: Mapping[int, int]
    failed: int  # rows of each shard


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCounts:
    """A job's row counts at one moment; `rows` must equal the sum of succeeded, failed and unfinished rows."""

    rows: int
    refused: int
    settled: int
    succeeded: int
    failed: int
    waiting: int
    resent: int
    live: int  # requests of chunks that are not in a final state
    retried: int  # requests of retry chunks
    planning: int  # shards that are being planned
    duplicate_batches: int  # duplicate batches that were found


@dataclass(frozen=True, slots=True, kw_only=True)
class UnevenShard:
    """A shard whose row counts are inconsistent."""

    shard_no: int
    rows: int
    refused: int
    settled: int
    covered: int  # requests of its chunks


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredJob:
    """A job as the records of the work folder describe it."""

    job: Job
    began_at: datetime | None  # None: no record says so
    ended_at: datetime | None  # the same, or it has not ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A chunk as the records of the work folder describe it."""

    chunk: Chunk
    attempts: tuple[Attempt, ...]
    rows_by_shard: Mapping[int, int]
    failed_by_shard: Mapping[int, int]
    collected_at: datetime | None = None  # None: its results are not here, or it is not known when they came
