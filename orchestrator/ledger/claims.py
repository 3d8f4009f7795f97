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
from orchestrator.ledger.schema import Utc, accounts, chunks, jobs, shards

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
SHARD_STEPS: Final[Mapping[Step, sa.ColumnElement[bool]]] = MappingProxyType(
    {
        Step.FINISH: sa.and_(S.state == ShardState.PLANNED, S.settled_count == S.row_count, _MOVING_JOB),
        Step.PLAN: sa.and_(S.state == ShardState.PLANNING, _MOVING_JOB),
    }
)
JOB_STEPS: Final = (Step.SEAL, Step.RETRY, Step.REVIEW)

# The statements are made once: to build one anew takes SQLAlchemy longer than SQLite takes to answer it, and a runner
# asks several times a second whether anything is due.
_NOW: Final = sa.bindparam("now", type_=Utc())
_OF_JOB: Final = sa.or_(sa.bindparam("job_id", type_=sa.Text()).is_(None), J.id == sa.bindparam("job_id"))
_LIMIT: Final = sa.bindparam("limit", type_=sa.Integer())
# Jobs with room: the due units of the others must not fill the limit.
_ROOMY: Final[sa.BindParameter[Any]] = sa.bindparam("roomy", expanding=True)


def _free(table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.due_at <= _NOW, table.c.lease_until <= _NOW, _OF_JOB)


def _named(conditions: Mapping[Step, sa.ColumnElement[bool]]) -> sa.ColumnElement[Any]:
    return sa.case(*((condition, step.value) for step, condition in conditions.items()))


_DUE: Final = tuple(
    due.distinct()
    for due in (
        sa.select(_named(CHUNK_STEPS)).join_from(chunks, jobs, J.id == C.job_id).where(_free(chunks)),
        sa.select(_named(SHARD_STEPS)).join_from(shards, jobs, J.id == S.job_id).where(_free(shards)),
        sa.select(J.due).where(_free(jobs), _MOVING_JOB),
    )
)
_CHUNKS: Final = {
    step: sa.select(C.id, C.job_id, C.account, C.token)
    .join(jobs, J.id == C.job_id)
    .where(_free(chunks), condition, C.job_id.in_(_ROOMY) if step is Step.SUBMIT else sa.true())
    .order_by(C.due_at, C.id)
    .limit(_LIMIT)
    for step, condition in CHUNK_STEPS.items()
}
_SHARDS: Final = {
    step: sa.select(S.job_id, S.shard_no, S.token)
    .join(jobs, J.id == S.job_id)
    .where(
        _free(shards),
        condition,
        sa.or_(J.state == JobState.CANCELLING, S.job_id.in_(_ROOMY)) if step is Step.PLAN else sa.true(),
    )
    .order_by(S.due_at, S.job_id, S.shard_no)
    .limit(_LIMIT)
    for step, condition in SHARD_STEPS.items()
}
_JOBS: Final = (
    sa.select(J.id, J.token)
    .where(_free(jobs), J.due == sa.bindparam("step"), _MOVING_JOB)
    .order_by(J.due_at, J.id)
    .limit(_LIMIT)
)
_LEASES: Final = {
    table.name: sa.update(table)
    .where(*(key == sa.bindparam(f"the_{key.name}") for key in table.primary_key))
    .values(token=sa.bindparam("new_token"), lease_until=sa.bindparam("until"))
    for table in (chunks, shards, jobs)
}


class Claims:
    """One transaction's picking and handing out."""

    def __init__(self, tx: sa.Connection, *, now: datetime, until: datetime, job_id: JobId | None) -> None:
        self._tx = tx
        self._now = now
        self._until = until
        self._bound: dict[str, Any] = {"now": now, "job_id": job_id}
        self._of_job = sa.true() if job_id is None else J.id == job_id

    def take(self, steps: Collection[Step], limit: int) -> list[Claim]:
        """Hand out up to `limit` due steps, what brings results home before what sends more."""
        due = {name for query in _DUE for (name,) in self._tx.execute(query, self._bound)}
        wanted = due & {step.value for step in steps}
        picked: list[Claim] = []
        for kinds, pick in ((CHUNK_STEPS, self._chunks), (JOB_STEPS, self._jobs), (SHARD_STEPS, self._shards)):
            for step in kinds:
                if step.value in wanted and len(picked) < limit:
                    picked += pick(step, limit - len(picked))
        return picked

    def _rows(self, query: sa.Select[Any], limit: int, **bound: Any) -> Sequence[sa.RowMapping]:
        return self._tx.execute(query, self._bound | bound | {"limit": limit}).mappings().all()

    def _chunks(self, step: Step, limit: int) -> list[Claim]:
        taken: dict[str, int] = {}
        room = self._room_to_send(taken) if step is Step.SUBMIT else {}
        bound = {"roomy": list(room)} if step is Step.SUBMIT else {}
        claims = []
        for row in self._rows(_CHUNKS[step], limit, **bound):
            if step is Step.SUBMIT:
                if taken[row["account"]] >= room[row["job_id"]]:
                    continue
                taken[row["account"]] += 1
            unit = Unit(job_id=JobId(row["job_id"]), chunk_id=ChunkId(row["id"]))
            claims.append(Claim(unit=unit, step=step, token=self._lease(chunks, row)))
        return claims

    def _jobs(self, step: Step, limit: int) -> list[Claim]:
        return [
            Claim(unit=Unit(job_id=JobId(row["id"])), step=step, token=self._lease(jobs, row))
            for row in self._rows(_JOBS, limit, step=step.value)
        ]

    def _shards(self, step: Step, limit: int) -> list[Claim]:
        room = self._room_to_plan() if step is Step.PLAN else {}
        bound = {"roomy": list(room)} if step is Step.PLAN else {}
        claims = []
        for row in self._rows(_SHARDS[step], limit, **bound):
            job_id = JobId(row["job_id"])
            if job_id in room:
                if room[job_id] <= 0:
                    continue
                room[job_id] -= 1
            unit = Unit(job_id=job_id, shard_no=row["shard_no"])
            claims.append(Claim(unit=unit, step=step, token=self._lease(shards, row)))
        return claims

    def _lease(self, table: sa.Table, picked: sa.RowMapping) -> int:
        """Raise the unit's token, set its lease, and return the new token."""
        keys = {f"the_{key.name}": picked[key.name] for key in table.primary_key}
        token: int = picked["token"] + 1
        self._tx.execute(_LEASES[table.name], keys | {"new_token": token, "until": self._until})
        return token

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
