"""Finds due steps and claims them: one transaction picks units, raises their tokens, sets leases, commits.

Rule 1: whether a step is due depends only on the unit's own row, its job's state and its account's capacity.
Rule 2: creates are claimed only while the account has capacity: batches in flight and creates already claimed count
        against the job's `batches_in_flight_max`. Counting holds the account's lock, so that two concurrent claims
        do not both take the last place.
Rule 3: polls and creates are claimed only within the account's rate limits (`rate_limits`), the longest due first:
        with many batches in flight each is polled less often, and none is skipped for ever.
        A chunk that does not fit its job's budget is not claimed: it stays due until batches have settled (`budget`).
Rule 4: picking waits for no lock: units that another transaction has locked are skipped, and stay due.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.domain.budget import Spending, Verdict, judge
from orchestrator.domain.model import (
    ACTIVE_JOBS,
    IN_FLIGHT,
    RECOVERABLE,
    UNSENT,
    Canary,
    ChunkState,
    Claim,
    JobId,
    JobState,
    ShardState,
    Step,
)
from orchestrator.domain.policy import Policy
from orchestrator.ledger import account_limits, creates, totals
from orchestrator.ledger.db import rows
from orchestrator.ledger.db.locks import has_row_locks, lock_accounts
from orchestrator.ledger.db.schema import Usd, Utc, accounts, chunks, jobs, shards
from orchestrator.ledger.db.statements import unit_of
from orchestrator.ledger.rate_limits import Call, RateLimits

C, S, J = chunks.c, shards.c, jobs.c
_RUNNING = J.state == JobState.RUNNING
_LIVE_JOB = J.state.in_([state for state in JobState if state in ACTIVE_JOBS])
_MOVING_JOB = J.state.in_((JobState.RUNNING, JobState.CANCELLING))
_UNSENT = C.state.in_([state for state in ChunkState if state in UNSENT])
_NOT_PAUSED = J.paused_at.is_(None)  # by a person
_CANCELLABLE = C.state.in_((ChunkState.PLANNED, ChunkState.UPLOADED, ChunkState.SPLITTING, ChunkState.SUBMITTED))

CHUNK_STEPS: Final[Mapping[Step, sa.ColumnElement[bool]]] = MappingProxyType(
    {
        Step.COLLECT: sa.and_(C.state == ChunkState.ENDED, _LIVE_JOB),
        Step.CANCEL: sa.and_(
            C.cancel_requested,
            _CANCELLABLE,
            sa.or_(C.state != ChunkState.SUBMITTED, sa.not_(C.cancel_sent)),
            _LIVE_JOB,
        ),
        Step.RECOVER: sa.and_(C.state.in_([state for state in ChunkState if state in RECOVERABLE]), _LIVE_JOB),
        Step.POLL: sa.and_(
            C.state == ChunkState.SUBMITTED, sa.or_(sa.not_(C.cancel_requested), C.cancel_sent), _LIVE_JOB
        ),
        Step.SPLIT: sa.and_(C.state == ChunkState.SPLITTING, sa.not_(C.cancel_requested), _RUNNING),
        Step.SUBMIT: sa.and_(_UNSENT, sa.not_(C.cancel_requested), _RUNNING, _NOT_PAUSED, creates.AFTER_CANARY),
    }
)
SHARD_STEPS: Final[Mapping[Step, sa.ColumnElement[bool]]] = MappingProxyType(
    {
        Step.FINISH: sa.and_(S.state == ShardState.PLANNED, S.settled_count == S.row_count, _MOVING_JOB),
        Step.PLAN: sa.and_(S.state == ShardState.PLANNING, _MOVING_JOB),
    }
)
_RATE_LIMITED: Final[Mapping[Step, Call]] = MappingProxyType({Step.SUBMIT: Call.CREATE, Step.POLL: Call.POLL})
_BOUNDED: Final = frozenset({Step.SUBMIT, Step.PLAN})  # claimed only while there is capacity
JOB_STEPS: Final = (Step.SEAL, Step.RETRY, Step.REVIEW)

# The statements are built once: building one takes SQLAlchemy longer than SQLite takes to answer it, and a runner asks
# several times a second whether anything is due.
_NOW: Final = sa.bindparam("now", type_=Utc())
_OF_JOB: Final = sa.or_(sa.bindparam("job_id", type_=sa.Text()).is_(None), J.id == sa.bindparam("job_id"))
_UNITS: Final = sa.func.count().label("units")
_LIMIT: Final = sa.bindparam("limit", type_=sa.Integer())
# Only jobs with capacity: the due units of the others must not fill the limit.
_WITH_CAPACITY: Final[sa.BindParameter[Any]] = sa.bindparam("with_capacity", expanding=True)


def _free(table: sa.Table, now: sa.ColumnElement[Any] = _NOW) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.due_at <= now, table.c.lease_until <= now)


def _exists(step: Step, table: sa.Table, condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
    units = table.join(jobs, J.id == table.c.job_id)
    return sa.select(sa.literal(step.value)).where(
        sa.exists().select_from(units).where(_free(table), _OF_JOB, condition)
    )


# Ten thousand batches, or a hundred thousand shards, may be due at once: the query stops at one unit of each kind.
_DUE: Final = sa.union_all(
    sa.select(J.due).where(_free(jobs), _OF_JOB, _MOVING_JOB).distinct(),
    *(_exists(step, chunks, condition) for step, condition in CHUNK_STEPS.items()),
    *(_exists(step, shards, condition) for step, condition in SHARD_STEPS.items()),
)
_CHUNKS: Final = {
    step: sa.select(C.id, C.job_id, C.account, C.token, C.due_at, C.cost_usd_max, C.request_count)
    .join(jobs, J.id == C.job_id)
    .where(_free(chunks), _OF_JOB, condition, C.job_id.in_(_WITH_CAPACITY) if step is Step.SUBMIT else sa.true())
    .order_by(C.due_at, C.id)
    .limit(_LIMIT)
    .with_for_update(of=chunks, skip_locked=True)
    for step, condition in CHUNK_STEPS.items()
}
_UPLOADED: Final = _CHUNKS[Step.SUBMIT].where(C.state == ChunkState.UPLOADED)
_RATE_LIMITED_POLLS: Final = _CHUNKS[Step.POLL].where(C.account.not_in(sa.bindparam("waiting", expanding=True)))
# Of a job with a budget: chunks that fit the rest of it, and such as will never fit, which are cut or stop the job.
_ROOM: Final = sa.bindparam("room", type_=Usd())
_FITS: Final = sa.or_(C.cost_usd_max.is_(None), C.cost_usd_max <= _ROOM)
_NEVER_FITS: Final = sa.and_(C.cost_usd_max > sa.bindparam("possible", type_=Usd()), sa.bindparam("is_idle") == 1)
_WITHIN_BUDGET: Final = (
    _CHUNKS[Step.SUBMIT]
    .where(sa.or_(_FITS, _NEVER_FITS))
    .order_by(None)
    .order_by(sa.case((_FITS, 0), (C.request_count > 1, 1), else_=2), sa.case((_FITS, None), else_=C.cost_usd_max))
    .order_by(C.due_at, C.id)
)
# Of a job that sends equal requests once, the first shard that is not planned: equal requests are then earlier ones.
_EARLIER: Final = shards.alias()
_IN_ORDER: Final = sa.or_(
    S.job_id.not_in(sa.bindparam("in_order", expanding=True)),
    sa.not_(
        sa.exists().where(
            _EARLIER.c.job_id == S.job_id, _EARLIER.c.shard_no < S.shard_no, _EARLIER.c.state == ShardState.PLANNING
        )
    ),
)
_SHARDS: Final = {
    step: sa.select(S.job_id, S.shard_no, S.token)
    .join(jobs, J.id == S.job_id)
    .where(
        _free(shards),
        _OF_JOB,
        condition,
        sa.or_(J.state == JobState.CANCELLING, sa.and_(S.job_id.in_(_WITH_CAPACITY), _IN_ORDER))
        if step is Step.PLAN
        else sa.true(),
    )
    .order_by(S.due_at, S.job_id, S.shard_no)
    .limit(_LIMIT)
    .with_for_update(of=shards, skip_locked=True)
    for step, condition in SHARD_STEPS.items()
}
_JOBS: Final = (
    sa.select(J.id, J.token)
    .where(_free(jobs), _OF_JOB, J.due == sa.bindparam("step"), _MOVING_JOB)
    .order_by(J.due_at, J.id)
    .limit(_LIMIT)
    .with_for_update(of=jobs, skip_locked=True)
)
_LEASES: Final = {
    table.name: sa.update(table)
    .where(*(key == sa.bindparam(f"the_{key.name}") for key in table.primary_key))
    .values(token=sa.bindparam("new_token"), lease_until=sa.bindparam("until"))
    for table in (chunks, shards, jobs)
}


def due(connection: sa.Connection, *, now: datetime, job_id: JobId | None = None) -> frozenset[Step]:
    """Return the kinds of steps of which at least one is due and free."""
    found = connection.execute(_DUE, {"now": now, "job_id": job_id}).scalars()
    return frozenset(Step(name) for name in found if name is not None)


class Claims:
    """The claims of one transaction."""

    def __init__(self, tx: sa.Connection, *, now: datetime, until: datetime, job_id: JobId | None) -> None:
        self._tx = tx
        self._now = now
        self._until = until
        self._bound: dict[str, Any] = {"now": now, "job_id": job_id}
        self._of_job = sa.true() if job_id is None else J.id == job_id
        self._rate_limits: dict[Step, RateLimits] = {}
        self._budgets: dict[str, Decimal] = {}  # of running jobs that have one
        self._spent: dict[str, Spending] = {}

    def take(self, steps: Collection[Step], limit: int) -> list[Claim]:
        """Claim up to `limit` due steps; steps that collect results come before steps that send more."""
        if _BOUNDED.intersection(steps) and has_row_locks(self._tx):
            # Before anything is picked: a transaction that waits here must hold no lock that another one waits for.
            names = self._tx.execute(sa.select(J.account).where(_RUNNING, self._of_job).distinct()).scalars()
            lock_accounts(self._tx, names.all())
        for step, call in _RATE_LIMITED.items():
            if step in steps:
                self._rate_limits[step] = RateLimits(self._tx, call, self._now)
        picked: list[Claim] = []
        for kinds, pick in ((CHUNK_STEPS, self._chunks), (JOB_STEPS, self._jobs), (SHARD_STEPS, self._shards)):
            for step in kinds:
                if step in steps and len(picked) < limit:
                    picked += pick(step, limit - len(picked))
        return picked

    def _rows(self, query: sa.Select[Any], limit: int, **bound: Any) -> Sequence[sa.RowMapping]:
        return self._tx.execute(query, self._bound | bound | {"limit": limit}).mappings().all()

    def _chunks(self, step: Step, limit: int) -> list[Claim]:
        if step is Step.POLL:
            return self._lease(chunks, step, self._polls(limit))
        if step is not Step.SUBMIT:
            return self._lease(chunks, step, self._rows(_CHUNKS[step], limit))
        taken: dict[str, int] = {}
        permits = self._rate_limits[Step.SUBMIT].permits(limit)
        probing = [
            account for account, count in permits.items() if count and account_limits.is_probing(self._tx, account)
        ]
        permits |= {account: account_limits.probes(self._tx, account, self._now) for account in probing}
        room = self._capacity_to_send(taken, permits)
        # While an account is tried, what is uploaded comes first: it is the create that tells.
        first = self._rows(_UPLOADED, limit, with_capacity=list(room)) if probing else ()
        picked = []
        for row in (*first, *self._unsent(list(room), limit)):
            account = row["account"]
            is_free = taken[account] < room[row["job_id"]] and permits[account] and row not in picked
            if is_free and self._within_budget(row):
                taken[account] += 1
                permits[account] -= 1
                picked.append(row)
        for account, count in Counter(row["account"] for row in picked).items():
            self._rate_limits[Step.SUBMIT].take(account, count)
        return self._lease(chunks, step, picked)

    def _unsent(self, job_ids: Collection[str], limit: int) -> list[sa.RowMapping]:
        """Return unsent chunks of these jobs, of those with a budget only such as are to be handed out now."""
        free = [job_id for job_id in job_ids if job_id not in self._budgets]
        found = list(self._rows(_CHUNKS[Step.SUBMIT], limit, with_capacity=free)) if free else []
        for job_id in job_ids:
            if (budget := self._budgets.get(job_id)) is None:
                continue
            spent = self._spent[job_id] = creates.spending(self._tx, JobId(job_id), now=self._now)
            possible = budget - spent.settled
            bound = {"room": possible - spent.in_flight, "possible": possible, "is_idle": int(not spent.in_flight)}
            found += self._rows(_WITHIN_BUDGET, limit, with_capacity=[job_id], **bound)
        # Those that fit come first: a job does not stop for a request while there is another that fits.
        return sorted(found, key=lambda row: (*self._beyond(row), row["due_at"], row["id"]))

    def _beyond(self, row: sa.RowMapping) -> tuple[int, Decimal]:
        """Return 0 for a chunk that fits the budget, 1 and its cost for one to be cut, 2 for a single request."""
        if self._verdict(row) is Verdict.FITS:
            return 0, Decimal(0)
        return 1 if row["request_count"] > 1 else 2, row["cost_usd_max"]

    def _verdict(self, row: sa.RowMapping) -> Verdict:
        if (budget := self._budgets.get(row["job_id"])) is None:
            return Verdict.FITS
        return judge(budget, self._spent[row["job_id"]], row["cost_usd_max"], row["request_count"])

    def _within_budget(self, row: sa.RowMapping) -> bool:
        """Return whether a chunk is handed out: it fits, or it is to be cut, or it stops its job."""
        verdict = self._verdict(row)
        if (spent := self._spent.get(row["job_id"])) is not None:
            cost = (row["cost_usd_max"] or Decimal(0)) if verdict is Verdict.FITS else Decimal(0)
            self._spent[row["job_id"]] = replace(
                spent, in_flight=spent.in_flight + cost, is_cutting=spent.is_cutting or verdict is Verdict.IS_CUT
            )
        return verdict is not Verdict.WAITS

    def _polls(self, limit: int) -> list[sa.RowMapping]:
        """Pick polls, for each account as many as it has permits."""
        permits = self._rate_limits[Step.POLL].permits(limit)
        waiting = [account for account, count in permits.items() if not count]
        if len(waiting) == len(permits):
            return []
        query, bound = (_RATE_LIMITED_POLLS, {"waiting": waiting}) if waiting else (_CHUNKS[Step.POLL], {})
        picked, taken = list[sa.RowMapping](), dict.fromkeys(permits, 0)
        for row in self._rows(query, limit, **bound):
            # A job that was opened since the limits were read has an account that is not among them.
            account = row["account"]
            if taken.get(account, 0) < permits.get(account, 0):
                taken[account] += 1
                picked.append(row)
        for account, count in taken.items():
            self._rate_limits[Step.POLL].take(account, count)
        return picked

    def _jobs(self, step: Step, limit: int) -> list[Claim]:
        return self._lease(jobs, step, self._rows(_JOBS, limit, step=step.value))

    def _shards(self, step: Step, limit: int) -> list[Claim]:
        if step is not Step.PLAN:
            return self._lease(shards, step, self._rows(_SHARDS[step], limit))
        room, in_order = self._capacity_to_plan()
        picked = []
        for row in self._rows(_SHARDS[step], limit, with_capacity=list(room), in_order=in_order):
            if (job_id := row["job_id"]) in room:
                if room[job_id] <= 0:
                    continue
                room[job_id] -= 1
            picked.append(row)
        return self._lease(shards, step, picked)

    def _lease(self, table: sa.Table, step: Step, picked: Sequence[sa.RowMapping]) -> list[Claim]:
        """Raise the units' tokens, set their leases, and return the claims on them."""
        keys = [{f"the_{key.name}": row[key.name] for key in table.primary_key} for row in picked]
        leases = [
            key | {"new_token": row["token"] + 1, "until": self._until} for key, row in zip(keys, picked, strict=True)
        ]
        if leases:
            self._tx.execute(_LEASES[table.name], leases)
        return [Claim(unit=unit_of(table, row), step=step, token=row["token"] + 1) for row in picked]

    def _capacity_to_send(self, taken: dict[str, int], permits: Mapping[str, int]) -> dict[str, int]:
        """Return the jobs that may send, with their `batches_in_flight_max`; `taken` gets the count against it."""
        room: dict[str, int] = {}
        for job in (
            self._tx.execute(sa.select(J.id, J.account, J.policy).where(_RUNNING, self._of_job)).mappings().all()
        ):
            account, policy = job["account"], rows.policy_of(job["policy"])
            if account not in taken:
                taken[account] = self._taken(account)
            if policy.budget_usd is not None:
                self._budgets[job["id"]] = policy.budget_usd
            in_flight_max = self._in_flight_max(account, policy)
            if taken[account] < in_flight_max and permits.get(account) and not self._paused(account):
                room[job["id"]] = in_flight_max
        return room

    def _capacity_to_plan(self) -> tuple[dict[str, int], list[str]]:
        """Return the running jobs that may plan, with the number of shards for each; a shard gives a chunk or more.

        And of these the jobs whose shards are planned in order, one at a time, as they send equal requests once. Until
        its canary is planned, any job plans one shard at a time, so that only one shard gives the canary.
        """
        room, in_order = dict[str, int](), list[str]()
        of_jobs = sa.select(J.id, J.policy, J.canary).where(_RUNNING, self._of_job)
        for job in self._tx.execute(of_jobs).mappings().all():
            busy = sa.select(sa.func.count()).where(
                S.job_id == job["id"], S.state == ShardState.PLANNING, S.lease_until > self._now
            )
            ahead = totals.backlog(self._tx, job["id"]) + int(self._tx.execute(busy).scalar_one())
            policy = rows.policy_of(job["policy"])
            ahead_max = 1 if job["canary"] == Canary.WANTED else policy.chunks_ahead_max
            if ahead < ahead_max:
                room[job["id"]] = ahead_max - ahead
                in_order += [job["id"]] if policy.dedupe else []
        return room, in_order

    def _in_flight_max(self, account: str, policy: Policy) -> int:
        """Return how many batches the account may have in flight: the policy's limit, or what was learned."""
        learned = account_limits.capacity(self._tx, account, self._now)
        return policy.batches_in_flight_max if learned is None else min(policy.batches_in_flight_max, learned)

    def _paused(self, account: str) -> bool:
        paused = self._tx.execute(sa.select(accounts.c.paused_until).where(accounts.c.name == account)).scalar()
        return paused is not None and paused > self._now

    def _taken(self, account: str) -> int:
        # Counted apart: the first is answered by an index alone, the second reads few rows.
        counts = (
            sa.select(sa.func.count()).where(C.account == account, taken).scalar_subquery()
            for taken in (C.state.in_(IN_FLIGHT), sa.and_(_UNSENT, C.lease_until > self._now))
        )
        return sum(self._tx.execute(sa.select(*counts)).one())


def due_counts(now: sa.ColumnElement[Any] = _NOW) -> sa.CompoundSelect[Any]:
    """Return the query that counts due and free units by step, whether or not their accounts have capacity."""
    return sa.union_all(
        sa.select(J.due.label("step"), _UNITS).where(_free(jobs, now), _MOVING_JOB).group_by(J.due),
        *(_counted(step, chunks, condition, now) for step, condition in CHUNK_STEPS.items()),
        *(_counted(step, shards, condition, now) for step, condition in SHARD_STEPS.items()),
    )


def _counted(
    step: Step, table: sa.Table, condition: sa.ColumnElement[bool], now: sa.ColumnElement[Any]
) -> sa.Select[str, int]:
    units = table.join(jobs, J.id == table.c.job_id)
    return sa.select(sa.literal(step.value), _UNITS).select_from(units).where(_free(table, now), condition)


DUE_COUNTS: Final = due_counts()
