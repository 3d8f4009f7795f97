"""Writes what a `reread` found into the ledger: one transaction for all chunks of a job.

Rule: output that may have been written is never changed: it is written again, as a new revision.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.domain.model import ENDED_JOBS, ChunkState, Job, JobState, ShardState, Step
from orchestrator.domain.reconcile import UNREADABLE
from orchestrator.domain.reread import Reading, Reread
from orchestrator.ledger.db import rows
from orchestrator.ledger.db.schema import attempts, chunk_shards, chunks, jobs, shards
from orchestrator.ledger.retries import failed_duplicates, reopen_duplicates
from orchestrator.ledger.steps import note

C, J, S = chunks.c, jobs.c, shards.c
_MOSTLY: Final = 2 * (C.unreadable_rows + C.unread_answers) > C.request_count


def record(tx: sa.Connection, job: Job, found: Sequence[Reread], *, now: datetime) -> Reading:
    """Write the new parts of chunks that have not changed meanwhile. The job's row is locked."""
    kept = [one for one in found if _swap(tx, one)]
    shard_nos = sorted({shard_no for one in kept for shard_no in one.read_by_shard})
    duplicates = failed_duplicates(tx, job.id) if any(one.succeeded for one in kept) else ()
    # The answers that duplicates get now are in parts of a new revision: the old ones' names are taken.
    is_reopened = bool(duplicates) or (bool(kept) and _may_be_written(tx, job, shard_nos))
    if is_reopened:
        _reopen(tx, job, now)
    for row in duplicates:
        reopen_duplicates(tx, row, less=row["request_count"])
        of_chunk = (chunk_shards.c.job_id == job.id, chunk_shards.c.chunk_id == row["id"])
        tx.execute(sa.update(chunk_shards).where(*of_chunk).values(failed=0))
    left = int(
        tx.execute(
            sa.select(sa.func.coalesce(sa.func.sum(C.unreadable_rows + C.unread_answers), 0)).where(_mine(job))
        ).scalar_one()
    )
    is_released = job.decision == UNREADABLE and not _is_mostly_unreadable(tx, job)
    read = sum(one.succeeded for one in kept)
    if kept:
        note(tx, job.id, "job.reread", "", now, chunks=len(kept), rows=read, unreadable=left)
    failed = sum(one.changed for one in kept) - read
    return Reading(read=read, failed=failed, unreadable=left, is_released=is_released, is_reopened=is_reopened)


def write_again(tx: sa.Connection, job: Job, *, now: datetime) -> Job:
    """Have all output written again, as a new revision, where some of it may have been written."""
    shard_nos = tx.execute(sa.select(S.shard_no).where(S.job_id == job.id)).scalars().all()
    if job.state is JobState.CANCELLED or not _may_be_written(tx, job, shard_nos):
        return job  # run again, a cancelled job is retried, and so has a new revision anyway
    _reopen(tx, job, now)
    return rows.job_of(tx.execute(sa.select(jobs).where(J.id == job.id)).mappings().one())


def _mine(job: Job) -> sa.ColumnElement[bool]:
    return C.job_id == job.id


def _is_mostly_unreadable(tx: sa.Connection, job: Job) -> bool:
    query = sa.select(C.id).where(_mine(job), C.state == ChunkState.COLLECTED, _MOSTLY).limit(1)
    return tx.execute(query).first() is not None


def _swap(tx: sa.Connection, one: Reread) -> bool:
    values = rows.chunk_values(one.after) | {"version": one.before.version + 1}
    same = (C.id == one.before.id, C.version == one.before.version)
    if tx.execute(sa.update(chunks).where(*same).values(**values)).rowcount != 1:
        return False
    tx.execute(sa.update(attempts).where(attempts.c.token == one.after.token).values(cost_usd=one.cost_usd))
    for shard_no, count in ({} if one.after.improves else one.read_by_shard).items():
        of_shard = (chunk_shards.c.chunk_id == one.after.id, chunk_shards.c.shard_no == shard_no)
        tx.execute(sa.update(chunk_shards).where(*of_shard).values(failed=chunk_shards.c.failed - count))
    return True


def _may_be_written(tx: sa.Connection, job: Job, shard_nos: Sequence[int]) -> bool:
    """Return whether output of one of the shards may have been written."""
    if job.state in ENDED_JOBS:
        return True
    settled = sa.and_(S.state == ShardState.PLANNED, S.settled_count == S.row_count)
    begun = (S.job_id == job.id, S.shard_no.in_(shard_nos), sa.or_(S.state == ShardState.FINISHED, settled))
    return tx.execute(sa.select(S.shard_no).where(*begun).limit(1)).first() is not None


def _reopen(tx: sa.Connection, job: Job, now: datetime) -> None:
    """Have every shard finished again, for a new revision of the output."""
    again: dict[str, Any] = {"finished_slice_count": 0, "due_at": sa.func.coalesce(S.due_at, 0)}
    planned = sa.case((S.state == ShardState.FINISHED, ShardState.PLANNED.value), else_=S.state)
    tx.execute(sa.update(shards).where(S.job_id == job.id).values(**again, state=planned, version=S.version + 1))
    state = {JobState.FINISHED: JobState.RUNNING, JobState.CANCELLED: JobState.CANCELLING}.get(job.state, job.state)
    values: dict[str, Any] = {"state": state, "revision": job.revision + 1, "due": Step.REVIEW, "due_at": now}
    values["ended_at"] = J.ended_at if state is job.state else None
    tx.execute(sa.update(jobs).where(J.id == job.id).values(**values, version=J.version + 1))
