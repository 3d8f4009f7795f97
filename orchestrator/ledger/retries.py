"""What a retry of an ended job changes in the ledger: rows that wait to be sent again, shards that are unfinished."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orchestrator.domain.causes import causes_left
from orchestrator.domain.chosen import CHOSEN_KINDS, Choice, ChosenRows, has_impossible_count, waiting_again
from orchestrator.domain.errors import CommandRefused
from orchestrator.domain.model import ChunkId, ChunkState, Job, JobId, JobState, ShardState, Step
from orchestrator.domain.row_kinds import ALL_FAILED, RowKind
from orchestrator.ledger.db.rows import chunk_of, chunk_values
from orchestrator.ledger.db.schema import TALLY, chunk_shards, chunks, jobs, shards
from orchestrator.ledger.db.statements import SETTLE

C = chunks.c


def _unplanned(tx: sa.Connection, job_id: JobId) -> Sequence[sa.RowMapping]:
    """Return the chunks without requests that represent the rows not planned when the job was cancelled."""
    query = sa.select(C.id, C.job_id, C.shard_no, C.row_start, C.request_count)
    return tx.execute(query.where(C.job_id == job_id, C.requests == "")).mappings().all()


def _plan_again(tx: sa.Connection, row: sa.RowMapping, now: datetime) -> None:
    """Delete such a chunk, and resume planning."""
    for table, key in ((chunk_shards, chunk_shards.c.chunk_id), (chunks, C.id)):
        tx.execute(sa.delete(table).where(key == row["id"]))
    where = (shards.c.job_id == row["job_id"], shards.c.shard_no == row["shard_no"])
    tx.execute(
        sa.update(shards)
        .where(*where)
        .values(
            state=ShardState.PLANNING,
            row_count=row["row_start"],
            settled_count=shards.c.settled_count - row["request_count"],
            due_at=now,
            version=shards.c.version + 1,
        )
    )


def begin_revision(tx: sa.Connection, job: Job, *, retrying: str, changes: str, now: datetime) -> None:
    """Have an ended job run again, for a new revision of its output."""
    rounds = int(
        tx.execute(sa.select(sa.func.coalesce(sa.func.max(C.round), 0)).where(C.job_id == job.id)).scalar_one()
    )
    values = {
        "state": JobState.RUNNING,
        "reason": "",
        "revision": job.revision + 1,
        "retrying": retrying,
        "changes": changes,
        "rounds_max": rounds + job.policy.attempts_max,
        "due": Step.REVIEW,
        "due_at": now,
        "ended_at": None,
    }
    tx.execute(sa.update(jobs).where(jobs.c.id == job.id).values(**values, version=jobs.c.version + 1))


def reopen_failed(
    tx: sa.Connection, job_id: JobId, kept: Mapping[ChunkId, Mapping[int, int]] | None, now: datetime
) -> None:
    """Make the failed rows of a job wait to be sent again, and plan those that a cancel found unplanned.

    Args:
        kept: rows whose answer cannot be read, by chunk and shard: they stay failed. None: they are sent again, too.
    """
    left = sa.literal(0) if kept is None else C.unreadable_rows
    if kept is not None:
        _keep_causes(tx, job_id, kept)
    for row in _unplanned(tx, job_id):
        _plan_again(tx, row, now)
    failed = (
        sa.select(sa.func.coalesce(sa.func.sum(chunk_shards.c.failed), 0))
        .where(chunk_shards.c.job_id == shards.c.job_id, chunk_shards.c.shard_no == shards.c.shard_no)
        .scalar_subquery()
    )
    tx.execute(_revive_shards(job_id, failed))
    for row in failed_duplicates(tx, job_id):
        reopen_duplicates(tx, row, less=row["succeeded"])  # the failed ones are taken off with those of all chunks
    again = {
        "waiting": C.failed - left,
        "failed": left,
        "unreadable_rows": left,  # those that are bought again need not be read later
        "causes": sa.case((left > 0, C.causes), else_=""),
        "regather": ALL_FAILED if kept is None else RowKind.FAILED.value,
        "waiting_since": now,
    }
    tx.execute(sa.update(chunks).where(C.job_id == job_id, C.failed > left).values(**again, version=C.version + 1))
    tx.execute(sa.update(chunk_shards).where(chunk_shards.c.job_id == job_id).values(failed=0))
    for chunk_id, by_shard in sorted((kept or {}).items()):
        for shard_no, count in sorted(by_shard.items()):
            of_shard = (chunk_shards.c.chunk_id == chunk_id, chunk_shards.c.shard_no == shard_no)
            tx.execute(sa.update(chunk_shards).where(*of_shard).values(failed=count))
            tx.execute(SETTLE, {"the_job_id": job_id, "the_shard_no": shard_no, "more": count})


def _keep_causes(tx: sa.Connection, job_id: JobId, kept: Mapping[ChunkId, Mapping[int, int]]) -> None:
    """Have the chunks with rows that stay failed name the cause of these alone. Raises CommandRefused."""
    query = sa.select(C.id, C.unreadable_rows, C.causes).where(C.job_id == job_id, C.unreadable_rows > 0)
    found = tx.execute(query).all()
    if {row.id: row.unreadable_rows for row in found} != {name: sum(rows.values()) for name, rows in kept.items()}:
        raise CommandRefused(f"job {job_id}: its rows have changed meanwhile: type the command again")
    for row in found:
        text = causes_left(row.causes, row.unreadable_rows, row.unreadable_rows)
        tx.execute(sa.update(chunks).where(C.id == row.id).values(causes=text))


def failed_duplicates(tx: sa.Connection, job_id: JobId) -> Sequence[sa.RowMapping]:
    """Return the chunks of duplicates of which some have failed, as the equal requests have.

    Of chunks that were never sent these alone have failed rows. A chunk whose rows were sent since stays as it is.
    """
    alone = [C[name] == 0 for name in ("waiting", "resent", "reopened", "standing")]
    columns = (C.id, C.job_id, C.shard_no, C.request_count, C.succeeded)
    query = sa.select(*columns).where(C.job_id == job_id, C.state == ChunkState.REUSED, C.failed > 0, *alone)
    return tx.execute(query.order_by(C.id)).mappings().all()


def reopen_duplicates(tx: sa.Connection, row: sa.RowMapping, *, less: int) -> None:
    """Let all rows of a chunk wait for equal requests once more; `less`: the rows that are settled no more."""
    tx.execute(SETTLE, {"the_job_id": row["job_id"], "the_shard_no": row["shard_no"], "more": -less})
    anew = {"state": ChunkState.DUPLICATE, "part": "", "causes": "", **dict.fromkeys(TALLY, 0)}
    tx.execute(sa.update(chunks).where(C.id == row["id"]).values(**anew, version=C.version + 1))


def to_be_sent(kind: RowKind, *, pays_again: bool) -> sa.ColumnElement[int]:
    """Return how many rows of a kind a retry sends again of a chunk; `pays_again`: those that cannot be read, too."""
    if kind is RowKind.FAILED:
        return C.failed if pays_again else C.failed - C.unreadable_rows
    return C[f"{kind}_answers"] - _unread(kind, pays_again=pays_again)


def _unread(kind: RowKind, *, pays_again: bool) -> sa.ColumnElement[int]:
    """Return how many rows of a chunk keep their answer of a kind, for the sake of one that cannot be read."""
    return sa.literal(0) if pays_again else sa.case((C.improves == kind.value, C.unread_answers), else_=0)


def reopen_answered(
    tx: sa.Connection, job_id: JobId, kind: RowKind, by_shard: Mapping[int, int], now: datetime, *, pays_again: bool
) -> None:
    """Make the answered rows of this kind wait to be sent again: `reopening.reopened` for all chunks at once."""
    tx.execute(_revive_shards(job_id, sa.literal(0)))
    for shard_no, count in sorted(by_shard.items()):
        tx.execute(SETTLE, {"the_job_id": job_id, "the_shard_no": shard_no, "more": -count})
    name = f"{kind}_answers"
    standing = sa.case((C.improves == kind.value, C.standing), else_=0)
    own, kept = C[name] - standing, _unread(kind, pays_again=pays_again)
    again = {
        "succeeded": C.succeeded - own,
        "reopened": C.reopened + own,
        "standing": C.standing - standing + kept,
        "waiting": C.waiting + C[name] - kept,
        name: kept,
        "unread_answers": sa.case((C.improves == kind.value, kept), else_=C.unread_answers),
        "regather": kind.value,
        "waiting_since": now,
    }
    tx.execute(sa.update(chunks).where(C.job_id == job_id, C[name] > kept).values(**again, version=C.version + 1))


def reopen_chosen(tx: sa.Connection, job_id: JobId, selection: str, rows: Sequence[ChosenRows], now: datetime) -> None:
    """Make chosen rows wait to be sent again. Raises CommandRefused where they have changed since they were chosen."""
    tx.execute(_revive_shards(job_id, sa.literal(0)))
    settled = Counter[int]()
    for one in rows:
        settled.update(one.by_shard)
        found = tx.execute(sa.select(chunks).where(C.id == one.chunk_id, C.job_id == job_id)).mappings().one()
        chunk = chunk_of(found)
        after = waiting_again(chunk, one)
        if has_impossible_count(after.tally) or chunk.tally.waiting or chunk.regather:
            raise CommandRefused(f"job {job_id}: its rows have changed meanwhile: type the command again")
        after = replace(after, regather=str(Choice(selection, tuple(one.of(CHOSEN_KINDS)))))
        again = chunk_values(after) | {"waiting_since": now, "version": chunk.version + 1}
        tx.execute(sa.update(chunks).where(C.id == chunk.id).values(**again))
        for shard_no, count in sorted(one.failed_by_shard.items()):
            of_shard = (chunk_shards.c.chunk_id == chunk.id, chunk_shards.c.shard_no == shard_no)
            tx.execute(sa.update(chunk_shards).where(*of_shard).values(failed=chunk_shards.c.failed - count))
    for shard_no, count in sorted(settled.items()):
        tx.execute(SETTLE, {"the_job_id": job_id, "the_shard_no": shard_no, "more": -count})


def _revive_shards(job_id: JobId, less: sa.ColumnElement[Any]) -> sa.Update:
    """Return the update that subtracts rows from the settled ones, and makes every shard be finished again."""
    planned = sa.case((shards.c.state == ShardState.FINISHED, ShardState.PLANNED.value), else_=shards.c.state)
    return (
        sa.update(shards)
        .where(shards.c.job_id == job_id)
        .values(
            settled_count=shards.c.settled_count - less,
            state=planned,
            finished_slice_count=0,
            due_at=sa.func.coalesce(shards.c.due_at, 0),
            version=shards.c.version + 1,
        )
    )
