"""Runs the steps of a job in this process, or waits for other processes to do so."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from orchestrator import settings as configuration
from orchestrator.api.displays import STOP_WAITING, shown
from orchestrator.api.outcome import outcome_of
from orchestrator.domain.errors import JobInterrupted, JobTimeout
from orchestrator.domain.look import OnLook
from orchestrator.domain.model import JobId
from orchestrator.engine.blocked import needs_person
from orchestrator.engine.interrupts import signals_stop
from orchestrator.engine.local_runner import ENDED, REPORT_S, LocalRunner
from orchestrator.engine.notifier import Notifier
from orchestrator.engine.workspace import Workspace

if TYPE_CHECKING:
    from orchestrator.api.result import Result


def drive(workspace: Workspace, job_id: JobId, progress: OnLook | bool, stop: threading.Event | None) -> Result:
    """Run the job's steps in this process, to its end."""
    stop = stop or threading.Event()
    run_steps(workspace, job_id, progress, stop)
    return outcome_of(workspace, job_id, stop)


def await_end(
    workspace: Workspace, job_id: JobId, timeout_s: float | None, progress: OnLook | bool, stop: threading.Event
) -> Result:
    """Poll the job's status until it has ended."""
    # No step of this process would have to finish first.
    with signals_stop(stop, tell=lambda _signal: None), shown(progress, STOP_WAITING) as on_look:
        return _await_end(workspace, job_id, timeout_s, on_look, stop)


def _await_end(
    workspace: Workspace, job_id: JobId, timeout_s: float | None, progress: OnLook | None, stop: threading.Event
) -> Result:
    until = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        job = workspace.ledger.job(job_id)
        if progress is not None:
            progress(workspace.look(job_id))
        if job.state in ENDED or needs_person(workspace, job_id):
            return outcome_of(workspace, job_id, None)
        left_s = REPORT_S if until is None else min(REPORT_S, until - time.monotonic())
        if left_s <= 0:
            raise JobTimeout(f"job {job_id} has not ended within {timeout_s:g} seconds; it continues")
        if stop.wait(left_s):
            raise JobInterrupted(f"job {job_id} continues; this process no longer waits for it")


def run_steps(workspace: Workspace, job_id: JobId, progress: OnLook | bool, stop: threading.Event) -> None:
    """Run the job's steps until it has ended, waits for a person, or is stopped."""
    settings = configuration.load(os.environ)
    notify = workspace.context(job_id).spec.notify
    if notify is not None:
        from orchestrator.providers.webhook import receiver_of_job

        receiver_of_job(notify, workspace.environment)  # it raises ConfigError before anything is sent
    runner = LocalRunner(
        workspace=workspace, job_id=job_id, threads=settings.threads, lease_s=settings.lease_s, stop=stop
    )
    with signals_stop(stop), Notifier.of(workspace, settings), shown(progress) as on_look:
        runner.run(on_look)
