"""The step that reviews a job as a whole and makes the job-wide step due that it needs next."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from orchestrator.domain import progress as rules
from orchestrator.domain.changes import JobMoved
from orchestrator.domain.model import ACTIVE_JOBS, Claim, Step

if TYPE_CHECKING:
    from orchestrator.ports import Clock, Ledger

REVIEW_S: Final = 2.0  # at the latest: changes of shards and chunks make a review due sooner


def review(claim: Claim, *, ledger: Ledger, clock: Clock) -> None:
    """Make the job's next step due, or review it again soon."""
    job = ledger.job(claim.unit.job_id)
    if job.state not in ACTIVE_JOBS or job.due is not Step.REVIEW:
        return
    now = clock.now()
    step = rules.next_step(job, ledger.outlook(job.id), now=now)
    due_at = now + timedelta(seconds=REVIEW_S) if step is None else now
    ledger.record(claim, JobMoved(before=job, after=replace(job, due=step or Step.REVIEW), due_at=due_at), now=now)
