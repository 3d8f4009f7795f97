"""The Python API: plan a job, run it here, submit it to a fleet, open it again.

Rule: nothing is sent before the job and its dataset have been checked (`prepare`).
"""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator import settings as configuration
from orchestrator.api.handle import JobHandle, drive
from orchestrator.api.job import Job
from orchestrator.api.prepare import enter, places, prepare, refuse_function, refuse_unshared
from orchestrator.api.result import Result
from orchestrator.audit.audit import audit_job
from orchestrator.audit.findings import Audit
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import JobId
from orchestrator.domain.recovery import GUARANTEE
from orchestrator.engine.job_context import JobContext, keyless, planning_of
from orchestrator.engine.local_runner import Progress, alone
from orchestrator.engine.opening import opened_workspace
from orchestrator.planner.estimate import Estimate, estimate
from orchestrator.restore.restore import Recovered, recover_work
from orchestrator.settings import ProviderSettings
from orchestrator.storage.location import locate


def plan(job: Job) -> Estimate:
    """Say what `job` would send and cost, with three sample requests. Sends nothing, and needs no key."""
    settings, work = places(job)
    prepared = prepare(job, settings, work)
    context = JobContext(spec=prepared.spec, work=work, connect=keyless, render=job.render, opened=prepared.source)
    return estimate(planning_of(context, job.resolved_policy))


def identify(job: Job) -> JobId:
    """Return the id that `job` has, or would have."""
    settings, work = places(job)
    return prepare(job, settings, work).spec.job_id


def run(
    dataset_or_job: Any,
    *,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    **job_fields: Any,
) -> Result:
    """Run a job in this process to its end and return its result; run again, it resumes, or returns at once.

    `run(df, prompt="… {text}", model="…")` is short for `run(Job(dataset=df, prompt=…, model=…))`.

    Args:
        progress: called about twice a second with the job and its totals.
        stop: set it to end the run early; what is under way is recorded first.

    Raises:
        ConfigError, DatasetError: nothing was sent.
        JobUnresolved: some chunks wait for `resolve`; the rest is done.
        JobInterrupted: a stop was asked for.
        JobStopped: the job cannot go on.
    """
    job = _job_of(dataset_or_job, job_fields)
    settings, work = places(job)
    prepared = prepare(job, settings, work)
    with opened_workspace(work) as workspace:
        context = workspace.equip(prepared.spec, render=job.render, source=prepared.source)
        context.require_provider()
        if workspace.lock is None:  # one more at work on a ledger that others share
            refuse_function(job)
            enter(workspace, prepared, context)
            return drive(workspace, prepared.spec.job_id, progress, stop)
        with alone(workspace):
            enter(workspace, prepared, context)
            return drive(workspace, prepared.spec.job_id, progress, stop)


def submit(dataset_or_job: Any, **job_fields: Any) -> JobHandle:
    """Enter a job in the ledger for a fleet's workers to do, and return at once; submitted again, it resumes.

    `submit(df, prompt="… {text}", model="…")` is short for `submit(Job(dataset=df, prompt=…, model=…))`.
    The provider's key is the workers' affair: none is needed here.

    Raises ConfigError, DatasetError: nothing was entered.
    """
    job = _job_of(dataset_or_job, job_fields)
    settings, work = places(job)
    refuse_unshared(job, work)
    prepared = prepare(job, settings, work)
    with opened_workspace(work) as workspace:
        enter(workspace, prepared, workspace.equip(prepared.spec, source=prepared.source))
    return JobHandle(job_id=prepared.spec.job_id, work=work)


def _job_of(dataset_or_job: Any, fields: dict[str, Any]) -> Job:
    if not isinstance(dataset_or_job, Job):
        return Job(dataset=dataset_or_job, **fields)
    if fields:
        raise ConfigError(f"a Job is given, so {', '.join(sorted(fields))} must be set in it")
    return dataset_or_job


def open_job(job_id: str, *, work: str | Path | None = None) -> JobHandle:
    """Return a handle on a job of a work folder. Raises ConfigError where there is none."""
    folder = work_folder(work)
    with opened_workspace(folder, must_exist=True) as workspace:
        known = [job.id for job in workspace.admin.jobs()]
    if JobId(job_id) not in known:
        raise ConfigError(f"{folder} has no job {job_id!r}; it has: {', '.join(known) or 'none'}")
    return JobHandle(job_id=JobId(job_id), work=folder)


def jobs(*, work: str | Path | None = None) -> list[JobHandle]:
    """Return handles on all jobs of a work folder, the newest first."""
    folder = work_folder(work)
    with opened_workspace(folder, must_exist=True) as workspace:
        return [JobHandle(job_id=job.id, work=folder) for job in workspace.admin.jobs()]


def audit(job: Job | str, *, work: str | Path | None = None, deep: bool = False) -> Audit:
    """Hold a job's ledger against its archive, its output and, where it has one, the provider's list. Only reads.

    Args:
        job: a Job, or the id of one.
        deep: digest and parse everything anew, and make the output's results anew to compare them.

    Raises ConfigError where the work folder has no such job.
    """
    named, place = (job, work) if isinstance(job, str) else (identify(job), work or job.work)
    handle = open_job(named, work=place)
    with opened_workspace(handle.work) as workspace:
        return audit_job(workspace, handle.job_id, deep=deep)


def recover(*, work: str | Path | None = None) -> list[Recovered]:
    """Write jobs back into a ledger that was lost, or that is older than its work folder. Sends nothing.

    Raises:
        ConfigError: there is nothing to recover: no job in the folder, or none that the ledger has lost.
        LedgerBusy: others are at work on the ledger.
    """
    folder = work_folder(work)
    with opened_workspace(folder, must_exist=True) as workspace:
        return recover_work(workspace)


def work_folder(given: str | Path | None) -> str:
    """Return the location of the work folder that is meant."""
    return configuration.load(os.environ).work if given is None else locate(given)


def guarantee(provider: ProviderSettings) -> str:
    """Say in a sentence what can be promised about paying once, with this provider."""
    recovery = keyless(provider).traits.recovery
    return f"{provider.name} is of class {recovery.value}: {GUARANTEE[recovery]}"


def at(job: Job, work: str | Path) -> Job:
    """Return `job` with another work folder."""
    return replace(job, work=work)
