"""A job that is in the ledger: how it stands, waiting for it, what a person may do with it.

Rule: where the ledger is a file and nobody is at work on it, this process does what is asked for itself; elsewhere
it asks in the ledger, and the fleet's workers do it.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import Any

from orchestrator import settings as configuration
from orchestrator.api.result import Result, Status, revision_path
from orchestrator.domain import model
from orchestrator.domain.errors import LedgerBusy, OrchestratorError
from orchestrator.domain.model import ENDED_JOBS, BatchId, ChunkId, JobId, JobState
from orchestrator.domain.workers import Kind
from orchestrator.engine.blocked import at_capacity, needs_person
from orchestrator.engine.command_log import record_command, record_resolution
from orchestrator.engine.local_runner import OVER, REPORT_S, LocalRunner, Progress, alone
from orchestrator.engine.opening import opened_workspace
from orchestrator.engine.workspace import Workspace
from orchestrator.settings import ProviderSettings


class JobStopped(OrchestratorError):
    """The job cannot go on by itself; the message says why and what to do. Running it again resumes it."""


class JobInterrupted(JobStopped):
    """A stop was asked for. Running the job again goes on where it was left."""


class JobUnresolved(JobStopped):
    """Only a person can tell what became of some creates: see `orchestrator resolve`."""


class JobUnfinished(JobStopped, TimeoutError):
    """The job has not ended in the time that was given; it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobHandle:
    """A job in the ledger, in whatever state it is."""

    job_id: JobId
    work: str  # a location

    def provider_settings(self) -> ProviderSettings:
        """Return the provider's table, as the job was opened with it."""
        with opened_workspace(self.work) as workspace:
            return workspace.tools(self.job_id).spec.provider

    def status(self) -> Status:
        """Return how the job stands."""
        with opened_workspace(self.work) as workspace:
            return status_of(workspace, self.job_id)

    def results(self) -> Result:
        """Return the result. Raises JobStopped where the job has not ended."""
        with opened_workspace(self.work) as workspace:
            job = workspace.ledger.job(self.job_id)
            if job.state not in ENDED_JOBS:
                raise JobStopped(f"job {self.job_id} is {job.state}: it has no result yet")
            return _result(workspace, job)

    def wait(
        self,
        timeout: float | None = None,
        *,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> Result:
        """Wait until others, a fleet's workers, have done the job, and return its result.

        Args:
            timeout: seconds; None waits as long as it takes.
            progress: called about twice a second with the job and its totals.
            stop: set it to wait no longer; the job goes on.

        Raises:
            JobUnfinished: the time is up, and the job goes on. It is a TimeoutError, too.
            JobUnresolved, JobStopped: the job cannot go on by itself.
            JobInterrupted: `stop` was set.
        """
        with opened_workspace(self.work) as workspace:
            return await_end(workspace, self.job_id, timeout, progress, stop or threading.Event())

    def resume(self, *, progress: Progress | None = None, stop: threading.Event | None = None) -> Result:
        """Go on with the job, from its own spec, to its end."""
        with opened_workspace(self.work) as workspace:
            return self._see_through(workspace, progress, stop, again=False)

    def retry(self, *, progress: Progress | None = None, stop: threading.Event | None = None) -> Result:
        """Send the dead rows of an ended job again, and see it to its end; the output is a new revision."""
        with opened_workspace(self.work) as workspace:
            return self._see_through(workspace, progress, stop, again=True)

    def _see_through(
        self, workspace: Workspace, progress: Progress | None, stop: threading.Event | None, *, again: bool
    ) -> Result:
        now = workspace.clock.now()
        try:
            with alone(workspace):
                assert workspace.tools(self.job_id).provider  # a missing key is an error before anything else
                self._take_up(workspace, again=again)
                return drive(workspace, self.job_id, progress, stop)
        except LedgerBusy:
            if workspace.lock is not None and not workspace.fleet.alive(now=now):
                raise
        self._take_up(workspace, again=again)
        return await_end(workspace, self.job_id, None, progress, stop or threading.Event())

    def _take_up(self, workspace: Workspace, *, again: bool) -> None:
        now = workspace.clock.now()
        if again or workspace.ledger.job(self.job_id).state is JobState.CANCELLED:
            workspace.admin.retry(self.job_id, now=now)
        workspace.admin.resume(self.job_id, now=now)
        record_command(workspace, self.job_id)

    def cancel(self, *, progress: Progress | None = None, stop: threading.Event | None = None) -> Status:
        """Drop what is unsent, cancel what is sent, and collect what was answered, unless other processes do so."""
        with opened_workspace(self.work) as workspace:
            workspace.admin.cancel(self.job_id, now=workspace.clock.now())
            record_command(workspace, self.job_id)
            try:
                with alone(workspace):
                    _runner(workspace, self.job_id, stop).run(progress)
            except LedgerBusy:
                if workspace.lock is not None and workspace.ledger.job(self.job_id).state is not JobState.CANCELLING:
                    raise
            return status_of(workspace, self.job_id)

    def resolve(self, chunk: str, batch_id: str | None) -> None:
        """Say what became of a held create: it made `batch_id`; or None: it made nothing, and may be sent again."""
        with opened_workspace(self.work) as workspace:
            full = chunk if "/" in chunk else f"{self.job_id}/{chunk}"
            batch = None if batch_id is None else BatchId(batch_id)
            resolved = workspace.admin.resolve(ChunkId(full), batch, now=workspace.clock.now())
            record_resolution(workspace, resolved, batch)

    def confirm_same_account(self) -> int:
        """Say that the key that is in now is of the account that all creates of the job were sent from.

        For a key that was rotated, where the provider cannot show it any more. Returns how many held chunks waited.
        """
        with opened_workspace(self.work) as workspace:
            key_mark = workspace.tools(self.job_id).provider.traits.key_mark
            return workspace.admin.confirm_same_account(self.job_id, key_mark, now=workspace.clock.now())

    def held(self) -> list[dict[str, Any]]:
        """Return the creates that only a person can explain: what was sent, when, and why they are held."""
        with opened_workspace(self.work) as workspace:
            return [
                {
                    "chunk": chunk.name,
                    "requests": chunk.request_count,
                    "sent_at": attempt.sent_at.isoformat(),
                    "attempt": attempt.number,
                    "cost_usd_max": str(attempt.reserved_usd),
                    "reason": chunk.error,
                }
                for chunk, attempt in workspace.admin.unresolved(self.job_id)
            ]


def drive(workspace: Workspace, job_id: JobId, progress: Progress | None, stop: threading.Event | None) -> Result:
    """Run the job's steps in this process, to its end."""
    _runner(workspace, job_id, stop).run(progress)
    return _outcome(workspace, job_id, stop)


def await_end(
    workspace: Workspace, job_id: JobId, timeout_s: float | None, progress: Progress | None, stop: threading.Event
) -> Result:
    """Look at the job until it has ended."""
    until = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        job = workspace.ledger.job(job_id)
        if progress is not None:
            progress(job, workspace.ledger.totals(job_id))
        if job.state in OVER or needs_person(workspace, job_id):
            return _outcome(workspace, job_id, None)
        left_s = REPORT_S if until is None else min(REPORT_S, until - time.monotonic())
        if left_s <= 0:
            raise JobUnfinished(f"job {job_id} has not ended within {timeout_s:g} seconds; it goes on")
        if stop.wait(left_s):
            raise JobInterrupted(f"job {job_id} goes on; this process waits for it no longer")


def _runner(workspace: Workspace, job_id: JobId, stop: threading.Event | None) -> LocalRunner:
    settings = configuration.load(os.environ)
    runner = LocalRunner(workspace=workspace, job_id=job_id, threads=settings.threads, lease_s=settings.lease_s)
    if stop is not None:
        runner.stop = stop
    return runner


def _outcome(workspace: Workspace, job_id: JobId, stop: threading.Event | None) -> Result:
    job = workspace.ledger.job(job_id)
    if job.state in ENDED_JOBS:
        return _result(workspace, job)
    if job.state is JobState.STOPPED:
        raise JobStopped(f"job {job_id} is stopped: {job.reason}")
    if stop is not None and stop.is_set():
        raise JobInterrupted(f"job {job_id} was interrupted; run it again to go on")
    held = workspace.admin.unresolved(job_id)
    if held:
        raise JobUnresolved(
            f"job {job_id}: chunks held: {len(held)}, because only a person can find out about their batches: "
            f"see `orchestrator resolve {job_id}`"
        )
    crowd = at_capacity(workspace, job, workspace.ledger.totals(job_id))
    if crowd:
        raise JobUnresolved(
            f"job {job_id}: the account may have {job.policy.batches_in_flight_max} batches in flight "
            "(policy.batches_in_flight_max), and creates of other jobs, which only a person can find out about, take "
            f"all of that room: see `orchestrator resolve {crowd[0]}`"
        )
    reason = workspace.admin.pause_reason(job.account, now=workspace.clock.now())
    raise JobStopped(f"job {job_id}: the provider refuses the account: {reason}. Mend that, and run it again")


def status_of(workspace: Workspace, job_id: JobId) -> Status:
    """Return how a job stands."""
    job, now = workspace.ledger.job(job_id), workspace.clock.now()
    kinds = [member.kind for member in workspace.fleet.alive(now=now)]
    return Status(
        job_id=job_id,
        state=job.state,
        reason=job.reason,
        totals=workspace.ledger.totals(job_id),
        pause_reason=workspace.admin.pause_reason(job.account, now=now),
        workers_alive=kinds.count(Kind.WORKER),
        beats_alive=kinds.count(Kind.BEAT),
    )


def _result(workspace: Workspace, job: model.Job) -> Result:
    tools = workspace.tools(job.id)
    path = revision_path(tools.output_folder, job)
    return Result(status=status_of(workspace, job.id), path=path, options=tools.spec.output_options)
