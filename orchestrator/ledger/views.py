"""The ledger for people who look at large jobs: each answer is bounded, whatever a job's size."""

from __future__ import annotations

from orchestrator.ledger import pictures, row_index
from orchestrator.ledger.db.database import Database, asked


class SqlViews:
    """What a page shows of jobs, beside their looks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    shards_with = asked(row_index.shards_with)
    rows_before = asked(row_index.rows_before)
    chunks_of_row = asked(row_index.chunks_of_row)
    chunk_map = asked(pictures.chunk_map)
    chunks_of_square = asked(pictures.chunks_of_square)
    course = asked(pictures.course)
    durations = asked(pictures.durations)
    report = asked(pictures.report)
