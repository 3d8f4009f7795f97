"""Reads what a look at a job is made from, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.domain.causes import Cause, Causes
from orchestrator.domain.errors import LedgerError
from orchestrator.domain.look import AtProvider, Decision, Look, Seen, look_at
from orchestrator.domain.model import TERMINAL, ChunkState, JobId, ShardState
from orchestrator.domain.timeline import GROUP_OF, Batch, Group
from orchestrator.domain.unit_costs import Batch as Settled
from orchestrator.domain.unit_costs import Planned
from orchestrator.domain.workers import FLEET, SEEN_S, Kind, WorkerProcess
from orchestrator.ledger import account_limits, totals
from orchestrator.ledger.db import rows
from orchestrator.ledger.db.schema import NANO, accounts, attempts, chunks, jobs, shards, workers
from orchestrator.ledger.notices import undelivered
from orchestrator.ledger.workers import member_of

C, S, J, W = chunks.c, shards.c, jobs.c, workers.c
BATCHES_MAX: Final = 400  # finished batches that an estimate is made from, the latest
DECISIONS_MAX: Final = 20
HERE: Final = (ChunkState.SUBMITTED, ChunkState.ENDED)


def look(connection: sa.Connection, job_id: JobId, *, now: datetime, is_run: bool = True) -> Look:
    """Return a look at a job. Raises LedgerError where there is none.

    Args:
        is_run: False where it is known that no process runs it, though one that was seen a short while ago did.
    """
    row = connection.execute(sa.select(jobs).where(J.id == job_id)).mappings().one_or_none()
    if row is None:
        raise LedgerError(f"the ledger knows no {job_id}")
    job = rows.job_of(row)
    paused = (accounts.c.name == job.account, accounts.c.paused_until > now)
    pause = connection.execute(sa.select(accounts).where(*paused)).mappings().one_or_none()
    states = totals.by_state(connection, job_id)
    written, finished = connection.execute(_written(job_id)).one(), connection.execute(_finished(job_id)).all()
    alive = _alive(connection, job_id, now, is_run=is_run)
    seen = Seen(
        requests={ChunkState(one["state"]): int(one["requests"]) for one in states},
        at_provider=_at_provider(connection, job_id, states),
        causes=_causes(connection, job_id),
        took=[one.ended_at - one.sent_at for one in finished],
        settled=_settled(finished),
        unsettled=_unsettled(states),
        decisions=tuple(_decisions(connection, job_id)),
        pause="" if pause is None else account_limits.pause_words(pause),
        needs_person=pause is not None and bool(pause["needs_person"]),
        workers=tuple(one for one in alive if one.kind is not Kind.BEAT),
        has_beat=any(one.kind is Kind.BEAT for one in alive),
        began_at=row["created_at"],
        ended_at=row["ended_at"],
        written=(written[0], written[1]),
        undelivered=undelivered(connection, job_id, now=now),
    )
    return look_at(job, totals.totals(connection, job_id, states), seen, now=now)


@lru_cache(maxsize=64)
def _written(job_id: JobId) -> sa.Select[Any]:
    finished = sa.func.coalesce(sa.func.sum(sa.case((S.state == ShardState.FINISHED, 1), else_=0)), 0)
    return sa.select(finished.label("finished"), sa.func.count().label("count")).where(S.job_id == job_id)


def _at_provider(connection: sa.Connection, job_id: JobId, states: Iterable[sa.RowMapping]) -> AtProvider:
    by_state = {ChunkState(one["state"]): one for one in states}
    here = [by_state[state] for state in HERE if state in by_state]
    sent = by_state.get(ChunkState.SUBMITTED)
    submitted = (C.job_id == job_id, C.state == ChunkState.SUBMITTED)
    words = connection.execute(
        sa.select(C.provider_status, sa.func.count()).where(*submitted).group_by(C.provider_status)
    )
    return AtProvider(
        answered=sum(int(one["done"]) for one in here),
        batches=sum(int(one["chunks"]) for one in here),
        oldest_sent_at=min((one["oldest_sent_at"] for one in here if one["oldest_sent_at"]), default=None),
        looked_at=max((one["looked_at"] for one in by_state.values() if one["looked_at"]), default=None),
        next_look_at=None if sent is None else sent["next_look_at"],
        words={word: count for word, count in words if word},
    )


def _causes(connection: sa.Connection, job_id: JobId) -> tuple[Cause, ...]:
    """Add up why rows have failed: of chunks with results, of chunks without, and of rows that were never sent."""
    causes = Causes()
    mine = (C.job_id == job_id, C.failed > 0)
    found = connection.execute(sa.select(C.causes, C.failed, C.error_code).where(*mine)).all()
    causes.add_texts(text for text, _, _ in found)
    for text, count, code in found:
        if not text and code:
            causes.add_unit(code, count)
    refused = sa.select(S.causes).where(S.job_id == job_id, S.refused_count > 0)
    causes.add_texts(connection.execute(refused).scalars())
    return causes.by_rows()


@lru_cache(maxsize=64)
def _finished(job_id: JobId) -> sa.Select[Any]:
    """Select the latest finished batches: how long they took, and what they have cost."""
    done = (C.job_id == job_id, C.ended_at.is_not(None), C.sent_at.is_not(None))
    priced = (C.request_count - C.unpriced).label("priced")
    columns = (C.id, C.sent_at, C.ended_at, C.request_count, C.tokens_in, C.input_tokens, priced)
    latest = sa.select(*columns).where(*done).order_by(C.ended_at.desc()).limit(BATCHES_MAX).subquery()
    cost = sa.cast(sa.func.sum(attempts.c.cost_usd), sa.BigInteger).label("cost_nano")
    joined = latest.outerjoin(attempts, attempts.c.chunk_id == latest.c.id)
    return sa.select(latest, cost).select_from(joined).group_by(*latest.c)


def settled_batches(connection: sa.Connection, job_id: JobId) -> list[Settled]:
    """Return the latest batches of a job whose cost is known."""
    return _settled(connection.execute(_finished(job_id)).all())


def _settled(finished: Iterable[Any]) -> list[Settled]:
    """Return batches, each without the requests whose cost is not known."""
    return [
        Settled(
            requests=one.priced,
            tokens=one.tokens_in * one.priced // one.request_count,
            input_tokens=one.input_tokens * one.priced // one.request_count,
            cost_usd=int(one.cost_nano) * NANO,
        )
        for one in finished
        if one.cost_nano is not None and one.priced > 0
    ]


def _unsettled(states: Iterable[sa.RowMapping]) -> Planned:
    requests = tokens = cost_max = 0
    is_bounded = True
    for one in states:
        if one["state"] in TERMINAL or one["state"] == ChunkState.DUPLICATE:
            continue
        # Of batches that have ended some providers have told the cost; of the others it is known with their results.
        unsettled, chunks_there = one["chunks"] - one["with_fees"], one["chunks"]
        requests += int(one["requests"]) * unsettled // chunks_there
        tokens += int(one["tokens"]) * unsettled // chunks_there
        cost_max += int(one["cost_max"]) * unsettled // chunks_there
        is_bounded = is_bounded and one["bounded"] == chunks_there
    return Planned(requests=requests, tokens=tokens, cost_usd_max=cost_max * NANO if is_bounded else None)


def _decisions(connection: sa.Connection, job_id: JobId) -> Iterable[Decision]:
    unresolved = (C.job_id == job_id, C.state == ChunkState.UNRESOLVED)
    names = sa.select(C.id, C.request_count, C.cost_usd_max, C.sent_at, C.error).where(*unresolved)
    for one in connection.execute(names.order_by(C.sent_at, C.id).limit(DECISIONS_MAX)):
        yield Decision(
            chunk=one.id.rpartition("/")[2],
            rows=one.request_count,
            usd_max=one.cost_usd_max,
            sent_at=one.sent_at,
            reason=one.error,
        )


def _alive(connection: sa.Connection, job_id: JobId, now: datetime, *, is_run: bool) -> tuple[WorkerProcess, ...]:
    """Return the processes of the fleet, and the one that runs this job, as far as they were seen."""
    works: sa.ColumnElement[bool] = W.kind.in_(FLEET)
    if is_run:
        works = sa.or_(works, sa.and_(W.kind == Kind.RUN, W.job_id == job_id))
    query = sa.select(workers).where(works, W.seen_at >= now - timedelta(seconds=SEEN_S))
    return tuple(map(member_of, connection.execute(query.order_by(W.started_at, W.id)).mappings()))


def batches(
    connection: sa.Connection, job_id: JobId, *, groups: Sequence[Group] = tuple(Group), limit: int | None = None
) -> list[Batch]:
    """Return batches of a job: in the order of their groups, and of each group the oldest first."""
    return batches_where(connection, job_id, (), limit, groups)


def batches_where(
    connection: sa.Connection,
    job_id: JobId,
    where: Sequence[sa.ColumnElement[bool]],
    limit: int | None,
    groups: Sequence[Group] = tuple(Group),
) -> list[Batch]:
    """Return batches of a job that fulfil conditions, in the order of `groups`, and of each group the oldest first."""
    order = {state: groups.index(group) for state, group in GROUP_OF.items() if group in groups}
    query = (
        sa.select(chunks)
        .where(C.job_id == job_id, C.state.in_(order), *where)
        .order_by(sa.case(order, value=C.state), C.sent_at.is_(None), C.sent_at, C.id)
        .limit(limit)
    )
    return [_batch(row) for row in connection.execute(query).mappings()]


def _batch(row: sa.RowMapping) -> Batch:
    state, is_collected = ChunkState(row["state"]), row["state"] == ChunkState.COLLECTED
    return Batch(
        chunk=row["id"].rpartition("/")[2],
        group=GROUP_OF[state],
        state=state,
        rows=row["request_count"],
        batch_id=row["batch_id"],
        word=row["provider_status"],
        answered=row["succeeded"] + row["standing"] if is_collected else row["done_count"],
        failed=row["failed"],
        to_send_again=row["waiting"],
        sent_at=row["sent_at"],
        looked_at=row["looked_at"],
        next_at=row["due_at"],
        ended_at=row["ended_at"],
        reason=row["error"],
    )
