"""Runs a job in this process; or follows the process that runs it, and takes over where that ends before the job.

Rule 1: of an SQLite ledger, one process at a time runs a job. Each process runs its own jobs, with its own keys and its
        own functions; what they share is the ledger.
Rule 2: who follows sends nothing, until it runs the job.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from orchestrator import settings as configuration
from orchestrator.api.displays import STOP_WAITING, shown
from orchestrator.api.outcome import outcome_of
from orchestrator.api.status import WHOLE
from orchestrator.domain.errors import JobBusy, JobInterrupted, JobTimeout
from orchestrator.domain.look import OnLook
from orchestrator.domain.model import JobId
from orchestrator.domain.notices import Again
from orchestrator.domain.required import required
from orchestrator.engine.blocked import needs_person
from orchestrator.engine.interrupts import signals_stop
from orchestrator.engine.local_runner import ENDED, REPORT_S, LocalRunner, running
from orchestrator.engine.locks import runner_of
from orchestrator.engine.notifier import Notifier
from orchestrator.engine.tracing import traced
from orchestrator.engine.workspace import Workspace

if TYPE_CHECKING:
    from orchestrator.api.result import Result


def run_or_follow(
    workspace: Workspace,
    job_id: JobId,
    *,
    check: Callable[[], None],
    enter: Callable[[], None],
    progress: OnLook | bool,
    stop: threading.Event | None,
) -> Result:
    """Run a job of an SQLite ledger to its end, in this process as soon as no other runs it.

    Args:
        check: raises where this process cannot run the job; called before it does.
        enter: adds the job to the ledger, or has it go on; called once.

    Raises LedgerBusy beside a fleet.
    """
    stop, has_entered = stop or threading.Event(), False
    with shown(progress) as on_look:
        while True:
            with ExitStack() as stack:
                try:
                    stack.enter_context(running(workspace, job_id))
                except JobBusy:
                    pass
                else:
                    check()
                    if not has_entered:
                        enter()
                    return drive(workspace, job_id, on_look, stop)
            if not has_entered and _is_known(workspace, job_id):  # else that process is about to check and enter it
                enter()
                has_entered = True
            if _is_over(workspace, job_id, on_look, stop):
                return outcome_of(workspace, job_id, None)


def _is_over(workspace: Workspace, job_id: JobId, progress: OnLook | None, stop: threading.Event) -> bool:
    """Follow a job until it has ended, or its process has; return whether there is nothing more to run."""
    is_known, lock = False, required(workspace.lock, "lock")
    with signals_stop(stop, tell=lambda _signal: None):  # no step of this process would have to finish first
        while runner_of(lock, job_id) is not None:
            is_known = is_known or _is_known(workspace, job_id)
            if is_known and workspace.ledger.job(job_id).state in WHOLE:
                return True
            if is_known and progress is not None:
                progress(workspace.look(job_id))
            if stop.wait(REPORT_S):
                raise JobInterrupted(f"job {job_id} continues; this process no longer follows it")
    if not _is_known(workspace, job_id):
        return False
    return workspace.ledger.job(job_id).state in ENDED or needs_person(workspace, job_id)


def _is_known(workspace: Workspace, job_id: JobId) -> bool:
    return any(job.id == job_id for job in workspace.admin.jobs())


def drive(workspace: Workspace, job_id: JobId, progress: OnLook | bool | None, stop: threading.Event | None) -> Result:
    """Run the job's steps in this process, to its end."""
    stop = stop or threading.Event()
    run_steps(workspace, job_id, progress, stop)
    return outcome_of(workspace, job_id, stop)


def run_steps(workspace: Workspace, job_id: JobId, progress: OnLook | bool | None, stop: threading.Event) -> None:
    """Run the job's steps in this process, as far as it goes."""
    settings = configuration.load(os.environ)
    notify = workspace.context(job_id).spec.notify
    if notify is not None:
        from orchestrator.providers.webhook import receiver_of_job

        receiver_of_job(notify, workspace.environment)  # it raises ConfigError before anything is sent
    runner = LocalRunner(
        workspace=workspace, job_id=job_id, threads=settings.threads, lease_s=settings.lease_s, stop=stop
    )
    # A Ctrl-C while the end is told leaves that alone: the run is over.
    notifier = Notifier.of(workspace, settings, at_end=Again.NOW)
    with notifier, signals_stop(stop), traced(settings), shown(progress) as on_look:
        runner.run(on_look)


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
