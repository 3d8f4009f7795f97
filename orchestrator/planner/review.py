"""The step that reviews a job as a whole and makes the job-wide step due that it needs next."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from orchestrator.domain import progress as rules
from orchestrator.domain.canary import CANARY, Passed, Stop
from orchestrator.domain.changes import JobMoved, Noted
from orchestrator.domain.model import ACTIVE_JOBS, Canary, Claim, Job, JobState, Step
from orchestrator.planner.canary import verdict_on

if TYPE_CHECKING:
    from orchestrator.ports import Clock, JobFiles, Ledger

REVIEW_S: Final = 2.0  # at the latest: changes of shards and chunks make a review due sooner


def review(claim: Claim, *, ledger: Ledger, job_files: JobFiles, clock: Clock) -> None:
    """Make the job's next step due, or review it again soon; judge its canary once that has ended."""
    job = ledger.job(claim.unit.job_id)
    if job.state not in ACTIVE_JOBS or job.due is not Step.REVIEW:
        return
    now, outlook = clock.now(), ledger.outlook(job.id)
    if job.state is JobState.RUNNING and job.canary is Canary.OPEN:
        # Nothing but the canary is sent, or sent again, before its verdict.
        after = _judged(job, verdict_on(ledger.canary(job.id), job_files)) if outlook.canary_ended else job
        is_due, notes = outlook.canary_ended, [Noted(name="canary.passed")] * (after.canary is Canary.PASSED)
    else:
        step = rules.next_step(job, outlook, now=now)
        is_due, after, notes = step is not None, replace(job, due=step or Step.REVIEW), []
    due_at = now if is_due else now + timedelta(seconds=REVIEW_S)
    ledger.record(claim, JobMoved(before=job, after=after, due_at=due_at), *notes, now=now)


def _judged(job: Job, verdict: Passed | Stop | None) -> Job:
    match verdict:
        case Passed():
            return replace(job, canary=Canary.PASSED)
        case Stop(reason):
            return replace(job, state=JobState.STOPPED, reason=reason, decision=CANARY)
        case None:
            return replace(job, due=Step.RETRY)
