"""The Python API: plan a job, run it to its end, open it again.

Rule: nothing is sent before the job, its key and its dataset have been checked (`prepare`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator import settings as configuration
from orchestrator.domain import model
from orchestrator.domain.errors import ConfigError, OrchestratorError
from orchestrator.domain.model import BatchId, ChunkId, JobId, JobState
from orchestrator.domain.recovery import GUARANTEE
from orchestrator.job import Job
from orchestrator.local import LocalRunner, Progress, only_runner
from orchestrator.planner.estimate import Estimate, estimate
from orchestrator.prepare import NoKey, enter, places, prepare
from orchestrator.result import Result, Status, revision_path
from orchestrator.settings import ProviderSettings, Settings
from orchestrator.wiring import JobTools, Workbench, connect, open_workbench, planning_of


class JobStopped(OrchestratorError):
    """The job cannot go on by itself; the message says why and what to do. Running it again resumes it."""


class JobInterrupted(JobStopped):
    """A stop was asked for. Running the job again goes on where it was left."""


class JobHeld(JobStopped):
    """Only a person can tell what became of some creates: see `orchestrator resolve`."""


def plan(job: Job) -> Estimate:
    """Say what `job` would send and cost, with three sample requests. Sends nothing, and needs no key."""
    settings, work = places(job)
    prepared = prepare(job, settings, work)
    tools = JobTools(spec=prepared.spec, work=work, environment=NoKey(), render=job.render, opened=prepared.source)
    return estimate(planning_of(tools, job.resolved_policy))


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
    """Run a job to its end and return its result; run again, it resumes, or returns at once what it gave.

    `run(df, prompt="… {text}", model="…")` is short for `run(Job(dataset=df, prompt=…, model=…))`.

    Args:
        progress: called about twice a second with the job and its totals.
        stop: set it to end the run early; what is under way is recorded first.

    Raises:
        ConfigError, DatasetError: nothing was sent.
        JobHeld: some chunks wait for `resolve`; the rest is done.
        JobInterrupted: a stop was asked for.
        JobStopped: the job cannot go on.
    """
    job = dataset_or_job if isinstance(dataset_or_job, Job) else Job(dataset=dataset_or_job, **job_fields)
    if isinstance(dataset_or_job, Job) and job_fields:
        raise ConfigError(f"a Job is given, so {', '.join(sorted(job_fields))} must be set in it")
    settings, work = places(job)
    prepared = prepare(job, settings, work)
    with open_bench(work) as bench:
        tools = bench.equip(prepared.spec, render=job.render, source=prepared.source)
        assert tools.provider  # a missing key is an error before anything is planned
        with only_runner(work):
            enter(bench, prepared)
            return _drive(bench, prepared.spec.job_id, settings, progress, stop)


def open_job(job_id: str, *, work: str | Path | None = None) -> JobHandle:
    """Return a handle on a job of a work folder. Raises ConfigError where there is none."""
    settings = configuration.load(os.environ)
    folder = Path(work) if work is not None else settings.work
    with open_bench(folder, must_exist=True) as bench:
        known = [job.id for job in bench.desk.jobs()]
    if JobId(job_id) not in known:
        raise ConfigError(f"{folder} has no job {job_id!r}; it has: {', '.join(known) or 'none'}")
    return JobHandle(job_id=JobId(job_id), work=folder)


def jobs(*, work: str | Path | None = None) -> list[JobHandle]:
    """Return handles on all jobs of a work folder, the newest first."""
    folder = Path(work) if work is not None else configuration.load(os.environ).work
    with open_bench(folder, must_exist=True) as bench:
        return [JobHandle(job_id=job.id, work=folder) for job in bench.desk.jobs()]


def guarantee(provider: ProviderSettings) -> str:
    """Say in a sentence what can be promised about paying once, with this provider."""
    recovery = connect(provider, NoKey()).traits.recovery
    return f"{provider.name} is of class {recovery.value}: {GUARANTEE[recovery]}"


def at(job: Job, work: Path) -> Job:
    """Return `job` with another work folder."""
    return replace(job, work=work)


@dataclass(frozen=True, slots=True)
class JobHandle:
    """A job that has been run before, in whatever state it is."""

    job_id: JobId
    work: Path

    def provider_settings(self) -> ProviderSettings:
        """Return the provider's table, as the job was opened with it."""
        with open_bench(self.work) as bench:
            return bench.tools(self.job_id).spec.provider

    def status(self) -> Status:
        """Return how the job stands."""
        with open_bench(self.work) as bench:
            return _status(bench, self.job_id)

    def results(self) -> Result:
        """Return the result. Raises JobStopped where the job has not ended."""
        with open_bench(self.work) as bench:
            job = bench.ledger.job(self.job_id)
            if job.state not in (JobState.FINISHED, JobState.CANCELLED):
                raise JobStopped(f"job {self.job_id} is {job.state}: it has no result yet")
            return _result(bench, job)

    def resume(self, *, progress: Progress | None = None, stop: threading.Event | None = None) -> Result:
        """Go on with the job, from its own spec, to its end."""
        with open_bench(self.work) as bench, only_runner(self.work):
            assert bench.tools(self.job_id).provider  # a missing key is an error before anything else
            now = bench.clock.now()
            bench.desk.break_leases(now=now)
            bench.desk.resume(self.job_id, now=now)
            if bench.ledger.job(self.job_id).state is JobState.CANCELLED:
                bench.desk.retry(self.job_id, now=now)
            return _drive(bench, self.job_id, configuration.load(os.environ), progress, stop)

    def cancel(self, *, progress: Progress | None = None, stop: threading.Event | None = None) -> Status:
        """Drop what is unsent, cancel what is sent, and collect what was answered, unless another process does so."""
        with open_bench(self.work) as bench:
            bench.desk.cancel(self.job_id, now=bench.clock.now())
            try:
                with only_runner(self.work):
                    bench.desk.break_leases(now=bench.clock.now())
                    _runner(bench, self.job_id, configuration.load(os.environ), stop).run(progress)
            except ConfigError:
                if bench.ledger.job(self.job_id).state is not JobState.CANCELLING:
                    raise
            return _status(bench, self.job_id)

    def retry(self, *, progress: Progress | None = None, stop: threading.Event | None = None) -> Result:
        """Send the dead rows of an ended job again, and run it to its end; the output is a new revision."""
        with open_bench(self.work) as bench, only_runner(self.work):
            bench.desk.retry(self.job_id, now=bench.clock.now())
            bench.desk.resume(self.job_id, now=bench.clock.now())
            return _drive(bench, self.job_id, configuration.load(os.environ), progress, stop)

    def resolve(self, chunk: str, batch_id: str | None) -> None:
        """Say what became of a held create: it made `batch_id`; or None: it made nothing, and may be sent again."""
        with open_bench(self.work) as bench:
            full = chunk if "/" in chunk else f"{self.job_id}/{chunk}"
            batch = None if batch_id is None else BatchId(batch_id)
            bench.desk.resolve(ChunkId(full), batch, now=bench.clock.now())

    def held(self) -> list[dict[str, Any]]:
        """Return the creates that only a person can explain: what was sent, when, and why they are held."""
        with open_bench(self.work) as bench:
            return [
                {
                    "chunk": chunk.name,
                    "requests": chunk.request_count,
                    "sent_at": attempt.sent_at.isoformat(),
                    "attempt": attempt.number,
                    "cost_usd_max": str(attempt.reserved_usd),
                    "reason": chunk.error,
                }
                for chunk, attempt in bench.desk.held(self.job_id)
            ]


@contextmanager
def open_bench(work: Path, *, must_exist: bool = False) -> Iterator[Workbench]:
    """Open a work folder for the length of a block."""
    if must_exist and not work.is_dir():
        raise ConfigError(f"there is no work folder {work}: run a job first, or name the folder with --work")
    bench = open_workbench(work, os.environ)
    try:
        yield bench
    finally:
        bench.close()


def _runner(bench: Workbench, job_id: JobId, settings: Settings, stop: threading.Event | None) -> LocalRunner:
    runner = LocalRunner(bench=bench, job_id=job_id, threads=settings.threads, lease_s=settings.lease_s)
    if stop is not None:
        runner.stop = stop
    return runner


def _drive(
    bench: Workbench, job_id: JobId, settings: Settings, progress: Progress | None, stop: threading.Event | None
) -> Result:
    job = _runner(bench, job_id, settings, stop).run(progress)
    if job.state in (JobState.FINISHED, JobState.CANCELLED):
        return _result(bench, job)
    if job.state is JobState.STOPPED:
        raise JobStopped(f"job {job_id} is stopped: {job.reason}")
    if stop is not None and stop.is_set():
        raise JobInterrupted(f"job {job_id} was interrupted; run it again to go on")
    held = bench.desk.held(job_id)
    if held:
        raise JobHeld(
            f"job {job_id}: chunks held: {len(held)}, because nobody can tell whether their batches were created: "
            f"see `orchestrator resolve {job_id}`"
        )
    reason = bench.desk.pause_reason(job.account, now=bench.clock.now())
    raise JobStopped(f"job {job_id}: the provider refuses the account: {reason}. Mend that, and run it again")


def _status(bench: Workbench, job_id: JobId) -> Status:
    job = bench.ledger.job(job_id)
    pause = bench.desk.pause_reason(job.account, now=bench.clock.now())
    totals = bench.overview.totals(job_id)
    return Status(job_id=job_id, state=job.state, reason=job.reason, totals=totals, pause_reason=pause)


def _result(bench: Workbench, job: model.Job) -> Result:
    tools = bench.tools(job.id)
    path = revision_path(tools.output_folder, job)
    return Result(status=_status(bench, job.id), path=path, options=tools.spec.output_options)
