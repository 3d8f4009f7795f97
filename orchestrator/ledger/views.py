"""The ledger for people who look at large jobs: each answer is bounded, whatever a job's size."""

from __future__ import annotations

from orchestrator.domain.model import Attempt, Chunk, JobId
from orchestrator.domain.reconcile import RowKey
from orchestrator.domain.row_filter import RowFilter
from orchestrator.ledger import row_index
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
