"""Writes the creates of chunks, and holds their money against the job's limits.

Rule: a comparison of money with a limit holds the job's lock (see `locks`), so that two amounts that fit only
separately do not both pass.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.domain.budget import Spending
from orchestrator.domain.changes import AttemptClosed, AttemptOpened
from orchestrator.domain.errors import BatchTaken, BudgetExhausted, LeaseLost
from orchestrator.domain.model import (
    TERMINAL,
    UNSENT,
    AttemptState,
    AttemptToken,
    BatchId,
    Canary,
    ChunkId,
    ChunkState,
    JobId,
    JobState,
    provider_of,
)
from orchestrator.ledger.db import rows
from orchestrator.ledger.db.schema import NANO, Usd, Utc, accounts, attempts, chunks, jobs
from orchestrator.ledger.db.statements import ADD, CLOSE

A, C, J = attempts.c, chunks.c, jobs.c
LIVE: Final = (AttemptState.OPEN, AttemptState.CREATED)  # there may be, or is, a batch
_LIVE: Final = tuple(state for state in ChunkState if state not in TERMINAL)
_UNSENT: Final = tuple(state for state in ChunkState if state in UNSENT)
# Until its canary has passed, a job sends nothing else.
AFTER_CANARY: Final = sa.or_(C.is_canary, J.canary.in_((Canary.NONE, Canary.PASSED)))
# What a request of a chunk may cost on average, in billionths of a USD, rounded up; 0 where nobody knows.
_ONE_REQUEST: Final = (
    sa.func.coalesce(sa.type_coerce(C.cost_usd_max, sa.BigInteger), 0) + C.request_count - 1
) // C.request_count
_MAY_SEND: Final = (
    sa.select(J.id)
    .join(accounts, accounts.c.name == J.account)
    .where(J.id == sa.bindparam("the_id"), J.state == JobState.RUNNING, J.paused_at.is_(None))
    .where(accounts.c.paused_until <= sa.bindparam("now", type_=Utc()))
)


def _total(amount: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
    # A plain integer sum: the columns' own type (money) would be applied to it a second time.
    return sa.cast(sa.func.coalesce(sa.func.sum(amount), 0), sa.BigInteger)


def _spent_usd(tx: sa.Connection, job_id: JobId) -> Decimal:
    """Return the job's money: settled, or reserved while it may still be charged."""
    counted = A.state.in_((AttemptState.OPEN, AttemptState.CREATED, AttemptState.ABANDONED))
    query = sa.select(_total(sa.func.coalesce(A.cost_usd, A.reserved_usd))).where(A.job_id == job_id, counted)
    return int(tx.execute(query).scalar_one()) * NANO


def may_send(connection: sa.Connection, job_id: JobId, now: datetime) -> bool:
    """Return whether the job is running, and neither it nor its account is paused."""
    return connection.execute(_MAY_SEND, {"the_id": job_id, "now": now}).first() is not None


def spending(connection: sa.Connection, job_id: JobId, *, now: datetime, beside: ChunkId | None = None) -> Spending:
    """Return what counts against a job's budget; what a leased chunk may cost is taken for reserved, but `beside`."""
    open_ones = A.state.in_((AttemptState.OPEN, AttemptState.CREATED))
    unsettled = (
        sa.select(_total(A.reserved_usd))
        .join(chunks, C.id == A.chunk_id)
        .where(A.job_id == job_id, open_ones, A.cost_usd.is_(None), C.state.in_(_LIVE))
    )
    being_sent = sa.select(_total(C.cost_usd_max)).where(
        C.job_id == job_id, C.state.in_(_UNSENT), C.lease_until > now, C.id != (beside or "")
    )
    waits = (C.job_id == job_id, C.state.in_(_UNSENT), sa.not_(C.cancel_requested))
    cheapest = (
        sa.select(sa.type_coerce(sa.func.min(_ONE_REQUEST), Usd()))
        .join(jobs, J.id == C.job_id)
        .where(*waits, AFTER_CANARY)
    )
    waiting = sa.select(_total(C.cost_usd_max)).where(*waits)
    cutting = sa.select(sa.exists().where(C.job_id == job_id, C.state == ChunkState.SPLITTING))
    reserved = int(connection.execute(unsettled).scalar_one()) * NANO
    return Spending(
        settled=_spent_usd(connection, job_id) - reserved,
        in_flight=reserved + int(connection.execute(being_sent).scalar_one()) * NANO,
        is_cutting=bool(connection.execute(cutting).scalar_one()),
        cheapest=connection.execute(cheapest).scalar_one(),
        waiting=int(connection.execute(waiting).scalar_one()) * NANO,
    )


def open_attempt(tx: sa.Connection, job_id: JobId, change: AttemptOpened) -> None:
    """Insert the intent to create. Raises BudgetExhausted."""
    attempt = change.attempt
    if change.budget_usd is not None:
        present = _spent_usd(tx, job_id)
        if present + attempt.reserved_usd > change.budget_usd:
            raise BudgetExhausted(
                f"job {job_id}: {present.normalize():f} USD are spent or reserved, "
                f"the next batch may cost {attempt.reserved_usd}, the budget is {change.budget_usd}"
            )
    tx.execute(ADD["attempts"], rows.attempt_values(job_id, _provider(tx, job_id), attempt))


def _provider(tx: sa.Connection, job_id: JobId) -> str:
    job = tx.execute(sa.select(J.account, J.spec).where(J.id == job_id)).one()
    return provider_of(job.account, job.spec)


def close_attempt(tx: sa.Connection, job_id: JobId, change: AttemptClosed, now: datetime) -> None:
    """Write the outcome of a create.

    Raises:
        LeaseLost: it was never opened, or a duplicate now exceeds the limit.
        BatchTaken: the batch is that of another create.
    """
    if change.state is AttemptState.ABANDONED:
        _refuse_beyond_duplicate_budget(tx, job_id, change.token)
    values: dict[str, Any] = {"state": change.state}
    if change.batch_id is not None:
        owner = _owner(tx, change.token, change.batch_id)
        if owner:
            raise _taken(change.batch_id, owner)
        values["batch_id"] = change.batch_id
    if change.cost_usd is not None:
        values["cost_usd"] = change.cost_usd
    if change.cost_usd is not None or change.state not in LIVE:
        values["settled_at"] = now
    try:
        found = tx.execute(CLOSE, values | {"the_token": change.token}).rowcount
    except sa.exc.IntegrityError:  # the other create was recorded between the check and the write (PostgreSQL)
        raise _taken(change.batch_id, "") from None
    if found != 1:
        raise LeaseLost(f"{change.token}: there is no such attempt")


def _refuse_beyond_duplicate_budget(tx: sa.Connection, job_id: JobId, token: AttemptToken) -> None:
    """Raise LeaseLost where the possible duplicate no longer fits `max_duplicate_usd`, as it did when decided on."""
    policy = rows.policy_of(tx.execute(sa.select(jobs.c.policy).where(jobs.c.id == job_id)).scalar_one())
    possibly_double_paid = sa.or_(A.state == AttemptState.ABANDONED, A.token == token)
    query = sa.select(_total(A.reserved_usd)).where(A.job_id == job_id, possibly_double_paid)
    if int(tx.execute(query).scalar_one()) * NANO > policy.max_duplicate_usd:
        raise LeaseLost(
            f"job {job_id}: other creates have used policy.max_duplicate_usd ({policy.max_duplicate_usd} USD)"
        )


def _owner(tx: sa.Connection, token: AttemptToken, batch_id: BatchId) -> str:
    """Return the chunk of another create that was answered with this batch at the same provider; "" where none was.

    It may be of any job, ended or not: what the batch has answered are its rows.
    """
    provider = sa.select(A.provider).where(A.token == token).scalar_subquery()
    query = sa.select(A.chunk_id).where(A.provider == provider, A.batch_id == batch_id, A.token != token)
    return tx.execute(query).scalar() or ""


def _taken(batch_id: BatchId | None, owner: str) -> BatchTaken:
    whose = f"chunk {owner}" if owner else "another chunk"
    return BatchTaken(
        f"the create was answered with batch {batch_id}, which is that of {whose}: something on the way may have "
        "repeated an earlier answer, the provider took two creates for one, or it was reset and counts its batches "
        "anew (then give its jobs a new work folder, --work)",
        owner,
    )
