"""Reads what the pictures of a job are drawn from: grouped in SQL, so that answers are short, however large the job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.domain.look import AT_PROVIDER
from orchestrator.domain.model import AttemptState, ChunkState, JobId
from orchestrator.domain.pictures import (
    RETRY_SQUARES_MAX,
    SQUARES_MAX,
    ChunkMap,
    Course,
    Durations,
    Report,
    Square,
    width_for,
)
from orchestrator.domain.timeline import Batch, Group
from orchestrator.ledger import look, totals
from orchestrator.ledger.db.schema import EPOCH, NANO, attempts, chunks, jobs, shards

C, A, J, S = chunks.c, attempts.c, jobs.c, shards.c
TICKS: Final = 240  # bins of the strip
CHUNKS_SHOWN: Final = 12  # of a square
WORST_FIRST: Final = (Group.NEEDS_YOU, Group.GIVEN_UP, Group.AT_PROVIDER, Group.WAITING, Group.COLLECTED)
_US: Final = timedelta(microseconds=1)
_GIVEN_UP: Final = (ChunkState.FAILED, ChunkState.CANCELLED)
_HERE: Final = C.state != ChunkState.SPLIT  # the halves of a split chunk are there in its place


def _sum(value: Any, name: str) -> sa.Label[Any]:
    return sa.cast(sa.func.coalesce(sa.func.sum(value), 0), sa.BigInteger).label(name)


def _when(condition: sa.ColumnElement[bool], value: Any = 1) -> sa.ColumnElement[int]:
    return sa.case((condition, value), else_=0)


def chunk_map(connection: sa.Connection, job_id: JobId) -> ChunkMap:
    """Return the job's chunks in the order of its rows, grouped where there are more than squares."""
    again = _squares(connection, job_id, RETRY_SQUARES_MAX, is_planned=False)
    planned = _squares(connection, job_id, SQUARES_MAX - len(again), is_planned=True)
    return ChunkMap(planned=planned, again=again)


def _squares(connection: sa.Connection, job_id: JobId, most: int, *, is_planned: bool) -> list[Square]:
    is_kind = C.shard_no.is_not(None) if is_planned else C.shard_no.is_(None)
    mine = (C.job_id == job_id, is_kind, _HERE)
    total = int(connection.execute(sa.select(sa.func.count()).where(*mine)).scalar_one())
    if not total:
        return []
    where: tuple[sa.ColumnElement[bool], ...] = mine
    if is_planned and total > most:
        square, source = _by_rows(connection, job_id, most)
        where = (_HERE,)  # the job is in the join alone: else SQLite looks through its shards for each chunk
    else:
        order = (C.shard_no, C.row_start, C.id) if is_planned else (C.id,)
        place = sa.func.row_number().over(order_by=order) - 1
        placed = sa.select(C.id.label("chunk_id"), place.label("place")).where(*mine).subquery()
        square = placed.c.place * min(most, total) // total
        source = chunks.join(placed, placed.c.chunk_id == C.id)
    sent_there = C.state.in_((ChunkState.SUBMITTED, ChunkState.ENDED))
    query = (
        sa.select(
            sa.func.min(C.id).label("first"),
            sa.func.max(C.id).label("last"),
            sa.func.count().label("chunks"),
            _sum(C.request_count, "rows"),
            _sum(C.succeeded + C.standing, "answered"),
            _sum(C.failed, "failed"),
            _sum(_when(C.state.in_(AT_PROVIDER), C.request_count), "at_provider"),
            _sum(_when(sent_there, C.done_count), "answered_there"),
            _sum(C.waiting, "to_send_again"),
            _sum(C.resent, "moved"),
            _sum(_when(C.state == ChunkState.UNRESOLVED), "unresolved"),
            _sum(_when(C.state.in_(_GIVEN_UP)), "given_up"),
        )
        .select_from(source)
        .where(*where)
        .group_by(square)
        .order_by(square)
    )
    return [
        Square(**row | {"first": _name(row["first"]), "last": _name(row["last"])})
        for row in map(dict, connection.execute(query).mappings())
    ]


def _by_rows(connection: sa.Connection, job_id: JobId, most: int) -> tuple[sa.ColumnElement[int], Any]:
    """Return in which square a chunk is, by where its first row stands among the job's rows; and what tells it.

    To number so many chunks would take the databases longer than all the rest.
    """
    counted = (S.job_id == job_id,)
    rows = int(connection.execute(sa.select(_sum(S.row_count, "rows")).where(*counted)).scalar_one())
    before = sa.func.sum(S.row_count).over(order_by=S.shard_no) - S.row_count
    begins = sa.select(S.job_id, S.shard_no, sa.cast(before, sa.BigInteger).label("before")).where(*counted).subquery()
    square = (begins.c.before + C.row_start) * most // max(1, rows)
    of_shard = sa.and_(C.job_id == begins.c.job_id, C.shard_no == begins.c.shard_no)
    return square, begins.join(chunks, of_shard)


def _name(chunk_id: str) -> str:
    return chunk_id.rpartition("/")[2]


def chunks_of_square(connection: sa.Connection, job_id: JobId, first: str, last: str) -> list[Batch]:
    """Return some chunks of a square: those that need a person first, then those given up."""
    is_planned = sa.select(C.shard_no.is_not(None)).where(C.id == f"{job_id}/{first}").scalar_subquery()
    beside = (C.id >= f"{job_id}/{first}", C.id <= f"{job_id}/{last}", C.shard_no.is_not(None) == is_planned)
    return look.batches_where(connection, job_id, beside, CHUNKS_SHOWN, WORST_FIRST)


def course(connection: sa.Connection, job_id: JobId, *, now: datetime) -> Course | None:
    """Return how a job went since its first create; None where nothing was sent."""
    first, ended_at = connection.execute(
        sa.select(
            sa.select(sa.func.min(A.sent_at, type_=A.sent_at.type)).where(A.job_id == job_id).scalar_subquery(),
            J.ended_at,
        ).where(J.id == job_id)
    ).one()
    if first is None:
        return None
    collected = (C.job_id == job_id, C.collected_at >= first)
    end = max(first, min(now, ended_at or now))
    width = width_for(end - first)
    bins = (end - first) // width + 1
    came = C.succeeded + C.standing + C.reopened
    [answered] = _binned(connection, C.collected_at, (came,), collected, first, width)
    undated = (C.job_id == job_id, C.state == ChunkState.COLLECTED, C.collected_at.is_(None))
    mine = (A.job_id == job_id,)
    spent, closed = _binned(connection, A.settled_at, (A.cost_usd, A.reserved_usd), mine, first, width)
    [opened] = _binned(connection, A.sent_at, (A.reserved_usd,), mine, first, width)
    reserved = {place: opened.get(place, 0) - closed.get(place, 0) for place in range(bins)}
    return Course(
        begun_at=first,
        width=width,
        answered=[answered.get(place, 0) for place in range(bins)],
        spent=_running(spent, bins),
        reserved=_running(reserved, bins),
        now=end,
        undated=int(connection.execute(sa.select(_sum(came, "came")).where(*undated)).scalar_one()),
    )


def _binned(
    connection: sa.Connection,
    at: sa.ColumnElement[Any],
    values: Sequence[sa.ColumnElement[Any]],
    where: Iterable[sa.ColumnElement[bool]],
    first: datetime,
    width: timedelta,
) -> list[dict[int, int]]:
    """Return the sums of each value by bin; what happened before the first bin is in it."""
    since = sa.cast(at, sa.BigInteger) - (first - EPOCH) // _US
    place = sa.case((since < 0, 0), else_=since // (width // _US))
    sums = [_sum(value, f"sum_{number}") for number, value in enumerate(values)]
    query = sa.select(place.label("place"), *sums).where(*where, at.is_not(None)).group_by("place")
    found = connection.execute(query).all()
    return [{int(row[0]): int(row[number]) for row in found} for number in range(1, len(values) + 1)]


def _running(sums: dict[int, int], bins: int) -> list[Decimal]:
    found, total = [], 0
    for place in range(bins):
        total += sums.get(place, 0)
        found.append(max(0, total) * NANO)
    return found


def durations(connection: sa.Connection, job_id: JobId, *, now: datetime) -> Durations | None:
    """Return how long batches took and have taken; None where there are none."""
    took = sa.cast(C.ended_at, sa.BigInteger) - sa.cast(C.sent_at, sa.BigInteger)
    ago = (now - EPOCH) // _US - sa.cast(C.sent_at, sa.BigInteger)
    done = (C.job_id == job_id, C.ended_at >= C.sent_at)
    there = (C.job_id == job_id, C.state == ChunkState.SUBMITTED, C.sent_at <= now)
    fastest, slowest = connection.execute(sa.select(sa.func.min(took), sa.func.max(took)).where(*done)).one()
    oldest = connection.execute(sa.select(sa.func.max(ago)).where(*there)).scalar()
    longest = max(filter(None, (slowest, oldest)), default=None)
    if longest is None:
        return None
    width_us = max(1, int(longest) // (TICKS - 1))
    finished, in_flight = (
        {
            int(place): int(count)
            for place, count in connection.execute(
                sa.select((value // width_us).label("place"), sa.func.count()).where(*where).group_by("place")
            )
        }
        for value, where in ((took, done), (ago, there))
    )
    bins, width = int(longest) // width_us + 1, width_us * _US
    counts = [finished.get(place, 0) for place in range(bins)]
    return Durations(
        width=width,
        finished=counts,
        in_flight=[in_flight.get(place, 0) for place in range(bins)],
        fastest=None if fastest is None else int(fastest) * _US,
        middle=_middle(counts, width),
        slowest=None if slowest is None else int(slowest) * _US,
    )


def _middle(counts: list[int], width: timedelta) -> timedelta | None:
    seen = 0
    for place, count in enumerate(counts):
        seen += count
        if count and 2 * seen >= sum(counts):
            return (place + 1) * width
    return None


def report(connection: sa.Connection, job_id: JobId) -> Report:
    """Return what a job used."""
    was_sent = sa.or_(C.state == ChunkState.COLLECTED, sa.and_(C.attempt > 0, C.state == ChunkState.FAILED))
    sums = (
        connection.execute(
            sa.select(
                _sum(_when(C.state == ChunkState.COLLECTED, C.request_count), "sent"),
                _sum(_when(C.state == ChunkState.COLLECTED), "batches"),
                _sum(C.input_tokens, "input_tokens"),
                _sum(C.output_tokens, "output_tokens"),
                _sum(C.wasted_nano_usd, "wasted"),
                _sum(totals.REUSED_ROWS, "reused"),
            ).where(C.job_id == job_id)
        )
        .mappings()
        .one()
    )
    doubtful = sa.select(_sum(A.reserved_usd, "sum")).where(A.job_id == job_id, A.state == AttemptState.ABANDONED)
    rounds = sa.select(C.round, _sum(C.request_count, "rows")).where(C.job_id == job_id, was_sent, C.round > 0)
    return Report(
        sent=sums["sent"],
        batches=sums["batches"],
        input_tokens=sums["input_tokens"],
        output_tokens=sums["output_tokens"],
        wasted_usd=int(sums["wasted"]) * NANO,
        possibly_double_paid_usd=int(connection.execute(doubtful).scalar_one()) * NANO,
        reused=sums["reused"],
        by_round=[(row[0], row[1]) for row in connection.execute(rounds.group_by(C.round).order_by(C.round))],
    )
