"""The changes that follow a refusal: to the chunk, its account, its job. See `domain.refusal`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.domain.changes import Change, ChunkMoved, JobMoved, QueueLearned
from orchestrator.domain.model import Chunk, ChunkState, JobState
from orchestrator.domain.refusal import AfterRefusal, Refusal, account_paused, after_refusal
from orchestrator.job_files import records

if TYPE_CHECKING:
    from datetime import datetime

    from orchestrator.ports import Clock, JobFiles, Ledger


def decide(chunk: Chunk, refusal: Refusal, *, tries: int, ledger: Ledger, clock: Clock) -> AfterRefusal:
    """Return the next move of a chunk that was refused."""
    history = ledger.history(chunk)
    return after_refusal(refusal, chunk=chunk, history=history, tries=tries, draw=clock.draw())


def beyond_the_chunk(
    chunk: Chunk, after: AfterRefusal, refusal: Refusal, *, ledger: Ledger, now: datetime
) -> list[Change]:
    """Return what a refusal means for the account and for the job."""
    job, changes = ledger.job(chunk.job_id), list[Change]()
    if after.pauses_account:
        changes.append(account_paused(job.account, refusal.error, refusal.status, now=now))
    if after.in_flight_max is not None:
        changes.append(QueueLearned(account=job.account, in_flight_max=after.in_flight_max))
    if after.stops_job and job.state is JobState.RUNNING:
        stopped = replace(job, state=JobState.STOPPED, reason=after.stops_job)
        changes.append(JobMoved(before=job, after=stopped, due_at=now))
    return changes


def keep_given_up(changes: list[Change], job_files: JobFiles) -> None:
    """Write the record of a chunk that is given up, before the ledger knows it."""
    for change in changes:
        if isinstance(change, ChunkMoved) and change.after.state is ChunkState.FAILED:
            records.keep_given_up(job_files, change.after)
