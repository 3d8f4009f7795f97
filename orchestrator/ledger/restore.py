"""A lost job written back into the ledger, all of it in one transaction: a half of it would be sent twice.

Rule: this is the one place where a transaction stays open while files are read. Whoever calls it is alone at the
ledger, and a job that is there in part must never be seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.domain.model import TERMINAL, Chunk, Job, JobId, JobState, Shard
from orchestrator.domain.policy import Policy
from orchestrator.domain.snapshot import Restored
from orchestrator.ledger.db import rows
from orchestrator.ledger.db.database import Database
from orchestrator.ledger.db.locks import add_new
from orchestrator.ledger.db.schema import accounts, attempts, chunk_shards, chunks, jobs, shards
from orchestrator.ledger.steps import note

PAGE: Final = 500
ENDED: Final = frozenset({JobState.FINISHED, JobState.CANCELLED})


class SqlRestore:
    """Writes whole jobs into one SQL ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def policy(self, text: str) -> Policy:
        """Return the policy that a ledger once wrote."""
        return rows.policy_of(text)

    def restore(
        self, job: Job, units: Iterable[Restored], shards_of: Iterable[Shard], *, now: datetime, replace: bool
    ) -> None:
        """Write a job; `replace` takes an older state of it away first.

        Args:
            units: its chunks; read to their end before `shards_of`, whose counts follow from them.
        """
        with self._database.write() as tx:
            if replace:
                _take_away(tx, job.id)
            add_new(tx, accounts, {"name": job.account})
            moments = {"created_at": now, "ended_at": now if job.state in ENDED else None}
            due_at = None if job.state in ENDED else now
            tx.execute(sa.insert(jobs), rows.job_values(job) | moments | {"due_at": due_at, "version": job.version})
            for page in _pages(units):
                _insert(tx, chunks, [_chunk_values(one.chunk, job, now) for one in page])
                _insert(tx, chunk_shards, [values for one in page for values in _covered(one)])
                _insert(tx, attempts, [rows.attempt_values(job.id, sent) for one in page for sent in one.attempts])
            for page in _pages(shards_of):
                counted = [rows.shard_values(shard) | {"settled_count": shard.settled_count} for shard in page]
                _insert(tx, shards, [values | {"due_at": now} for values in counted])
            note(tx, job.id, "job.recovered", "", now)


def _take_away(tx: sa.Connection, job_id: JobId) -> None:
    """Delete what the ledger has of a job, but for its timeline."""
    mine = sa.select(chunks.c.id).where(chunks.c.job_id == job_id)
    tx.execute(sa.delete(chunk_shards).where(chunk_shards.c.chunk_id.in_(mine)))
    for table in (chunks, attempts, shards):
        tx.execute(sa.delete(table).where(table.c.job_id == job_id))
    tx.execute(sa.delete(jobs).where(jobs.c.id == job_id))


def _pages(items: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(items)
    while page := list(islice(rest, PAGE)):
        yield page


def _insert(tx: sa.Connection, table: sa.Table, values: Sequence[Mapping[str, Any]]) -> None:
    if values:
        tx.execute(sa.insert(table), values)


def _chunk_values(chunk: Chunk, job: Job, now: datetime) -> dict[str, Any]:
    due_at = None if chunk.state in TERMINAL else now
    values = rows.chunk_values(chunk) | {"account": job.account, "due_at": due_at, "cancel_requested": False}
    return values | {"waiting_since": now if chunk.tally.waiting else None}


def _covered(one: Restored) -> Iterator[dict[str, Any]]:
    for shard_no, count in one.rows_by_shard.items():
        yield {
            "chunk_id": one.chunk.id,
            "job_id": one.chunk.job_id,
            "shard_no": shard_no,
            "row_count": count,
            "failed": one.failed_by_shard.get(shard_no, 0),
        }
