"""The `Ledger` port over SQL: claims, reads, and guarded writes.

Rule 1: every write of a unit is compared with the version it was decided on; a mismatch raises LeaseLost and nothing is
        written. Correctness depends on this alone; the token and the lease only save work.
Rule 2: all changes of one step are written in one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.domain.budget import Spending
from orchestrator.domain.changes import (
    AccountPaused,
    AccountProved,
    AttemptClosed,
    AttemptOpened,
    Change,
    ChunkAdded,
    ChunkMoved,
    JobMoved,
    Noted,
    PollsPaused,
    QueueLearned,
    RowsSettled,
    ShardMoved,
)
from orchestrator.domain.errors import LeaseLost, LedgerError
from orchestrator.domain.model import (
    ENDED_JOBS,
    TERMINAL,
    AttemptState,
    BatchId,
    Canary,
    Chunk,
    ChunkId,
    ChunkState,
    Claim,
    Job,
    JobId,
    JobState,
    Shard,
    Step,
    Unit,
)
from orchestrator.ledger import account_limits, claims, creates, notices, totals
from orchestrator.ledger.batch_log import log_recorded
from orchestrator.ledger.db import rows
from orchestrator.ledger.db.database import Database, asked
from orchestrator.ledger.db.locks import lock_accounts, lock_job
from orchestrator.ledger.db.schema import attempts, chunk_shards, chunks, jobs
from orchestrator.ledger.db.statements import (
    ADD,
    ADD_FAILED,
    CALL_JOB,
    LET_GO,
    READ,
    RENEW,
    SETTLE,
    STILL_CLAIMED,
    SWAP,
    insert_rows,
    keys_of,
)
from orchestrator.ledger.rate_limits import Call, lock_rate_limits, use_until

A = attempts.c
_SINCE: Final = {ChunkState.ENDED: "ended_at", ChunkState.COLLECTED: "collected_at"}  # columns for reports


class SqlLedger:
    """The ledger in one SQL database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    due = asked(claims.due)
    may_send = asked(creates.may_send)
    backlog = asked(totals.backlog)
    outlook = asked(totals.outlook)
    history = asked(totals.history)
    contributions = asked(totals.contributions)
    planned = asked(totals.planned)
    canary = asked(totals.canary)
    waiting = asked(totals.waiting)
    duplicates = asked(totals.duplicates)
    shards = asked(totals.shards_of)
    totals = asked(totals.totals)  # last: from here on the name is the method's

    def claim(
        self, steps: Collection[Step], *, limit: int, now: datetime, lease_s: float, job_id: JobId | None = None
    ) -> list[Claim]:
        """Claim up to `limit` due steps of these kinds."""
        until = now + timedelta(seconds=lease_s)
        with self._database.write() as tx:
            return claims.Claims(tx, now=now, until=until, job_id=job_id).take(steps, limit)

    def renew(self, leases: Mapping[Claim, datetime]) -> frozenset[Claim]:
        """Extend each claim's lease; return the claims that still stand."""
        if not leases:
            return frozenset()
        with self._database.write() as tx:
            for job_id in sorted({claim.unit.job_id for claim in leases}):
                lock_job(tx, job_id)  # more than one unit is written: see `locks`
            return frozenset(claim for claim, until in leases.items() if _renew(tx, claim, until))

    def record(self, claim: Claim, *changes: Change, now: datetime, keep: bool = False) -> None:
        """Write all changes in one transaction, and release the claim unless `keep`."""
        table, keys = keys_of(claim.unit)
        bound = keys | {"the_token": claim.token}
        with self._database.write() as tx:
            _lock(tx, claim.unit, changes)
            if keep:
                _one(tx, STILL_CLAIMED[table.name], bound, claim.unit)
            else:
                _one(tx, LET_GO[table.name], bound, claim.unit)
            added = list[ChunkAdded]()
            for change in changes:
                if isinstance(change, ChunkAdded):
                    added.append(change)
                else:
                    _apply(tx, claim.unit.job_id, change, now)
            # Last: a step that lost a race has raised LeaseLost by then. Single inserts would take many times as long.
            if added:
                add_chunks(tx, claim.unit.job_id, added)
        log_recorded(claim.unit.job_id, changes, now=now)

    def job(self, job_id: JobId) -> Job:
        """Return the job."""
        return rows.job_of(self._read(Unit(job_id=job_id), job_id))

    def shard(self, job_id: JobId, shard_no: int) -> Shard:
        """Return the shard."""
        return rows.shard_of(self._read(Unit(job_id=job_id, shard_no=shard_no), f"{job_id} shard {shard_no}"))

    def chunk(self, chunk_id: ChunkId) -> Chunk:
        """Return the chunk."""
        unit = Unit(job_id=JobId(chunk_id.rpartition("/")[0]), chunk_id=chunk_id)
        return rows.chunk_of(self._read(unit, chunk_id))

    def spending(self, chunk: Chunk, *, now: datetime) -> Spending:
        """Return what counts against the budget of the chunk's job, besides the chunk itself."""
        with self._database.read() as connection:
            return creates.spending(connection, chunk.job_id, now=now, beside=chunk.id)

    def batches_since(self, sent_at: datetime) -> frozenset[BatchId]:
        """Return the batches of all jobs' creates that were sent at this time or later."""
        made = sa.select(A.batch_id).where(A.sent_at >= sent_at, A.batch_id.is_not(None))
        with self._database.read() as connection:
            return frozenset(map(BatchId, connection.execute(made).scalars()))

    def _read(self, unit: Unit, name: str) -> sa.RowMapping:
        table, keys = keys_of(unit)
        with self._database.read() as connection:
            row = connection.execute(READ[table.name], keys).mappings().one_or_none()
        if row is None:
            raise LedgerError(f"the ledger knows no {name}")
        return row


def _renew(tx: sa.Connection, claim: Claim, until: datetime) -> bool:
    table, keys = keys_of(claim.unit)
    return tx.execute(RENEW[table.name], keys | {"the_token": claim.token, "until": until}).rowcount == 1


def _one(tx: sa.Connection, update: sa.Update, bound: Mapping[str, Any], what: object) -> None:
    if tx.execute(update, bound).rowcount != 1:
        raise LeaseLost(f"{what}: another worker has changed it meanwhile")


def _lock(tx: sa.Connection, unit: Unit, changes: Collection[Change]) -> None:
    """Take the locks that these changes need besides their unit's own row, in the fixed order (see `locks`)."""
    concerned = {change.account for change in changes if isinstance(change, AccountPaused | QueueLearned)}
    proved = {change.account for change in changes if isinstance(change, AccountProved)}
    # Most accounts were never paused: their creates need not wait for each other.
    lock_accounts(tx, concerned | {account for account in proved if account_limits.is_probing(tx, account)})
    lock_rate_limits(tx, Call.POLL, {change.account for change in changes if isinstance(change, PollsPaused)})
    if any(_reaches_beyond(change, unit) for change in changes):
        lock_job(tx, unit.job_id)


def _reaches_beyond(change: Change, unit: Unit) -> bool:
    """Return whether a change needs the job's lock: it writes another unit, or depends on other units' data."""
    match change:
        case ChunkMoved():
            return change.before.id != unit.chunk_id or _concerns_job(change)
        case AttemptOpened():
            return change.budget_usd is not None
        case AttemptClosed():
            return change.state is AttemptState.ABANDONED
        case Noted() | AccountPaused() | AccountProved() | QueueLearned() | PollsPaused():
            return False
    return True


def _apply(tx: sa.Connection, job_id: JobId, change: Change, now: datetime) -> None:
    match change:
        case ChunkMoved():
            _move_chunk(tx, job_id, change, now)
        case ShardMoved():
            _move_shard(tx, change, now)
        case JobMoved():
            _move_job(tx, change, now)
        case AttemptOpened():
            creates.open_attempt(tx, job_id, change)
        case AttemptClosed():
            creates.close_attempt(tx, job_id, change, now)
        case RowsSettled(chunk_id=chunk_id, by_shard=by_shard, failed=failed):
            settle(tx, job_id, chunk_id, by_shard, failed)
        case AccountPaused() | AccountProved() | QueueLearned() | PollsPaused():
            _apply_to_account(tx, job_id, change, now)
        case Noted(name=name, details=details):
            note(tx, job_id, name, "", now, **details)
    if _concerns_job(change):
        tx.execute(CALL_JOB, {"the_id": job_id, "now": now})


def _apply_to_account(
    tx: sa.Connection, job_id: JobId, change: AccountPaused | AccountProved | QueueLearned | PollsPaused, now: datetime
) -> None:
    match change:
        case AccountPaused(account=account, reason=reason):
            if account_limits.pause(tx, change, now):
                note(tx, job_id, "account.paused", account, now, reason=reason)
            notices.of_pause(tx, job_id, change, now)
        case AccountProved():
            account_limits.proved(tx, change)
        case QueueLearned(account=account, in_flight_max=in_flight_max):
            account_limits.learn(tx, account, in_flight_max, now)
            note(tx, job_id, "account.queue_full", account, now, batches=in_flight_max)
        case PollsPaused(account=account, until=until):
            use_until(tx, Call.POLL, account, until)


def _concerns_job(change: Change) -> bool:
    """Return whether the job may have a next step because of this change."""
    if isinstance(change, ChunkMoved):
        return change.after.state in TERMINAL or change.after.state is ChunkState.UNRESOLVED
    return isinstance(change, RowsSettled | ShardMoved)


def _move_shard(tx: sa.Connection, change: ShardMoved, now: datetime) -> None:
    before, after = change.before, change.after
    unit = Unit(job_id=before.job_id, shard_no=before.shard_no)
    _swap(tx, unit, before.version, rows.shard_values(after) | {"due_at": change.due_at})
    refused = after.refused_count - before.refused_count
    if refused:
        tx.execute(SETTLE, keys_of(unit)[1] | {"more": refused})
    if before.state is not after.state:
        note(tx, before.job_id, f"shard.{after.state}", str(after.shard_no), now)


def _move_job(tx: sa.Connection, change: JobMoved, now: datetime) -> None:
    before, after = change.before, change.after
    if after.state is JobState.STOPPED and before.state is not JobState.STOPPED:
        _stop_job(tx, change, now)
        return
    values = rows.job_values(after) | {"due_at": change.due_at}
    del values["policy"]  # no step changes it, and another version may have added fields to it
    if before.state is not after.state:
        values |= {"ended_at": now, "paused_at": None if after.state in ENDED_JOBS else after.paused_at}
        note(tx, before.id, f"job.{after.state}", "", now, reason=after.reason)
        notices.of_job(tx, before.id, after.state, now, reason=after.reason, decision="")
    _swap(tx, Unit(job_id=before.id), before.version, values)


def _stop_job(tx: sa.Connection, change: JobMoved, now: datetime) -> None:
    """Stop a job, even if it has changed since it was read; an earlier stop or cancel is kept.

    But a stop that needs a decision replaces one that needs none: the job must not go on without the decision.

    Several steps of chunks and shards may stop a job at once, beside a review of it. Losing a race against one of them
    must not discard the step's other changes, such as the refusal of a create.
    """
    before, after = change.before, change.after
    why = {"reason": after.reason, "decision": after.decision}
    values = why | {"state": after.state, "due": after.due, "due_at": change.due_at, "ended_at": now}
    kept = jobs.c.state == before.state
    if after.decision:
        kept = sa.or_(kept, sa.and_(jobs.c.state == JobState.STOPPED, jobs.c.decision == ""))
    stop = sa.update(jobs).where(jobs.c.id == before.id, kept)
    if tx.execute(stop.values(**values, version=jobs.c.version + 1)).rowcount:
        note(tx, before.id, f"job.{after.state}", "", now, reason=after.reason)
        notices.of_job(tx, before.id, after.state, now, **why)


def _swap(tx: sa.Connection, unit: Unit, version: int, values: dict[str, Any]) -> None:
    table, keys = keys_of(unit)
    bound = values | keys | {"the_version": version, "version": version + 1}
    _one(tx, SWAP[table.name], bound, f"{table.name} version {version}")


def _move_chunk(tx: sa.Connection, job_id: JobId, change: ChunkMoved, now: datetime) -> None:
    before, after = change.before, change.after
    values = rows.chunk_values(after) | {"due_at": change.due_at}
    if after.tally.waiting and not before.tally.waiting:
        values["waiting_since"] = now
    if after.state is not before.state and after.state in _SINCE:
        values[_SINCE[after.state]] = now
    _swap(tx, Unit(job_id=job_id, chunk_id=before.id), before.version, values)
    if after.state is before.state:
        return
    details: dict[str, str | int] = {"attempt": after.attempt, "error": rows.shortened(after.error)}
    note(tx, job_id, f"chunk.{after.state}", after.name, now, **details, **rows.event_details(after))
    if after.state is ChunkState.UNRESOLVED:
        notices.of_unresolved(tx, job_id, after.error, now)
    if after.state in (ChunkState.FAILED, ChunkState.CANCELLED):
        covers = chunk_shards.c.chunk_id == after.id
        counts = tx.execute(sa.select(chunk_shards.c.shard_no, chunk_shards.c.row_count).where(covers))
        covered = {row.shard_no: row.row_count for row in counts}
        settle(tx, job_id, after.id, covered, {} if after.improves else covered)


def add_chunks(tx: sa.Connection, job_id: JobId, changes: Collection[ChunkAdded]) -> None:
    """Insert chunks of a job, and their rows by shard."""
    job = tx.execute(sa.select(jobs.c.account, jobs.c.state).where(jobs.c.id == job_id)).one()
    is_cancelled = job.state == JobState.CANCELLING  # the cancel may have come before the chunk
    new = (rows.new_chunk(change, job.account, cancel_requested=is_cancelled) for change in changes)
    insert_rows(tx, chunks, rows.NEW_CHUNK, new)
    covered = (row for change in changes for row in rows.new_chunk_shards(change))
    insert_rows(tx, chunk_shards, rows.NEW_CHUNK_SHARD, covered)
    for change in changes:
        if change.chunk.state is ChunkState.REUSED:
            settle(tx, job_id, change.chunk.id, change.rows_by_shard, {})
    if any(change.chunk.is_canary for change in changes):
        wanted = (jobs.c.id == job_id, jobs.c.canary == Canary.WANTED)
        tx.execute(sa.update(jobs).where(*wanted).values(canary=Canary.OPEN, version=jobs.c.version + 1))


def settle(
    tx: sa.Connection, job_id: JobId, chunk_id: ChunkId, by_shard: Mapping[int, int], failed: Mapping[int, int]
) -> None:
    """Add to the shards' settled rows and to the chunk's failed rows, by shard."""
    for shard_no, count in sorted(by_shard.items()):
        tx.execute(SETTLE, {"the_job_id": job_id, "the_shard_no": shard_no, "more": count})
    for shard_no, count in sorted(failed.items()):
        tx.execute(ADD_FAILED, {"the_chunk_id": chunk_id, "the_shard_no": shard_no, "more": count})


def note(tx: sa.Connection, job_id: JobId, name: str, unit: str, now: datetime, **details: str | int) -> None:
    """Append an event to the job's timeline."""
    kept = {key: value for key, value in details.items() if value not in ("", None)}
    event = {"job_id": job_id, "at": now, "name": name, "unit": unit, "details": json.dumps(kept)}
    tx.execute(ADD["events"], event)
