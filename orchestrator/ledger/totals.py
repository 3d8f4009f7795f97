"""Sums and lists over many units of a job, each read within the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.domain.model import (
    ENDED,
    IN_FLIGHT,
    NEVER_SENT,
    OVERDUE,
    TERMINAL,
    UNSENT,
    AttemptState,
    Canary,
    Chunk,
    ChunkState,
    JobId,
    JobState,
    Shard,
    ShardState,
)
from orchestrator.domain.progress import Outlook, Totals, Trouble
from orchestrator.domain.refusal import History
from orchestrator.ledger.db import rows
from orchestrator.ledger.db.schema import HAS_WAITING, NANO, TALLY, USAGE, attempts, chunk_shards, chunks, jobs, shards
from orchestrator.ports import Contribution

C, S, A = chunks.c, shards.c, attempts.c
_JOB_ID: Final[sa.BindParameter[str]] = sa.bindparam("job_id", type_=sa.Text())
TROUBLES_MAX: Final = 8
_SUMMED: Final = tuple(name for name in TALLY if name not in USAGE)
_INNER: Final = ("standing", "resent", "reopened")
_LIVE: Final = tuple(state for state in ChunkState if state not in TERMINAL)
_UNSENT: Final = tuple(state for state in ChunkState if state in UNSENT)
_OTHERS: Final = tuple(state for state in _LIVE if state is not ChunkState.DUPLICATE)
_MOVING: Final = tuple(state for state in _OTHERS if state is not ChunkState.UNRESOLVED)


def by_state(connection: sa.Connection, job_id: JobId) -> Sequence[sa.RowMapping]:
    """Return sums over the chunks of a job, by state: what totals and looks are made from, read in one pass."""
    return connection.execute(_state_sums(job_id)).mappings().all()


def totals(connection: sa.Connection, job_id: JobId, states: Sequence[sa.RowMapping] | None = None) -> Totals:
    """Return the job's totals, read in one transaction; `states` are those of `by_state`, where they are there."""
    states = by_state(connection, job_id) if states is None else states
    shard_sums = connection.execute(_shard_sums(job_id)).mappings().one()
    money = connection.execute(_money(job_id)).mappings().one()
    sums = {name: sum(one[name] for one in states) for name in _SUMMED}
    sums["succeeded"] += sums["standing"]
    of = {ChunkState(one["state"]): one for one in states}
    sent = of.get(ChunkState.SUBMITTED)
    unsent = [of[state]["cheapest"] for state in _UNSENT if state in of]
    return Totals(
        **{name: value for name, value in sums.items() if name not in _INNER},
        **shard_sums,
        chunks={state: one["chunks"] for state, one in of.items()},
        waiting_since=min((one["waiting_since"] for one in states if one["waiting_since"]), default=None),
        reused=sum(one["reused"] for one in states),
        overdue=0 if sent is None else sent["overdue"],
        overdue_batch="" if sent is None else sent["overdue_batch"] or "",
        waits_for_canary=connection.execute(_waits_for_canary(job_id)).first() is not None,
        batches=money["batches"],
        cost_usd=int(money["cost"]) * NANO,
        reserved_usd=int(money["reserved"]) * NANO,
        possibly_double_paid_usd=int(money["possibly_double_paid"]) * NANO,
        unsent_usd_min=min(unsent) * NANO if unsent else None,
        troubles=tuple(Trouble(**row) for row in connection.execute(_troubles(job_id)).mappings()),
    )


def outlook(connection: sa.Connection, job_id: JobId) -> Outlook:
    """Return what the job's next step depends on."""
    return Outlook(**connection.execute(_OUTLOOK, {"job_id": job_id}).mappings().one())


def backlog(connection: sa.Connection, job_id: JobId) -> int:
    """Return how many chunks of the job are planned and not yet sent."""
    query = sa.select(sa.func.count()).where(C.job_id == job_id, C.state.in_(_UNSENT))
    return int(connection.execute(query).scalar_one())


def history(connection: sa.Connection, chunk: Chunk) -> History:
    """Return what the chunk's job and account have seen so far."""
    mine = sa.select(C.account).where(C.id == chunk.id).scalar_subquery()
    accepted = sa.exists().where(A.job_id == chunk.job_id, A.state == AttemptState.CREATED, A.chunk_id != chunk.id)
    cut = sa.select(sa.func.count()).where(C.job_id == chunk.job_id, C.state == ChunkState.SPLIT)
    others = sa.select(sa.func.count()).where(C.account == mine, C.state.in_(IN_FLIGHT), C.id != chunk.id)
    row = connection.execute(sa.select(accepted, cut.scalar_subquery(), others.scalar_subquery())).one()
    return History(ever_created=bool(row[0]), split_count=int(row[1]), others_in_flight=int(row[2]))


def contributions(connection: sa.Connection, job_id: JobId, shard_no: int) -> list[Contribution]:
    """Return the ended chunks with rows of this shard, in the order of their rounds and rows."""
    query = (
        sa.select(chunks, chunk_shards.c.row_count)
        .join(chunk_shards, chunk_shards.c.chunk_id == C.id)
        .where(chunk_shards.c.job_id == job_id, chunk_shards.c.shard_no == shard_no, C.state.in_(ENDED))
        .order_by(C.round, C.row_start, C.id)
    )
    found = connection.execute(query).mappings()
    return [Contribution(chunk=rows.chunk_of(row), rows=row["row_count"]) for row in found]


def planned(connection: sa.Connection, job_id: JobId, shard_no: int) -> list[Chunk]:
    """Return the chunks of a shard's own rows that are to be sent, or were, in order of their names."""
    is_one = (C.job_id == job_id, C.shard_no == shard_no, C.state.not_in(NEVER_SENT), C.requests != "")
    query = sa.select(chunks).where(*is_one).order_by(C.id)
    return [rows.chunk_of(row) for row in connection.execute(query).mappings()]


def canary(connection: sa.Connection, job_id: JobId) -> list[Chunk]:
    """Return the chunks of the job's canary, in the order of their rounds and names."""
    query = sa.select(chunks).where(C.job_id == job_id, C.is_canary).order_by(C.round, C.id)
    return [rows.chunk_of(row) for row in connection.execute(query).mappings()]


def waiting(connection: sa.Connection, job_id: JobId, limit: int) -> list[Chunk]:
    """Return ended chunks with rows to be sent again, the lowest round first, then in order of their names."""
    query = sa.select(chunks).where(C.job_id == job_id, C.waiting > 0).order_by(C.round, C.id).limit(limit)
    return [rows.chunk_of(row) for row in connection.execute(query).mappings()]


def duplicates(connection: sa.Connection, job_id: JobId, limit: int) -> list[Chunk]:
    """Return chunks that wait for the answers to equal requests, in order of their names."""
    is_one = (C.job_id == job_id, C.state == ChunkState.DUPLICATE)
    query = sa.select(chunks).where(*is_one).order_by(C.id).limit(limit)
    return [rows.chunk_of(row) for row in connection.execute(query).mappings()]


def shards_of(connection: sa.Connection, job_id: JobId) -> list[Shard]:
    """Return all shards, in order."""
    query = sa.select(shards).where(S.job_id == job_id).order_by(S.shard_no)
    return [rows.shard_of(row) for row in connection.execute(query).mappings()]


def _sum(expression: sa.ColumnElement[Any], name: str) -> sa.Label[Any]:
    # A plain integer sum: the column's own type (money) would be applied to it a second time.
    return sa.cast(sa.func.coalesce(sa.func.sum(expression), 0), sa.BigInteger).label(name)


def _when(condition: sa.ColumnElement[bool], value: Any, name: str) -> sa.Label[Any]:
    return _sum(sa.case((condition, value), else_=0), name)


# Answers that are copies: in chunks that were never sent, and where such rows were sent again and have failed.
REUSED_ROWS: Final = sa.case(
    (C.state == ChunkState.REUSED, C.succeeded + C.standing), (C.improves_reused, C.standing), else_=0
)
# Each part is answered by an index on unfinished units, so that the cost of a review does not grow with finished ones.
_OUTLOOK: Final = sa.select(
    sa.select(_sum(C.waiting, "waiting")).where(C.job_id == _JOB_ID, HAS_WAITING).scalar_subquery().label("waiting"),
    sa.select(sa.func.min(C.waiting_since, type_=C.waiting_since.type))
    .where(C.job_id == _JOB_ID, HAS_WAITING)
    .scalar_subquery()
    .label("waiting_since"),
    sa.or_(
        sa.exists().where(C.job_id == _JOB_ID, C.state.in_(_MOVING)),
        sa.exists().where(S.job_id == _JOB_ID, S.state == ShardState.PLANNING),
    ).label("moving"),
    sa.and_(
        sa.exists().where(C.job_id == _JOB_ID, C.is_canary),
        sa.not_(sa.exists().where(C.job_id == _JOB_ID, C.is_canary, C.state.in_(_LIVE))),
    ).label("canary_ended"),
    sa.and_(
        sa.exists().where(C.job_id == _JOB_ID, C.state == ChunkState.DUPLICATE),
        sa.not_(sa.exists().where(C.job_id == _JOB_ID, C.state.in_(_OTHERS))),
    ).label("copying"),
    sa.not_(sa.exists().where(S.job_id == _JOB_ID, S.state.in_((ShardState.PLANNING, ShardState.PLANNED)))).label(
        "finished"
    ),
)


@lru_cache(maxsize=64)  # building the query takes longer than running it
def _shard_sums(job_id: JobId) -> sa.Select[Any]:
    return sa.select(
        sa.func.count().label("shards"),
        _when(S.state == ShardState.PLANNING, 1, "shards_planning"),
        _sum(S.row_count, "rows"),
        _sum(S.settled_count, "settled"),
        _sum(S.refused_count, "refused"),
    ).where(S.job_id == job_id)


@lru_cache(maxsize=64)
def _state_sums(job_id: JobId) -> sa.Select[Any]:
    overdue = C.error_code == OVERDUE
    waits_since = sa.case((C.waiting > 0, C.waiting_since), else_=None)
    return (
        sa.select(
            C.state,
            sa.func.count().label("chunks"),
            _sum(C.request_count, "requests"),
            _sum(C.done_count, "done"),
            *(_sum(C[name], name) for name in _SUMMED),
            sa.func.min(C.sent_at, type_=C.sent_at.type).label("oldest_sent_at"),
            sa.func.max(C.looked_at, type_=C.looked_at.type).label("looked_at"),
            sa.func.min(C.due_at, type_=C.due_at.type).label("next_look_at"),
            sa.func.min(waits_since, type_=C.waiting_since.type).label("waiting_since"),
            sa.func.min(sa.cast(sa.func.coalesce(C.cost_usd_max, 0), sa.BigInteger)).label("cheapest"),
            _sum(REUSED_ROWS, "reused"),
            _sum(C.tokens_in, "tokens"),
            _sum(C.cost_usd_max, "cost_max"),
            sa.func.count(C.cost_usd_max).label("bounded"),
            sa.func.count(C.fees_usd).label("with_fees"),
            _when(overdue, 1, "overdue"),
            sa.func.min(sa.case((overdue, C.batch_id), else_=None)).label("overdue_batch"),
        )
        .where(C.job_id == job_id)
        .group_by(C.state)
    )


@lru_cache(maxsize=64)
def _troubles(job_id: JobId) -> sa.Select[Any]:
    live = C.state.in_([state for state in ChunkState if state not in TERMINAL and state is not ChunkState.SPLITTING])
    # A batch with a bad outcome has an `error` too; that is no failing call.
    failed = sa.and_(C.error != "", sa.or_(C.state != ChunkState.ENDED, C.tries > 0))
    is_unresolved = (C.state == ChunkState.UNRESOLVED).label("is_unresolved")
    count = sa.func.count().label("chunks")
    since, next_at = (
        sa.func.min(column, type_=column.type).label(name)
        for column, name in ((C.failing_since, "since"), (C.due_at, "next_at"))
    )
    return (
        sa.select(C.error.label("reason"), is_unresolved, count, since, next_at)
        .where(C.job_id == job_id, live, failed)
        .group_by(C.error, is_unresolved)
        .order_by(count.desc(), C.error)
        .limit(TROUBLES_MAX)
    )


@lru_cache(maxsize=64)
def _waits_for_canary(job_id: JobId) -> sa.Select[Any]:
    given_up = (JobState.CANCELLING, JobState.CANCELLED)
    mine = (jobs.c.id == job_id, jobs.c.canary == Canary.OPEN, jobs.c.state.not_in(given_up))
    return sa.select(jobs.c.id).where(*mine)


@lru_cache(maxsize=64)
def _money(job_id: JobId) -> sa.Select[Any]:
    live = A.state.in_((AttemptState.OPEN, AttemptState.CREATED))
    return sa.select(
        _when(A.batch_id.is_not(None), 1, "batches"),
        _sum(A.cost_usd, "cost"),
        _when(sa.and_(live, A.cost_usd.is_(None)), A.reserved_usd, "reserved"),
        _when(A.state == AttemptState.ABANDONED, A.reserved_usd, "possibly_double_paid"),
    ).where(A.job_id == job_id)
