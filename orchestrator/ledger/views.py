"""The ledger for people who look at large jobs: each answer is bounded, whatever a job's size.

Where rows of a kind may be is told by the counts of shards and chunks, so that a reader opens no file in vain.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import sqlalchemy as sa

from orchestrator.domain.model import ENDED, Attempt, Chunk, ChunkId, ChunkState, JobId
from orchestrator.domain.reconcile import RowKey
from orchestrator.domain.row_filter import RowFilter, Shown
from orchestrator.ledger import look, pictures, totals
from orchestrator.ledger.db import rows
from orchestrator.ledger.db.database import Database, asked
from orchestrator.ledger.db.schema import attempts, chunk_shards, chunks, shards

C, S, A, CS = chunks.c, shards.c, attempts.c, chunk_shards.c


def shards_with(connection: sa.Connection, job_id: JobId, wanted: RowFilter, from_shard: int) -> list[int]:
    """Return the shards, from one on and in order, that may hold such rows with an answer or an error."""
    mine = (C.job_id == job_id, C.state.in_(ENDED), *_holding(wanted))
    found = [
        sa.select(C.shard_no).where(*mine, C.shard_no >= from_shard),
        sa.select(CS.shard_no)
        .join(chunks, C.id == CS.chunk_id)
        .where(*mine, C.shard_no.is_(None), CS.job_id == job_id, CS.shard_no >= from_shard),
    ]
    if wanted.shown in (Shown.ALL, Shown.FAILED):
        refused = (S.job_id == job_id, S.shard_no >= from_shard, S.refused_count > 0)
        found.append(sa.select(S.shard_no).where(*refused, *_caused(S.causes, wanted.cause)))
    numbers = sa.union(*found).subquery()
    query = sa.select(numbers.c.shard_no).order_by(numbers.c.shard_no)
    return list(connection.execute(query).scalars())


def _holding(wanted: RowFilter) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of `RowFilter.may_hold`."""
    match wanted.shown:
        case Shown.ANSWERED:
            return [C.succeeded + C.standing > 0]
        case Shown.FAILED:
            by_code = sa.or_(*_caused(C.causes, wanted.cause), sa.and_(C.part == "", C.error_code == wanted.cause))
            return [C.failed > 0, *([by_code] if wanted.cause else [])]
        case Shown.REUSED:
            return [totals.REUSED_ROWS > 0]
        case Shown.TRUNCATED | Shown.EMPTY | Shown.REFUSED:
            return [C[f"{wanted.shown}_answers"] > 0]
    return []


def _caused(column: sa.ColumnElement[str], cause: str) -> list[sa.ColumnElement[bool]]:
    return [column.contains(json.dumps(cause), autoescape=True)] if cause else []


def rows_before(connection: sa.Connection, job_id: JobId, key: RowKey) -> int:
    """Return how many rows of the dataset come before one."""
    query = sa.select(sa.func.coalesce(sa.func.sum(S.row_count), 0)).where(S.job_id == job_id, S.shard_no < key[0])
    return int(connection.execute(query).scalar_one()) + key[1]


def chunks_of_row(connection: sa.Connection, job_id: JobId, key: RowKey) -> list[tuple[Chunk, tuple[Attempt, ...]]]:
    """Return the chunks that may hold a row, each with its creates: the lowest round first."""
    shard_no, row = key
    own = sa.and_(C.shard_no == shard_no, C.row_start <= row, C.row_end > row)
    of_shard = sa.select(CS.chunk_id).where(CS.job_id == job_id, CS.shard_no == shard_no)
    query = sa.select(chunks).where(C.job_id == job_id, sa.or_(own, sa.and_(C.shard_no.is_(None), C.id.in_(of_shard))))
    found = [rows.chunk_of(row) for row in connection.execute(query.order_by(C.round, C.id)).mappings()]
    sent: dict[ChunkId, list[Any]] = defaultdict(list)
    creates = sa.select(attempts).where(A.chunk_id.in_([one.id for one in found])).order_by(A.chunk_id, A.number)
    for create in connection.execute(creates).mappings():
        sent[create["chunk_id"]].append(rows.attempt_of(create))
    return [(one, tuple(sent[one.id])) for one in found]


def _collected(job_id: JobId) -> tuple[sa.ColumnElement[bool], ...]:
    return (C.job_id == job_id, C.state == ChunkState.COLLECTED, C.part != "", C.succeeded > 0)


def spread_parts(connection: sa.Connection, job_id: JobId, most: int) -> tuple[int, list[str]]:
    """Return how many result parts batches of a job have, and the names of some of them, evenly over it."""
    mine = _collected(job_id)
    total = int(connection.execute(sa.select(sa.func.count()).where(*mine)).scalar_one())
    place = sa.func.row_number().over(order_by=C.id) - 1
    placed = sa.select(C.part, place.label("place")).where(*mine).subquery()
    wanted = sorted({number * total // most for number in range(most)}) if total > most else list(range(total))
    query = sa.select(placed.c.part).where(placed.c.place.in_(wanted)).order_by(placed.c.place)
    return total, list(connection.execute(query).scalars())


def dearest_parts(connection: sa.Connection, job_id: JobId, most: int) -> tuple[int, list[str]]:
    """Return how many batches with answers have a known cost, and the result parts of those dearest for a row."""
    each = sa.cast(A.cost_usd, sa.BigInteger) / sa.func.nullif(C.request_count, 0)
    of_chunk = sa.and_(A.chunk_id == C.id, A.number == C.attempt)
    priced = (*_collected(job_id), A.cost_usd.is_not(None))
    count = sa.select(sa.func.count()).select_from(chunks).join(attempts, of_chunk).where(*priced)
    query = sa.select(C.part).join(attempts, of_chunk).where(*priced).order_by(each.desc(), C.id).limit(most)
    return int(connection.execute(count).scalar_one()), list(connection.execute(query).scalars())


class SqlViews:
    """What a page shows of jobs, beside their looks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    shards_with = asked(shards_with)
    rows_before = asked(rows_before)
    chunks_of_row = asked(chunks_of_row)
    spread_parts = asked(spread_parts)
    dearest_parts = asked(dearest_parts)
    settled_batches = asked(look.settled_batches)
    chunk_map = asked(pictures.chunk_map)
    chunks_of_square = asked(pictures.chunks_of_square)
    course = asked(pictures.course)
    durations = asked(pictures.durations)
    report = asked(pictures.report)
