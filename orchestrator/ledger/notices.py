"""The outbox: notices are added in the transaction of what they tell, and taken by one sender at a time.

Rule 1: a notice is there if, and only if, what it tells was recorded. A sender takes it for a while (`SENDING`); one
        that dies in between has it sent again, so a receiver may get it twice, with the same id.
Rule 2: what happens again and again is told once in a while: `QUIET`. The end or stop of a job is always told.
Rule 3: a notice that nobody has sent for a day is old news, and stays unsent.
Rule 4: while a notice is being sent its error is empty, so that no other process takes it as one that was put off.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from orchestrator.domain.budget import USED_UP
from orchestrator.domain.changes import AccountPaused
from orchestrator.domain.model import JobId, JobState
from orchestrator.domain.notices import Again, Kind, Notice, Undelivered, own_kinds
from orchestrator.ledger.db.database import Database
from orchestrator.ledger.db.schema import NOTICE_WAITS, accounts, events, jobs, notices

N = notices.c
WAITING, SENT, GIVEN_UP, UNWANTED = "waiting", "sent", "given_up", "unwanted"
STATES: Final = (WAITING, SENT, GIVEN_UP, UNWANTED)
QUIET: Final = timedelta(hours=6)
LATE: Final = timedelta(days=1)
LEFT: Final = timedelta(minutes=2)  # a process that is there has tried to send it by then
SENDING: Final = timedelta(minutes=2)  # longer than a sending takes
PAUSE_MIN: Final = timedelta(minutes=10)  # a shorter pause of an account is nothing to tell
JOB, UNRESOLVED, ACCOUNT, BUDGET_WAIT = "job", "unresolved", "account", "budget"  # subjects


def of_job(tx: sa.Connection, job_id: JobId, state: JobState, now: datetime, *, reason: str, decision: str) -> None:
    """Add what is to be told of a job that has come into a state, if anything."""
    if state in (JobState.FINISHED, JobState.CANCELLED):
        _add(tx, job_id, Kind.FINISHED, JOB, reason, now)
    elif state is JobState.STOPPED:
        is_budget = reason.startswith(USED_UP)
        _add(tx, job_id, Kind.NEEDS_PERSON if decision else Kind.BUDGET if is_budget else Kind.PAUSED, JOB, reason, now)


def of_unresolved(tx: sa.Connection, job_id: JobId, reason: str, now: datetime) -> None:
    """Add that a create of a job needs a person's decision."""
    _add(tx, job_id, Kind.NEEDS_PERSON, UNRESOLVED, reason, now, quiet=QUIET)


def of_pause(tx: sa.Connection, job_id: JobId, change: AccountPaused, now: datetime) -> None:
    """Add that a job's account was paused for long, or until a person has done something."""
    until = tx.execute(sa.select(accounts.c.paused_until).where(accounts.c.name == change.account)).scalar_one()
    if change.needs_person or until - now >= PAUSE_MIN:
        kind = Kind.NEEDS_PERSON if change.needs_person else Kind.PAUSED
        _add(tx, job_id, kind, ACCOUNT, change.reason, now, quiet=QUIET)


def _add(
    tx: sa.Connection,
    job_id: JobId,
    kind: Kind,
    subject: str,
    reason: str,
    now: datetime,
    *,
    quiet: timedelta | None = None,
) -> None:
    spec = tx.execute(sa.select(jobs.c.spec).where(jobs.c.id == job_id)).scalar() or ""
    own = own_kinds(spec)
    if own is not None and kind not in own:
        return
    if quiet is not None:
        same = (N.job_id == job_id, N.subject == subject, N.kind == kind, N.at > now - quiet)
        if tx.execute(sa.select(N.id).where(*same).limit(1)).first() is not None:
            return
    values = {"job_id": job_id, "kind": kind.value, "subject": subject, "reason": reason, "is_own": own is not None}
    tx.execute(sa.insert(notices).values(**values, state=WAITING, at=now, due_at=now, tries=0, error=""))


class SqlNotices:
    """The outbox of one SQL ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(
        self, *, now: datetime, with_default: bool, again: Again = Again.WHEN_DUE, after: int = 0
    ) -> Notice | None:
        """Take the oldest notice that is due, for a while; None where there is none.

        Args:
            with_default: also those of jobs without a `[notify]` of their own.
            again: which of those that were not received are due.
            after: only notices with a greater id.
        """
        states = {Again.WHEN_DUE: N.due_at <= now, Again.NOW: sa.or_(N.due_at <= now, N.error != "")}
        due = [N.at > now - LATE, N.id > after, NOTICE_WAITS, states.get(again, states[Again.NOW])]
        if again is Again.GIVEN_UP_TOO:
            due[2:] = [sa.or_(sa.and_(*due[2:]), N.state == GIVEN_UP)]
        due += [] if with_default else [N.is_own]
        first = sa.select(notices).where(*due).order_by(N.id).limit(1)
        with self._database.read() as connection:  # mostly there is none, and no writer waits for the look
            if connection.execute(first).first() is None:
                return None
        with self._database.write() as tx:
            row = tx.execute(first.with_for_update(skip_locked=True)).mappings().one_or_none()
            if row is None:
                return None
            values = {"tries": row["tries"] + 1, "due_at": now + SENDING, "state": WAITING, "error": ""}
            tx.execute(sa.update(notices).where(N.id == row["id"]).values(**values))
        fields = {name: row[name] for name in ("id", "job_id", "reason", "at", "is_own")}
        return Notice(**fields, kind=Kind(row["kind"]), tries=row["tries"] + 1)

    def sent(self, notice: Notice, *, now: datetime) -> None:
        """Record that a notice was received."""
        self._end(notice, SENT, now)

    def unwanted(self, notice: Notice, *, now: datetime) -> None:
        """Record that nobody wants a notice of this kind."""
        self._end(notice, UNWANTED, now)

    def put_off(self, notice: Notice, error: str, *, due_at: datetime) -> None:
        """Record that a notice was not received, and when to try again."""
        with self._database.write() as tx:
            tx.execute(_mine(notice).values(error=error, due_at=due_at))

    def give_up(self, notice: Notice, error: str, *, now: datetime) -> None:
        """Record that a notice is not tried again."""
        self._end(notice, GIVEN_UP, now, error=error)

    def _end(self, notice: Notice, state: str, now: datetime, *, error: str = "") -> None:
        with self._database.write() as tx:
            is_mine = tx.execute(_mine(notice).values(state=state, ended_at=now, error=error)).rowcount == 1
            if is_mine and state == GIVEN_UP:
                details = json.dumps({"kind": notice.kind.value, "error": error})
                event = {"job_id": notice.job_id, "at": now, "name": "notice.given_up", "unit": "", "details": details}
                tx.execute(sa.insert(events).values(**event))

    def waits_for_budget(self, job_id: JobId, reason: str, *, now: datetime) -> None:
        """Add that a job waits for its budget, unless that was told a short while ago."""
        with self._database.write() as tx:
            _add(tx, job_id, Kind.BUDGET, BUDGET_WAIT, reason, now, quiet=QUIET)

    def told_of_budget(self, job_id: JobId, *, now: datetime) -> bool:
        """Return whether that was told a short while ago."""
        told = (N.job_id == job_id, N.subject == BUDGET_WAIT, N.at > now - QUIET)
        with self._database.read() as connection:
            return connection.execute(sa.select(N.id).where(*told).limit(1)).first() is not None

    def counts(self) -> dict[str, int]:
        """Return how many notices are in each state."""
        with self._database.read() as connection:
            found = connection.execute(sa.select(N.state, sa.func.count()).group_by(N.state)).all()
        return dict.fromkeys(STATES, 0) | {row[0]: int(row[1]) for row in found}

    def failures(self, *, now: datetime, since: datetime) -> Undelivered:
        """Return what could not be sent since then, of all jobs."""
        with self._database.read() as connection:
            return undelivered(connection, now=now, since=since)


def _mine(notice: Notice) -> sa.Update:
    """A sender that took so long that another took the notice over has no say any more."""
    return sa.update(notices).where(N.id == notice.id, N.state == WAITING, N.tries == notice.tries)


def undelivered(
    connection: sa.Connection, job_id: JobId | None = None, *, now: datetime, since: datetime | None = None
) -> Undelivered:
    """Return the notices that could not be sent, or not yet though they should: of a job, or since then."""
    is_left = sa.and_(sa.or_(N.is_own, N.tries > 0), N.at < now - LEFT)  # else nobody may want it
    which = [sa.or_(N.state == GIVEN_UP, sa.and_(N.state == WAITING, sa.or_(N.error != "", is_left)))]
    which += [] if job_id is None else [N.job_id == job_id]
    which += [] if since is None else [N.at > since]
    found = connection.execute(sa.select(N.state, N.error, N.at).where(*which).order_by(N.id)).all()
    given_up = sum(row.state == GIVEN_UP or row.at <= now - LATE for row in found)
    error = next((row.error for row in reversed(found) if row.error), "")
    return Undelivered(given_up=given_up, tried_again=len(found) - given_up, error=error)
