"""The processes that work on a ledger, the due units of their queues, and unexpected failures of steps.

Rule: the list of processes is for reports and for checks at the start. No guarantee depends on it; a process may have
died without removing itself.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from orchestrator.domain import retry
from orchestrator.domain.errors import LeaseLost
from orchestrator.domain.model import ChunkId, Claim, JobId, JobState, Step, Unit
from orchestrator.domain.queues import QUEUE_OF, Queue
from orchestrator.domain.workers import FLEET, SEEN_S, Doing, Kind, WorkerProcess
from orchestrator.ledger import claims, notices
from orchestrator.ledger.db.database import Database
from orchestrator.ledger.db.locks import add_new
from orchestrator.ledger.db.schema import STEP_FAILED, events, jobs, meta, workers
from orchestrator.ledger.db.statements import GIVE_UP, PUT_OFF, START, keys_of
from orchestrator.ledger.steps import note

W = workers.c
FORGOTTEN_AFTER: Final = timedelta(days=1)
COUNTED: Final = timedelta(hours=1)
GIVEN_UP: Final = timedelta(hours=1)  # until a step that kills its workers is due again (and then not begun)
DOING_MAX: Final = 8  # steps of a process that are told
LEDGER_ID: Final = "ledger_id"
_STOP_ASKED: Final = sa.select(W.stop_asked).where(W.id == sa.bindparam("the_id"))


class SqlWorkers:
    """The ledger, for the processes of a fleet."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, member: WorkerProcess, now: datetime) -> None:
        """Add a process, seen now; processes that have not been seen for a day are removed."""
        values = {
            "host": member.host,
            "pid": member.pid,
            "kind": member.kind.value,
            "queues": ",".join(member.queues),
            "job_id": member.job_id,
            "version": member.version,
            "started_at": member.started_at,
            "seen_at": now,
            "doing": _doing_text(member.doing),
            "memory_bytes": member.memory_bytes,
        }
        forgotten = sa.select(W.id).where(W.seen_at < now - FORGOTTEN_AFTER)
        with self._database.write() as tx:
            tx.execute(sa.delete(workers).where(W.id.in_(forgotten.with_for_update(skip_locked=True))))
            if not add_new(tx, workers, {"id": member.id, **values}):
                tx.execute(sa.update(workers).where(W.id == member.id).values(**values))

    def seen(
        self,
        worker_id: str,
        now: datetime,
        *,
        doing: Sequence[Doing] = (),
        memory_bytes: int | None = None,
        is_stopping: bool = False,
    ) -> bool:
        """Record that a process is alive; False where it is not (or no longer) on the list and must register.

        Args:
            is_stopping: it finishes what it has begun; what was once said of it stays.
        """
        values = {"seen_at": now, "doing": _doing_text(doing), "memory_bytes": memory_bytes}
        values |= {"stop_asked": True} if is_stopping else {}
        with self._database.write() as tx:
            return tx.execute(sa.update(workers).where(W.id == worker_id).values(**values)).rowcount == 1

    def leave(self, worker_id: str) -> None:
        """Remove a process from the list."""
        with self._database.write() as tx:
            tx.execute(sa.delete(workers).where(W.id == worker_id))

    def ask_to_stop(self, job_id: JobId, now: datetime) -> list[WorkerProcess]:
        """Ask the runs of a job that were seen a short while ago to end, and return them."""
        runs = (W.kind == Kind.RUN, W.job_id == job_id, W.seen_at >= now - timedelta(seconds=SEEN_S))
        with self._database.write() as tx:
            found = tx.execute(sa.select(workers).where(*runs).order_by(W.started_at, W.id)).mappings().all()
            tx.execute(sa.update(workers).where(*runs).values(stop_asked=True))
        return [member_of(row) for row in found]

    def is_asked_to_stop(self, worker_id: str) -> bool:
        """Return whether a run was asked to end."""
        with self._database.read() as connection:
            return bool(connection.execute(_STOP_ASKED, {"the_id": worker_id}).scalar())

    def forget_runs(self, job_id: JobId) -> None:
        """Remove the runs of a job that have ended without a word."""
        with self._database.write() as tx:
            tx.execute(sa.delete(workers).where(W.kind == Kind.RUN, W.job_id == job_id))

    def alive(self, now: datetime, within_s: float = SEEN_S, *, kinds: Collection[Kind] = FLEET) -> list[WorkerProcess]:
        """Return the processes seen within so many seconds, the oldest first."""
        query = sa.select(workers).where(W.seen_at >= now - timedelta(seconds=within_s), W.kind.in_(kinds))
        with self._database.read() as connection:
            found = connection.execute(query.order_by(W.started_at, W.id)).mappings().all()
        return [member_of(row) for row in found]

    def ledger_id(self) -> str:
        """Return the ledger's own random id, made when it is first needed."""
        return self.remember(LEDGER_ID, secrets.token_hex(16))

    def remember(self, key: str, value: str) -> str:
        """Store `value` under `key`, unless there is one already; return the stored one."""
        query = sa.select(meta.c.value).where(meta.c.key == key)
        with self._database.read() as connection:
            found = connection.execute(query).scalar()
        if found is None:
            with self._database.write() as tx:
                add_new(tx, meta, {"key": key, "value": value})
                found = tx.execute(query).scalar_one()
        return str(found)

    def due(self, now: datetime) -> dict[Queue, int]:
        """Return how many units are due and free in each queue; creates whether or not their account has capacity."""
        counts = dict.fromkeys(Queue, 0)
        with self._database.read() as connection:
            for step, units in connection.execute(claims.DUE_COUNTS, {"now": now}):
                counts[QUEUE_OF[Step(step)]] += units
        return counts

    def step_started(self, claim: Claim, *, now: datetime, lease_s: float, draw: float) -> int:
        """Take over a claim for `lease_s` seconds, and count the start: a step that kills its worker cannot report it.

        Returns how often a step of the unit was begun, this time included, since one last ended or raised an error.
        From the second time on a random time is added to the lease, so that units whose workers died together are not
        tried again together. Raises LeaseLost.

        Args:
            draw: a uniform number in [0, 1).
        """
        table, keys = keys_of(claim.unit)
        lease = timedelta(seconds=lease_s)
        bound = {"the_token": claim.token, "until": now + lease, "spread": int(draw * lease_s * 1_000_000)}
        with self._database.write() as tx:
            starts = tx.execute(START[table.name], keys | bound).scalar()
        if starts is None:
            raise LeaseLost(f"{claim.unit}: another worker has changed it meanwhile")
        return int(starts)

    def step_failed(self, claim: Claim, error: str, now: datetime) -> int:
        """Record that a step raised an unexpected error, and release its unit until a while later.

        Returns how many such failures the unit has had within the last hour, this one included.
        """
        table, keys = keys_of(claim.unit)
        job_id, unit = claim.unit.job_id, _unit_name(claim.unit)
        with self._database.write() as tx:
            note(tx, job_id, "step.failed", unit, now, step=claim.step, error=error)
            recent = (
                sa.select(sa.func.count())
                .select_from(events)
                .where(events.c.job_id == job_id, events.c.unit == unit, events.c.name == STEP_FAILED)
                .where(events.c.at > now - COUNTED)
            )
            failures = int(tx.execute(recent).scalar_one())
            later = now + timedelta(seconds=retry.backoff_s(failures, draw=0.5))
            tx.execute(PUT_OFF[table.name], keys | {"the_token": claim.token, "later": later})
        return failures

    def step_given_up(self, claim: Claim, reason: str, now: datetime) -> None:
        """Stop the job of a step that kills its workers; no worker begins the step until the job is resumed.

        The batches of a stopped job are still collected, so the step stays due; its count of starts is kept.
        """
        table, keys = keys_of(claim.unit)
        with self._database.write() as tx:
            note(tx, claim.unit.job_id, "step.failed", _unit_name(claim.unit), now, step=claim.step, error=reason)
            tx.execute(GIVE_UP[table.name], keys | {"the_token": claim.token, "later": now + GIVEN_UP})
        self.stop(claim.unit.job_id, reason, now=now)

    def stop(self, job_id: JobId, reason: str, now: datetime) -> bool:
        """Stop a running job, with the reason; an earlier stop or cancel stays. Says whether it was stopped."""
        values = {"state": JobState.STOPPED, "reason": reason, "due_at": now, "ended_at": now}
        running = sa.update(jobs).where(jobs.c.id == job_id, jobs.c.state == JobState.RUNNING)
        with self._database.write() as tx:
            stopped = tx.execute(running.values(**values, version=jobs.c.version + 1)).rowcount == 1
            if stopped:
                note(tx, job_id, f"job.{JobState.STOPPED}", "", now, reason=reason)
                notices.of_job(tx, job_id, JobState.STOPPED, now, reason=reason, decision="")
        return stopped


def member_of(row: sa.RowMapping) -> WorkerProcess:
    """Return the process that a row holds."""
    names = ("id", "host", "pid", "job_id", "version", "started_at", "seen_at", "memory_bytes")
    values = {name: row[name] for name in names}
    queues = tuple(Queue(name) for name in row["queues"].split(",") if name)
    return WorkerProcess(
        **values, kind=Kind(row["kind"]), queues=queues, doing=_doing_of(row["doing"]), is_stopping=row["stop_asked"]
    )


def _doing_text(doing: Sequence[Doing]) -> str:
    kept = [[one.step.value, one.job_id, one.unit, one.since.isoformat()] for one in doing[:DOING_MAX]]
    return json.dumps(kept) if kept else ""


def _doing_of(text: str) -> tuple[Doing, ...]:
    found = json.loads(text) if text else []
    return tuple(
        Doing(step=Step(step), job_id=job_id, unit=unit, since=datetime.fromisoformat(since))
        for step, job_id, unit, since in found
    )


def _unit_name(unit: Unit) -> str:
    """Return the unit as fields of an event."""
    if unit.chunk_id is not None:
        return ChunkId(unit.chunk_id).rpartition("/")[2]
    return "" if unit.shard_no is None else str(unit.shard_no)
