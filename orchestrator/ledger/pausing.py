"""Stops and pauses of a job, and of its account, as people begin and end them.

Rule: a pause holds the job's creates back and nothing else, whatever else the job waits for. It is begun before any
create that a step has decided on and not yet begun: such a step finds its chunk changed.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from orchestrator.domain.errors import CommandRefused
from orchestrator.domain.model import UNSENT, ChunkState, Job, JobId, JobState, Step
from orchestrator.domain.recovery import LOOKUP_FAILED, NOT_UNDERSTOOD, OTHER_KEY
from orchestrator.ledger.db.schema import EPOCH, accounts, chunks, jobs, shards
from orchestrator.ledger.steps import note

C, J = chunks.c, jobs.c


def pause(tx: sa.Connection, job: Job, now: datetime) -> None:
    """Begin no create of a job any more. Raises CommandRefused where it has ended or is being cancelled."""
    if job.state not in (JobState.RUNNING, JobState.STOPPED):
        being = "is being cancelled" if job.state is JobState.CANCELLING else f"is {job.state} already"
        raise CommandRefused(f"job {job.id} {being}: there is nothing to pause")
    if job.paused_at is not None:
        return
    tx.execute(sa.update(jobs).where(J.id == job.id).values(paused_at=now, version=J.version + 1))
    unsent = (C.job_id == job.id, C.state.in_([state for state in ChunkState if state in UNSENT]))
    tx.execute(sa.update(chunks).where(*unsent).values(version=C.version + 1))
    note(tx, job.id, "job.paused", "", now)


def end_pause(tx: sa.Connection, job: Job, now: datetime) -> None:
    """Let a paused job begin creates again. Raises CommandRefused where it is not paused."""
    if job.paused_at is None:
        way_out = "; run it to go on" if job.state is JobState.STOPPED else ""
        raise CommandRefused(f"job {job.id} is {job.state} and not paused: there is nothing to resume{way_out}")
    tx.execute(sa.update(jobs).where(J.id == job.id).values(paused_at=None, version=J.version + 1))
    note(tx, job.id, "job.pause_ended", "", now)


def set_running(tx: sa.Connection, job_id: JobId, now: datetime) -> None:
    values = {"state": JobState.RUNNING, "reason": "", "decision": "", "due": Step.REVIEW, "due_at": now}
    tx.execute(sa.update(jobs).where(J.id == job_id).values(**values, ended_at=None, version=J.version + 1))


def try_again(tx: sa.Connection, job: Job, now: datetime) -> None:
    """End the pause of the job's account, and make due what waited for another key or for more memory."""
    tx.execute(look_now(job.id, now))
    # A person has acted: what has got nowhere for hours is given as long again.
    failing = (C.job_id == job.id, sa.or_(C.failing_since.is_not(None), C.setbacks > 1))
    tx.execute(
        sa.update(chunks)
        .where(*failing)
        .values(failing_since=None, setbacks=sa.case((C.setbacks > 1, 1), else_=C.setbacks))
    )
    # A step that killed its workers may run again: the operator may have given it more memory.
    for table, of_job in ((chunks, C.job_id), (shards, shards.c.job_id), (jobs, J.id)):
        begun = sa.update(table).where(of_job == job.id, table.c.starts > 0, table.c.lease_until <= now)
        tx.execute(begun.values(starts=0, due_at=now))
    tx.execute(sa.update(accounts).where(accounts.c.name == job.account).values(paused_until=EPOCH))


def look_now(job_id: JobId, now: datetime) -> sa.Update:
    """Return the update that makes chunks due that wait for a key, a permission or a version that may be there now."""
    codes = (OTHER_KEY, LOOKUP_FAILED, NOT_UNDERSTOOD)
    waiting = (C.job_id == job_id, C.state == ChunkState.UNRESOLVED, C.error_code.in_(codes))
    return sa.update(chunks).where(*waiting).values(due_at=now)
