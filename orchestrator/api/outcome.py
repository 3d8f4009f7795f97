"""How a job stands that runs no further: its result, or why it has none and what to type."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from orchestrator.api.decision import command, refuse_undecided, stop_reason
from orchestrator.api.status import WHOLE, status_of
from orchestrator.domain.errors import JobInterrupted, JobNotFinished, JobStopped, JobUnresolved
from orchestrator.domain.model import Canary, Job, JobId, JobState
from orchestrator.engine.blocked import at_capacity, is_in_flight
from orchestrator.engine.workspace import Workspace

if TYPE_CHECKING:
    from orchestrator.api.result import Result


def outcome_of(workspace: Workspace, job_id: JobId, stop: threading.Event | None) -> Result:
    """Return the result of a job that runs no further. Raises JobNotFinished, which says why it has none."""
    job = workspace.ledger.job(job_id)
    if job.state in WHOLE:
        return result_of(workspace, job)
    refuse_undecided(workspace, job)
    if job.state is JobState.STOPPED:
        raise JobStopped(f"job {job_id} is stopped: {stop_reason(workspace, job)}")
    if stop is not None and stop.is_set():
        sent = " What was sent goes on at the provider.\n  to stop that, too:\n    "
        rest = f"{sent}{command(workspace, 'cancel', job_id)}" if is_in_flight(workspace.ledger.totals(job_id)) else ""
        raise JobInterrupted(f"job {job_id} was interrupted; run it again to resume.{rest}")
    unresolved = len(workspace.admin.unresolved(job_id))
    if unresolved:
        chunks = "1 chunk is" if unresolved == 1 else f"{unresolved:,} chunks are"
        waits = ""
        if job.canary is Canary.OPEN:
            waits = " It is the canary, so nothing else was sent; `policy.canary_rows = 0` sends the rest without one."
        raise JobUnresolved(
            f"job {job_id}: {chunks} unresolved: it is not known whether the provider made a batch.{waits}\n"
            f"  to see what was sent, and say what became of it:\n    {command(workspace, 'resolve', job_id)}"
        )
    crowd = at_capacity(workspace, job, workspace.ledger.totals(job_id))
    if crowd:
        raise JobUnresolved(
            f"job {job_id} cannot send: the account may have {job.policy.batches_in_flight_max} batches in flight "
            "(policy.batches_in_flight_max), and unresolved chunks of other jobs use up that limit.\n"
            f"  to see them, and say what became of them:\n    {command(workspace, 'resolve', crowd[0])}"
        )
    reason = workspace.admin.pause_reason(job.account, now=workspace.clock.now())
    raise JobStopped(f"job {job_id} cannot send: the provider refuses the account {job.account}: {reason}")


def result_of(workspace: Workspace, job: Job) -> Result:
    """Return the result of a job that has ended. Raises JobNotFinished where it has no output."""
    from orchestrator.api.result import Result, revision_path
    from orchestrator.api.row_names import row_names

    if job.reason:
        raise JobNotFinished(f"job {job.id} is {job.state}: {job.reason}")
    context = workspace.context(job.id)
    path = revision_path(context.output_folder, job)
    return Result(
        status=status_of(workspace, job.id),
        path=path,
        options=context.spec.output_options,
        names=row_names(workspace, job.id),
    )
