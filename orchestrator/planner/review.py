"""The step that reviews a job as a whole and makes the job-wide step due that it needs next."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from orchestrator.domain import progress as rules
from orchestrator.domain.canary import CANARY, Passed, Stop
from orchestrator.domain.changes import JobMoved, Noted
from orchestrator.domain.model import ACTIVE_JOBS, Canary, Claim, JobState, Step
from orchestrator.planner.canary import judge

if TYPE_CHECKING:
    from orchestrator.ports import Clock, JobFiles, Ledger

REVIEW_S: Final = 2.0  # at the latest: changes of shards and chunks make a review due sooner


def review(claim: Claim, *, ledger: Ledger, job_files: JobFiles, clock: Clock) -> None:
    """Make the job's next step due, or review it again soon; judge its canary once that has ended."""
    job = ledger.job(claim.unit.job_id)
    if job.state not in ACTIVE_JOBS or job.due is not Step.REVIEW:
        return
    now, outlook = clock.now(), ledger.outlook(job.id)
    step = rules.next_step(job, outlook, now=now)
    if job.state is JobState.RUNNING and job.canary is Canary.OPEN and outlook.canary_ended:
        match judge(ledger.canary(job.id), job_files):
            case Passed():
                passed = Noted(name="canary.passed")
                after = replace(job, canary=Canary.PASSED)
                ledger.record(claim, JobMoved(before=job, after=after, due_at=now), passed, now=now)
                return
            case Stop(reason):
                stopped = replace(job, state=JobState.STOPPED, reason=reason, decision=CANARY)
                ledger.record(claim, JobMoved(before=job, after=stopped, due_at=now), now=now)
                return
            case None:
                step = Step.RETRY  # at once: nothing else may be sent meanwhile
    due_at = now + timedelta(seconds=REVIEW_S) if step is None else now
    ledger.record(claim, JobMoved(before=job, after=replace(job, due=step or Step.REVIEW), due_at=due_at), now=now)
