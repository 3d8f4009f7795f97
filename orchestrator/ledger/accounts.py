"""Reads what there is to say of accounts, in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from orchestrator.domain.accounts import AccountJob, AccountLook, AccountRate
from orchestrator.domain.model import ACTIVE_JOBS, IN_FLIGHT, UNSENT, ChunkState, JobId, JobState
from orchestrator.ledger import account_limits
from orchestrator.ledger.db import rows
from orchestrator.ledger.db.schema import EPOCH, accounts, chunks, jobs
from orchestrator.ledger.rate_limits import Call, RateLimit, rate_limits_of

A, C, J = accounts.c, chunks.c, jobs.c
_ACTIVE: Final = J.state.in_(sorted(ACTIVE_JOBS))
# Of one account after the other, by an index: the chunks that have ended are not read.
_COUNTS: Final = (
    sa.select(C.job_id, C.state, sa.func.count(), sa.func.min(C.due_at, type_=C.due_at.type))
    .where(C.account == sa.bindparam("account"), C.state.in_(sorted(IN_FLIGHT | UNSENT)))
    .group_by(C.job_id, C.state)
)


def account_looks(connection: sa.Connection, *, now: datetime) -> list[AccountLook]:
    """Return all accounts that jobs were opened with, those first that are in use."""
    active: dict[str, list[sa.RowMapping]] = defaultdict(list)
    for row in connection.execute(sa.select(jobs).where(_ACTIVE).order_by(J.created_at, J.id)).mappings():
        active[row["account"]].append(row)
    limits = {call: rate_limits_of(connection, call) for call in Call}
    found = []
    for row in connection.execute(sa.select(accounts).order_by(A.name)).mappings():
        name = row["name"]
        is_paused = row["paused_until"] > now
        found.append(
            AccountLook(
                name=name,
                at=now,
                pause=account_limits.pause_words(row) if is_paused else "",
                paused_until=row["paused_until"] if is_paused else None,
                pause_count=row["pause_count"],
                needs_person=is_paused and bool(row["needs_person"]),
                is_probing=bool(row["is_probing"]),
                learned_max=account_limits.capacity(connection, name, now),
                learned_at=row["learned_at"] if row["learned_at"] > EPOCH else None,
                rates=tuple(_rates({call: of[name] for call, of in limits.items() if name in of}, now)),
                jobs=tuple(_jobs(connection, name, active[name])) if name in active else (),
            )
        )
    return sorted(found, key=lambda one: (not one.jobs, one.name))


def _rates(limits: dict[Call, RateLimit], now: datetime) -> Iterator[AccountRate]:
    for call, limit in limits.items():
        next_at = limit.next_at(now)
        if limit.per_minute_max is not None or next_at is not None:
            yield AccountRate(calls=call.value, per_minute_max=limit.per_minute_max, next_at=next_at)


def _jobs(connection: sa.Connection, account: str, active: list[sa.RowMapping]) -> list[AccountJob]:
    """Return the jobs of an account in the order of their turns: the longest due chunk is sent first."""
    counts: dict[str, dict[ChunkState, int]] = defaultdict(dict)
    turn: dict[str, datetime] = {}
    for job_id, state, count, due_at in connection.execute(_COUNTS, {"account": account}):
        counts[job_id][ChunkState(state)] = count
        if ChunkState(state) in UNSENT and due_at is not None:
            turn[job_id] = min(due_at, turn.get(job_id, due_at))
    found = [
        AccountJob(
            job_id=JobId(row["id"]),
            name=row["name"],
            state=JobState(row["state"]),
            is_paused=row["paused_at"] is not None,
            in_flight=sum(count for state, count in counts[row["id"]].items() if state in IN_FLIGHT),
            unresolved=counts[row["id"]].get(ChunkState.UNRESOLVED, 0),
            unsent=sum(count for state, count in counts[row["id"]].items() if state in UNSENT),
            in_flight_max=rows.policy_of(row["policy"]).batches_in_flight_max,
        )
        for row in active
    ]
    sends = {one.job_id for one in found if one.state is JobState.RUNNING and not one.is_paused}
    return sorted(found, key=lambda one: (one.job_id not in turn.keys() & sends, turn.get(one.job_id, EPOCH)))
