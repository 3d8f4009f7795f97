"""The ledger for people who look at large jobs: each answer is bounded, whatever a job's size."""

from __future__ import annotations

from datetime import datetime

from orchestrator.domain.model import Attempt, Chunk, JobId
from orchestrator.domain.pictures import ChunkMap, Course, Durations, Report
from orchestrator.domain.reconcile import RowKey
from orchestrator.domain.row_filter import RowFilter
from orchestrator.domain.timeline import Batch
from orchestrator.ledger import pictures, row_index
from orchestrator.ledger.db.database import Database


class SqlViews:
    """What a page shows of jobs, beside their looks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def shards_with(self, job_id: JobId, wanted: RowFilter, *, from_shard: int) -> list[int]:
        """Return the shards, from one on and in order, that may hold such rows with an answer or an error."""
        with self._database.read() as connection:
            return row_index.shards_with(connection, job_id, wanted, from_shard)

    def rows_before(self, job_id: JobId, key: RowKey) -> int:
        """Return how many rows of the dataset come before one."""
        with self._database.read() as connection:
            return row_index.rows_before(connection, job_id, key)

    def chunks_of_row(self, job_id: JobId, key: RowKey) -> list[tuple[Chunk, tuple[Attempt, ...]]]:
        """Return the chunks that may hold a row, each with its creates, the lowest round first."""
        with self._database.read() as connection:
            return row_index.chunks_of_row(connection, job_id, key)

    def chunk_map(self, job_id: JobId) -> ChunkMap:
        """Return the job's chunks in the order of its rows, in a bounded number of squares."""
        with self._database.read() as connection:
            return pictures.chunk_map(connection, job_id)

    def chunks_of_square(self, job_id: JobId, first: str, last: str) -> list[Batch]:
        """Return some chunks of a square: those that need a person first, then those given up."""
        with self._database.read() as connection:
            return pictures.chunks_of_square(connection, job_id, first, last)

    def course(self, job_id: JobId, *, now: datetime) -> Course | None:
        """Return how a job went over time; None where nothing was sent."""
        with self._database.read() as connection:
            return pictures.course(connection, job_id, now=now)

    def durations(self, job_id: JobId, *, now: datetime) -> Durations | None:
        """Return how long batches took and have taken; None where there are none."""
        with self._database.read() as connection:
            return pictures.durations(connection, job_id, now=now)

    def report(self, job_id: JobId) -> Report:
        """Return what a job used."""
        with self._database.read() as connection:
            return pictures.report(connection, job_id)
