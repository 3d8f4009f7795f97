"""Whole jobs: read from the ledger for an audit, and written back into it by a recovery.

Rule 1: a job is read page by page, each page in one transaction: one page is in memory, however many chunks it has.
Rule 2: a job is written back in one transaction, which stays open while files are read: half a job in the ledger would
        be sent twice. The caller of `restore` must be the only process that works on the ledger.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.domain.model import (
    ENDED_JOBS,
    TERMINAL,
    Attempt,
    AttemptToken,
    BatchId,
    ChunkId,
    ChunkState,
    Job,
    JobId,
    Shard,
    ShardState,
    provider_of,
)
from orchestrator.domain.snapshot import Entry, Restored, RestoredJob, RowCounts, UnevenShard
from orchestrator.ledger import creates, look
from orchestrator.ledger.accounts import account_looks
from orchestrator.ledger.db import rows
from orchestrator.ledger.db.database import Database, asked
from orchestrator.ledger.db.locks import add_new
from orchestrator.ledger.db.schema import accounts, attempts, chunk_shards, chunks, events, jobs, shards
from orchestrator.ledger.steps import note

C, S, A = chunks.c, shards.c, attempts.c
PAGE: Final = 200
WRITTEN_AT_ONCE: Final = 500
UNEVEN_MAX: Final = 100
DUPLICATE_BATCHES: Final = "batch.duplicated"
_LIVE: Final = C.state.not_in(sorted(TERMINAL))
_HERE: Final = C.state != ChunkState.SPLIT  # the halves of a split chunk carry its requests


class SqlSnapshot:
    """Whole jobs of one SQL ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    accounts = asked(account_looks)
    batches = asked(look.batches)
    look = asked(look.look)  # last: from here on the name is the method's

    def entries(self, job_id: JobId) -> Iterator[Entry]:
        """Read all chunks of a job, in order of their names."""
        after = ""
        while page := self._page(job_id, after):
            yield from page
            after = page[-1].chunk.id

    def _page(self, job_id: JobId, after: str) -> list[Entry]:
        query = sa.select(chunks).where(C.job_id == job_id, C.id > after).order_by(C.id).limit(PAGE)
        with self._database.read() as connection:
            found = [rows.chunk_of(row) for row in connection.execute(query).mappings()]
            ids = [chunk.id for chunk in found]
            sent: dict[ChunkId, list[Attempt]] = defaultdict(list)
            of_page = sa.select(attempts).where(A.chunk_id.in_(ids)).order_by(A.chunk_id, A.number)
            for row in connection.execute(of_page).mappings():
                sent[row["chunk_id"]].append(rows.attempt_of(row))
            covers: dict[ChunkId, dict[int, int]] = defaultdict(dict)
            failed: dict[ChunkId, int] = defaultdict(int)
            for row in connection.execute(
                sa.select(chunk_shards).where(chunk_shards.c.chunk_id.in_(ids)).order_by(chunk_shards.c.shard_no)
            ).mappings():
                covers[row["chunk_id"]][row["shard_no"]] = row["row_count"]
                failed[row["chunk_id"]] += row["failed"]
        return [
            Entry(chunk=chunk, attempts=tuple(sent[chunk.id]), rows_by_shard=covers[chunk.id], failed=failed[chunk.id])
            for chunk in found
        ]

    def tokens(self, job_id: JobId) -> frozenset[AttemptToken]:
        """Return the tokens of all creates of a job."""
        with self._database.read() as connection:
            return frozenset(
                map(AttemptToken, connection.execute(sa.select(A.token).where(A.job_id == job_id)).scalars())
            )

    def made(self, *, but: Collection[JobId]) -> frozenset[tuple[str, BatchId]]:
        """Return (provider, batch) of all creates, but those of these jobs; see `provider_of`."""
        query = sa.select(A.provider, A.batch_id).where(A.batch_id.is_not(None), A.job_id.not_in(sorted(but)))
        with self._database.read() as connection:
            return frozenset((row[0], BatchId(row[1])) for row in connection.execute(query))

    def files(self, job_id: JobId) -> frozenset[tuple[str, int]]:
        """Return (chunk, number) of all creates of a job: what the names of its results begin with."""
        query = sa.select(A.chunk_id, A.number).where(A.job_id == job_id)
        with self._database.read() as connection:
            return frozenset((row[0].rpartition("/")[2], row[1]) for row in connection.execute(query))

    def balance(self, job_id: JobId) -> RowCounts:
        """Return the job's sums."""
        of_shards = sa.select(
            _sum(S.row_count).label("rows"),
            _sum(S.refused_count).label("refused"),
            _sum(S.settled_count).label("settled"),
            _sum(sa.case((S.state == ShardState.PLANNING, 1), else_=0)).label("planning"),
        ).where(S.job_id == job_id)
        of_chunks = sa.select(
            _sum(C.succeeded + C.standing).label("succeeded"),
            *(_sum(C[name]).label(name) for name in ("failed", "waiting", "resent")),
            _sum(sa.case((_LIVE, C.request_count), else_=0)).label("live"),
            _sum(sa.case((sa.and_(C.shard_no.is_(None), _HERE), C.request_count), else_=0)).label("retried"),
        ).where(C.job_id == job_id)
        duplicate_batches = sa.select(sa.func.count()).where(
            events.c.job_id == job_id, events.c.name == DUPLICATE_BATCHES
        )
        with self._database.read() as connection:
            found = {**connection.execute(of_shards).mappings().one(), **connection.execute(of_chunks).mappings().one()}
            return RowCounts(**found, duplicate_batches=int(connection.execute(duplicate_batches).scalar_one()))

    def uneven_shards(self, job_id: JobId) -> list[UnevenShard]:
        """Return shards whose row count is not the sum of their refused rows and their chunks' rows."""
        covered = (
            sa.select(C.shard_no, _sum(C.request_count).label("covered"))
            .where(C.job_id == job_id, C.shard_no.is_not(None), _HERE)
            .group_by(C.shard_no)
            .subquery()
        )
        has = sa.func.coalesce(covered.c.covered, 0)
        query = (
            sa.select(S.shard_no, S.row_count, S.refused_count, S.settled_count, has)
            .outerjoin(covered, covered.c.shard_no == S.shard_no)
            .where(S.job_id == job_id)
            .where(
                sa.or_(
                    S.row_count != S.refused_count + has,
                    S.settled_count > S.row_count,
                    S.settled_count < S.refused_count,
                    sa.and_(S.state == ShardState.FINISHED, S.settled_count != S.row_count),
                )
            )
            .order_by(S.shard_no)
            .limit(UNEVEN_MAX)
        )
        names = ("shard_no", "rows", "refused", "settled", "covered")
        with self._database.read() as connection:
            return [
                UnevenShard(**dict(zip(names, map(int, row), strict=True))) for row in connection.execute(query).all()
            ]

    def shard_count(self, job_id: JobId) -> int:
        """Return the number of shards of the job's dataset."""
        with self._database.read() as connection:
            return int(connection.execute(sa.select(sa.func.count()).where(S.job_id == job_id)).scalar_one())

    def restore(
        self, found: RestoredJob, units: Iterable[Restored], shards_of: Iterable[Shard], *, now: datetime, replace: bool
    ) -> None:
        """Write a job; `replace` deletes an older state of it first.

        Args:
            units: its chunks; read to their end before `shards_of`, whose counts follow from them.
        """
        job = found.job
        with self._database.write() as tx:
            if replace:
                _take_away(tx, job.id)
            add_new(tx, accounts, {"name": job.account})
            ended_at = (found.ended_at or now) if job.state in ENDED_JOBS else None
            moments = {"created_at": found.began_at or now, "ended_at": ended_at}
            due_at, provider = None if job.state in ENDED_JOBS else now, provider_of(job.account, job.spec)
            tx.execute(sa.insert(jobs), rows.job_values(job) | moments | {"due_at": due_at, "version": job.version})
            for page in _in_pages(units):
                _insert(tx, chunks, [_chunk_values(one, job, now) for one in page])
                _insert(tx, chunk_shards, [values for one in page for values in _covered(one)])
                sent = [_attempt_values(job, provider, one, each, now) for one in page for each in one.attempts]
                _insert(tx, attempts, sent)
            for page in _in_pages(shards_of):
                counted = [rows.shard_values(shard) | {"settled_count": shard.settled_count} for shard in page]
                _insert(tx, shards, [values | {"due_at": now} for values in counted])
            note(tx, job.id, "job.recovered", "", now)


def _sum(expression: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
    return sa.cast(sa.func.coalesce(sa.func.sum(expression), 0), sa.BigInteger)


def _take_away(tx: sa.Connection, job_id: JobId) -> None:
    """Delete what the ledger has of a job, but for its timeline."""
    mine = sa.select(chunks.c.id).where(chunks.c.job_id == job_id)
    tx.execute(sa.delete(chunk_shards).where(chunk_shards.c.chunk_id.in_(mine)))
    for table in (chunks, attempts, shards):
        tx.execute(sa.delete(table).where(table.c.job_id == job_id))
    tx.execute(sa.delete(jobs).where(jobs.c.id == job_id))


def _in_pages(items: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(items)
    while page := list(islice(rest, WRITTEN_AT_ONCE)):
        yield page


def _insert(tx: sa.Connection, table: sa.Table, values: Sequence[Mapping[str, Any]]) -> None:
    if values:
        tx.execute(sa.insert(table), values)


def _chunk_values(one: Restored, job: Job, now: datetime) -> dict[str, Any]:
    chunk = one.chunk
    due_at = None if chunk.state in TERMINAL else now
    values = rows.chunk_values(chunk) | {"account": job.account, "due_at": due_at, "cancel_requested": False}
    return values | {"waiting_since": now if chunk.tally.waiting else None, "collected_at": one.collected_at}


def _attempt_values(job: Job, provider: str, one: Restored, attempt: Attempt, now: datetime) -> dict[str, Any]:
    is_settled = attempt.cost_usd is not None or attempt.state not in creates.LIVE
    return rows.attempt_values(job.id, provider, attempt) | {
        "settled_at": (one.collected_at or now) if is_settled else None
    }


def _covered(one: Restored) -> Iterator[dict[str, Any]]:
    for shard_no, count in one.rows_by_shard.items():
        yield {
            "chunk_id": one.chunk.id,
            "job_id": one.chunk.job_id,
            "shard_no": shard_no,
            "row_count": count,
            "failed": one.failed_by_shard.get(shard_no, 0),
        }
