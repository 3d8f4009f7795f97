"""Converts ledger rows to domain values and back. Columns have the names of their fields."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

import sqlalchemy as sa

from orchestrator import codec
from orchestrator.domain.changes import ChunkAdded
from orchestrator.domain.model import (
    Attempt,
    AttemptState,
    Canary,
    Chunk,
    ChunkState,
    Job,
    JobId,
    JobState,
    Outcome,
    Shard,
    ShardState,
    Step,
    Tally,
)
from orchestrator.domain.policy import Policy
from orchestrator.domain.timeline import LedgerEvent
from orchestrator.ledger.db.schema import EPOCH, TALLY

ERROR_LENGTH: Final = 200  # of an error in an event
_CHUNK: Final = tuple(f.name for f in fields(Chunk) if f.name not in ("tally", "token", "key_mark", "version"))
_SHARD: Final = tuple(f.name for f in fields(Shard) if f.name not in ("settled_count", "version"))
_JOB: Final = tuple(f.name for f in fields(Job) if f.name not in ("policy", "version"))

# A chunk's columns except those that other code writes: a cancel may come at any moment.
_OF_CHUNK: Final = tuple(name for name in _CHUNK if name != "cancel_requested")
_WRITTEN: Final = (*_OF_CHUNK, "token_sent", *TALLY)
_VALUES_OF_CHUNK: Final = attrgetter(*_OF_CHUNK, "token")
_VALUES_OF_TALLY: Final = attrgetter(*TALLY)
NEW_CHUNK: Final = (*_WRITTEN, "account", "cancel_requested", "due_at", "lease_until", "token", "version", "starts")
NEW_CHUNK_SHARD: Final = ("chunk_id", "job_id", "shard_no", "row_count", "failed")


def chunk_values(chunk: Chunk) -> dict[str, Any]:
    """Return the chunk's columns, except those that other code writes."""
    return dict(zip(_WRITTEN, (*_VALUES_OF_CHUNK(chunk), *_VALUES_OF_TALLY(chunk.tally)), strict=True))


def new_chunk(change: ChunkAdded, account: str, *, cancel_requested: bool) -> tuple[Any, ...]:
    """Return a new chunk's row, in the order of NEW_CHUNK."""
    chunk = change.chunk
    others = (account, cancel_requested, change.due_at, EPOCH, 0, 0, 0)
    return (*_VALUES_OF_CHUNK(chunk), *_VALUES_OF_TALLY(chunk.tally), *others)


def new_chunk_shards(change: ChunkAdded) -> Iterator[tuple[Any, ...]]:
    """Yield a new chunk's rows by shard, in the order of NEW_CHUNK_SHARD."""
    chunk = change.chunk
    for shard_no, count in change.rows_by_shard.items():
        yield chunk.id, chunk.job_id, shard_no, count, 0


def chunk_of(row: sa.RowMapping) -> Chunk:
    """Return the chunk in a row; without its `key_mark`, if the row was read without it."""
    values = {name: row[name] for name in _CHUNK} | {
        "state": ChunkState(row["state"]),
        "outcome": None if row["outcome"] is None else Outcome(row["outcome"]),
        "token": row["token_sent"],
        "key_mark": row.get("key_mark") or "",
        "tally": Tally(**{name: row[name] for name in TALLY}),
        "version": row["version"],
    }
    return Chunk(**values)


def shard_values(shard: Shard) -> dict[str, Any]:
    """Return the shard's columns, except the counter that chunks add to."""
    return {name: getattr(shard, name) for name in _SHARD}


def shard_of(row: sa.RowMapping) -> Shard:
    """Return the shard that a row holds."""
    values = {name: row[name] for name in (*_SHARD, "settled_count", "version")}
    return Shard(**values | {"state": ShardState(row["state"])})


def job_values(job: Job) -> dict[str, Any]:
    """Return the job's columns."""
    return {name: getattr(job, name) for name in _JOB} | {"policy": policy_text(job.policy)}


def job_of(row: sa.RowMapping) -> Job:
    """Return the job that a row holds."""
    values = {name: row[name] for name in (*_JOB, "version")}
    known = {"policy": policy_of(row["policy"]), "state": JobState(row["state"]), "due": Step(row["due"])}
    return Job(**values | known | {"canary": Canary(row["canary"])})


def attempt_of(row: sa.RowMapping) -> Attempt:
    """Return the attempt that a row holds."""
    values = {f.name: row[f.name] for f in fields(Attempt)}
    return Attempt(**values | {"state": AttemptState(row["state"])})


def attempt_values(job_id: JobId, provider: str, attempt: Attempt) -> dict[str, Any]:
    """Return the attempt's columns."""
    return {"job_id": job_id, "provider": provider} | {f.name: getattr(attempt, f.name) for f in fields(Attempt)}


def event_of(row: sa.RowMapping) -> LedgerEvent:
    """Return the event that a row holds."""
    return LedgerEvent(at=row["at"], name=row["name"], unit=row["unit"], details=json.loads(row["details"]))


def policy_text(policy: Policy) -> str:
    """Return the policy as the ledger stores it."""
    return codec.encode(policy).decode()


def policy_of(text: str) -> Policy:
    """Return the policy that `policy_text` wrote."""
    return codec.decode(text, Policy, name="a job's policy in the ledger")


def event_details(chunk: Chunk) -> dict[str, str | int]:
    """Return what the timeline tells of a chunk beyond its state."""
    match chunk.state:
        case ChunkState.SUBMITTED:
            return {"batch": str(chunk.batch_id), "rows": chunk.request_count}
        case ChunkState.COLLECTED:
            counts = {name: getattr(chunk.tally, name) for name in ("succeeded", "waiting", "failed")}
            return {name: count for name, count in counts.items() if count}
        case ChunkState.FAILED | ChunkState.CANCELLED | ChunkState.UNRESOLVED:
            return {"rows": chunk.request_count}
    return {}


def shortened(text: str) -> str:
    """Return the beginning of a text, cut between words."""
    return text if len(text) <= ERROR_LENGTH else f"{text[:ERROR_LENGTH].rsplit(' ', 1)[0]} …"
