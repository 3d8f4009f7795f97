"""A Temporal activity that gives every row of a table a model's answer, and a workflow around it.

Rule 1: the activity heartbeats with the job's counts, so that a worker that died is noticed; the next one goes on with
        the same job, and nothing is paid twice.
Rule 2: a cancelled activity stops its run safely and cancels the job; a worker that shuts down only stops the run.
Rule 3: the result is a location and numbers, never the table: it goes through Temporal's history.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, CancelledError

with workflow.unsafe.imports_passed_through():
    import orchestrator


@dataclass(frozen=True)
class Answers:
    """Where a job's output is, and its counts."""

    job_id: str
    output: str
    rows: int
    succeeded: int
    failed: int
    cost_usd: str | None


# The run must record what is under way: no exception may be thrown into its thread.
@activity.defn(no_thread_cancel_exception=True)
def answer_rows(job: dict[str, Any]) -> Answers:
    """Run a job to its end; `job` has the fields of an `orchestrator.Job`."""
    described, stop = orchestrator.Job(**job), threading.Event()
    job_id = ""

    def look(now: orchestrator.Look) -> None:
        nonlocal job_id
        job_id = now.job_id
        activity.heartbeat({"job_id": now.job_id, "does": str(now.activity), "answered": now.rows.answered})
        if activity.is_cancelled() or activity.is_worker_shutdown():
            stop.set()

    try:
        result = orchestrator.run(described, progress=look, stop=stop)
    except orchestrator.JobInterrupted as error:
        if activity.is_cancelled():
            orchestrator.open_job(job_id, work=described.work).cancel(progress=False)
            raise CancelledError(f"job {job_id} is cancelled; what is answered is kept") from error
        raise  # the worker shuts down: another one goes on
    except (orchestrator.JobStopped, orchestrator.JobUnresolved, orchestrator.JobConflict) as error:
        raise ApplicationError(str(error), type=type(error).__name__, non_retryable=True) from error
    except (orchestrator.ConfigError, orchestrator.DatasetError) as error:
        raise ApplicationError(str(error), type=type(error).__name__, non_retryable=True) from error
    cost = result.cost_usd
    return Answers(
        job_id=result.job_id,
        output=str(result.path),
        cost_usd=None if cost is None else f"{cost:f}",
        **result.counts,
    )


@workflow.defn
class AnswerRows:
    """Runs a job as one activity: a day or two, on whichever worker lives."""

    @workflow.run
    async def run(self, job: dict[str, Any]) -> Answers:
        """Run the job."""
        return await workflow.execute_activity(
            answer_rows,
            job,
            start_to_close_timeout=timedelta(days=3),
            heartbeat_timeout=timedelta(minutes=5),
            retry_policy=RetryPolicy(initial_interval=timedelta(minutes=1), maximum_interval=timedelta(hours=1)),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
