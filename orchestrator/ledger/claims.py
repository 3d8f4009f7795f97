"""Which steps are due, and handing them out: one transaction picks, raises the tokens, sets the leases, commits.

Rule 1: a step is due by what stands in the unit's own row, its job's state and its account's room; nowhere else.
Rule 2: creates are handed out only while the account has room: batches in flight and creates already handed out
        count against the job's `batches_in_flight_max`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.domain.model import IN_FLIGHT, ChunkId, ChunkState, Claim, JobId, JobState, ShardState, Step, Unit
from orchestrator.ledger import rows
from orchestrator.ledger.schema import accounts, chunks, jobs, shards

C, S, J = chunks.c, shards.c, jobs.c
_RUNNING = J.state == JobState.RUNNING
_LIVE_JOB = J.state.in_((JobState.RUNNING, JobState.STOPPED, JobState.CANCELLING))
_MOVING_JOB = J.state.in_((JobState.RUNNING, JobState.CANCELLING))
_UNSENT = C.state.in_((ChunkState.PLANNED, ChunkState.UPLOADED))
_CANCELLABLE = C.state.in_((ChunkState.PLANNED, ChunkState.UPLOADED, ChunkState.SPLITTING))

CHUNK_STEPS: Final[Mapping[Step, sa.ColumnElement[bool]]] = MappingProxyType(
    {
        Step.COLLECT: sa.and_(C.state == ChunkState.ENDED, _LIVE_JOB),
        Step.CANCEL: sa.and_(
            C.cancel_requested,
            sa.or_(_CANCELLABLE, sa.and_(C.state == ChunkState.SUBMITTED, sa.not_(C.cancel_sent))),
            _LIVE_JOB,
        ),
        Step.RECOVER: sa.and_(C.state.in_((ChunkState.SUBMITTING, ChunkState.IN_DOUBT, ChunkState.HELD)), _LIVE_JOB),
        Step.POLL: sa.and_(
            C.state == ChunkState.SUBMITTED, sa.or_(sa.not_(C.cancel_requested), C.cancel_sent), _LIVE_JOB
        ),
        Step.SPLIT: sa.and_(C.state == ChunkState.SPLITTING, sa.not_(C.cancel_requested), _RUNNING),
        Step.SUBMIT: sa.and_(_UNSENT, sa.not_(C.cancel_requested), _RUNNING),
    }
)
SHARD_STEPS: Final = (Step.FINISH, Step.PLAN)
JOB_STEPS: Final = (Step.SEAL, Step.RETRY, Step.REVIEW)


class Claims:
    """One transaction's picking and handing out."""

    def __init__(self, tx: sa.Connection, *, now: datetime, until: datetime, job_id: JobId | None) -> None:
        self._tx = tx
        self._now = now
        self._until = until
        self._of_job = sa.true() if job_id is None else J.id == job_id

    def take(self, steps: Collection[Step], limit: int) -> list[Claim]:
        """Hand out up to `limit` due steps, what brings results home before what sends more."""
        picked: list[Claim] = []
        for step, condition in CHUNK_STEPS.items():
            if step in steps and len(picked) < limit:
                picked += self._chunks(step, condition, limit - len(picked))
        for step in JOB_STEPS:
            if step in steps and len(picked) < limit:
                picked += self._jobs(step, limit - len(picked))
        for step in SHARD_STEPS:
            if step in steps and len(picked) < limit:
                picked += self._shards(step, limit - len(picked))
        return picked

    def _chunks(self, step: Step, condition: sa.ColumnElement[bool], limit: int) -> list[Claim]:
        taken: dict[str, int] = {}
        room = self._room_to_send(taken) if step is Step.SUBMIT else {}
        query = (
            sa.select(C.id, C.job_id, C.account, C.token)
            .join(jobs, J.id == C.job_id)
            .where(self._free(chunks), condition, C.job_id.in_(room) if step is Step.SUBMIT else sa.true())
            .order_by(C.due_at, C.id)
            .limit(limit)
        )
        claims = []
        for row in self._tx.execute(query).mappings().all():
            if step is Step.SUBMIT:
                if taken[row["account"]] >= room[row["job_id"]]:
                    continue
                taken[row["account"]] += 1
            unit = Unit(job_id=JobId(row["job_id"]), chunk_id=ChunkId(row["id"]))
            claims.append(Claim(unit=unit, step=step, token=self._lease(chunks, [C.id], row)))
        return claims

    def _jobs(self, step: Step, limit: int) -> list[Claim]:
        query = sa.select(J.id, J.token).where(self._free(jobs), J.due == step, _MOVING_JOB)
        return [
            Claim(unit=Unit(job_id=JobId(row["id"])), step=step, token=self._lease(jobs, [J.id], row))
            for row in self._tx.execute(query.order_by(J.due_at, J.id).limit(limit)).mappings().all()
        ]

    def _shards(self, step: Step, limit: int) -> list[Claim]:
        condition = sa.and_(S.state == ShardState.PLANNED, S.settled_count == S.row_count, _MOVING_JOB)
        room: dict[str, int] = {}
        if step is Step.PLAN:
            room = self._room_to_plan()
            condition = sa.and_(
                S.state == ShardState.PLANNING,
                sa.or_(sa.and_(_RUNNING, S.job_id.in_(room)), J.state == JobState.CANCELLING),
            )
        query = (
            sa.select(S.job_id, S.shard_no, S.token)
            .join(jobs, J.id == S.job_id)
            .where(self._free(shards), condition)
            .order_by(S.due_at, S.job_id, S.shard_no)
            .limit(limit)
        )
        claims = []
        for row in self._tx.execute(query).mappings().all():
            job_id = JobId(row["job_id"])
            if job_id in room:
                if room[job_id] <= 0:
                    continue
                room[job_id] -= 1
            unit = Unit(job_id=job_id, shard_no=row["shard_no"])
            claims.append(Claim(unit=unit, step=step, token=self._lease(shards, [S.job_id, S.shard_no], row)))
        return claims

    def _free(self, table: sa.Table) -> sa.ColumnElement[bool]:
        return sa.and_(
            table.c.due_at.is_not(None), table.c.due_at <= self._now, table.c.lease_until <= self._now, self._of_job
        )

    def _lease(self, table: sa.Table, keys: Sequence[sa.Column[Any]], picked: sa.RowMapping) -> int:
        """Raise the unit's token, set its lease, and return the new token."""
        where = [key == picked[key.name] for key in keys]
        token: int = picked["token"] + 1
        self._tx.execute(sa.update(table).where(*where).values(token=token, lease_until=self._until))
        return token

    # Jobs without room are left out of the query itself: their due units must not hide those of others behind them.

    def _room_to_send(self, taken: dict[str, int]) -> dict[str, int]:
        """Return the jobs that may send, with their `batches_in_flight_max`; `taken` gets what counts against it."""
        room: dict[str, int] = {}
        for job in (
            self._tx.execute(sa.select(J.id, J.account, J.policy).where(_RUNNING, self._of_job)).mappings().all()
        ):
            account = job["account"]
            if account not in taken:
                taken[account] = self._taken(account)
            in_flight_max = rows.policy_of(job["policy"]).batches_in_flight_max
            if taken[account] < in_flight_max and not self._paused(account):
                room[job["id"]] = in_flight_max
        return room

    def _room_to_plan(self) -> dict[str, int]:
        """Return the running jobs that may plan, with how many shards of each; a shard gives a chunk or more."""
        room: dict[str, int] = {}
        for job in self._tx.execute(sa.select(J.id, J.policy).where(_RUNNING, self._of_job)).mappings().all():
            busy = sa.select(sa.func.count()).where(
                S.job_id == job["id"], S.state == ShardState.PLANNING, S.lease_until > self._now
            )
            ahead = backlog(self._tx, job["id"]) + int(self._tx.execute(busy).scalar_one())
            if ahead < (ahead_max := rows.policy_of(job["policy"]).chunks_ahead_max):
                room[job["id"]] = ahead_max - ahead
        return room

    def _paused(self, account: str) -> bool:
        paused = self._tx.execute(sa.select(accounts.c.paused_until).where(accounts.c.name == account)).scalar()
        return paused is not None and paused > self._now

    def _taken(self, account: str) -> int:
        taken = sa.or_(C.state.in_(IN_FLIGHT), sa.and_(_UNSENT, C.lease_until > self._now))
        return int(self._tx.execute(sa.select(sa.func.count()).where(C.account == account, taken)).scalar_one())


def backlog(tx: sa.Connection, job_id: JobId) -> int:
    """Return how many chunks of the job are planned and not yet sent."""
    return int(tx.execute(sa.select(sa.func.count()).where(C.job_id == job_id, _UNSENT)).scalar_one())
