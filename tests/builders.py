"""Values of the domain as tests need them: every field has a sensible default, a test names only what it is about."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.domain.changes import ChunkAdded
from orchestrator.domain.model import (
    HAS_BATCH,
    Attempt,
    AttemptState,
    AttemptToken,
    BatchId,
    Chunk,
    ChunkId,
    ChunkState,
    Job,
    JobId,
    Shard,
)
from orchestrator.domain.policy import Policy
from orchestrator.ledger.db.database import Database
from orchestrator.ledger.db.schema import meta, metadata

NOW: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)
JOB: Final = JobId("sotu-9f86d081")
ACCOUNT: Final = "onerouter/ONEROUTER_API_KEY"


def after(seconds: float) -> datetime:
    """Return the time so many seconds after NOW; before it, where negative."""
    return NOW + timedelta(seconds=seconds)


def chunk_id(name: str, job_id: JobId = JOB) -> ChunkId:
    return ChunkId(f"{job_id}/{name}")


def a_job(job_id: JobId = JOB, **fields: Any) -> Job:
    """Return a running job; keywords that are fields of its policy go there."""
    policy = Policy(**{name: fields.pop(name) for name in Policy.__dataclass_fields__ if name in fields})
    return Job(**{"id": job_id, "name": "sotu", "account": ACCOUNT, "spec": "{}", "policy": policy, **fields})


def a_shard(shard_no: int = 0, job_id: JobId = JOB, **fields: Any) -> Shard:
    return Shard(job_id=job_id, shard_no=shard_no, **fields)


def a_chunk(
    name: str = "c00000-00000", *, state: ChunkState | str = ChunkState.PLANNED, job_id: JobId = JOB, **fields: Any
) -> Chunk:
    """Return a chunk of ten requests of shard 0; it has a batch where its state says that it must."""
    state = ChunkState(state)
    defaults: dict[str, Any] = {
        "shard_no": 0,
        "row_start": 0,
        "row_end": 10,
        "request_count": 10,
        "request_bytes": 1_000,
        "requests": f"requests/{name}.jsonl.zst",
        "batch_id": BatchId(f"batch-{name}") if state in HAS_BATCH else None,
    }
    return Chunk(id=chunk_id(name, job_id), job_id=job_id, state=state, **(defaults | fields))


def emptied(database: Database) -> Database:
    """Take every row out of a ledger, and all but the schema's number out of its facts; return it."""
    with database.write() as transaction:
        for table in metadata.sorted_tables:
            kept = table.c.key != "schema" if table is meta else sa.true()
            transaction.execute(table.delete().where(kept))
    return database


def added(chunk: Chunk, by_shard: Mapping[int, int] | None = None, *, due_at: datetime = NOW) -> ChunkAdded:
    """Return the change that enters `chunk`; by default all its rows lie in its own shard."""
    covers = {chunk.shard_no or 0: chunk.request_count} if by_shard is None else by_shard
    return ChunkAdded(chunk=chunk, rows_by_shard=covers, due_at=due_at)


def an_attempt(token: str = "token-1", chunk: Chunk | None = None, **fields: Any) -> Attempt:
    """Return an open attempt, the first of `chunk`, that reserves nothing."""
    defaults: dict[str, Any] = {
        "chunk_id": (chunk or a_chunk()).id,
        "number": 1,
        "state": AttemptState.OPEN,
        "reserved_usd": Decimal(0),
        "sent_at": NOW,
    }
    return Attempt(token=AttemptToken(token), **(defaults | fields))
