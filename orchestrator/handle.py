"""A job that is in the ledger: how it stands, waiting for it, what a person may do with it.

Rule: where the ledger is a file and nobody is at work on it, this process does what is asked for itself; elsewhere
it asks in the ledger, and the fleet's workers do it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from orchestrator import settings as configuration
from orchestrator.domain import model
from orchestrator.domain.errors import ConfigError, LedgerBusy, OrchestratorError
from orchestrator.domain.members import Kind
from orchestrator.domain.model import BatchId, ChunkId, JobId, JobState
from orchestrator.local import ENDED, REPORT_S, LocalRunner, Progress, only_runner
from orchestrator.location import is_url
from orchestrator.result import Result, Status, revision_path
from orchestrator.settings import ProviderSettings
from orchestrator.standstill import crowded_by, needs_a_person
from orchestrator.wiring.bench import Workbench
from orchestrator.wiring.opening import open_workbench
from orchestrator.wiring.orders import keep_order, keep_word

WHOLE: Final = frozenset({JobState.FINISHED, JobState.CANCELLED})  # there is a result


class JobStopped(OrchestratorError):
    """The job cannot go on by itself; the message says why and what to do. Running it again resumes it."""


class JobInterrupted(JobStopped):
    """A stop was asked for. Running the job again goes on where it was left."""


class JobHeld(JobStopped):
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
        with open_bench(self.work) as bench:
            return bench.tools(self.job_id).spec.provider

    def status(self) -> Status:
        """Return how the job stands."""
        with open_bench(self.work) as bench:
            return status_of(bench, self.job_id)

    def results(self) -> Result:
        """Return the result. Raises JobStopped where the job has not ended."""
        with open_bench(self.work) as bench:
            job = bench.ledger.job(self.job_id)
            if job.state not in WHOLE:
                raise JobStopped(f"job {self.job_id} is {job.state}: it has no result yet")
            return _result(bench, job)

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
            JobHeld, JobStopped: the job cannot go on by itself.
            JobInterrupted: `stop` was set.
        """
        with open_bench(self.work) as bench:
            return await_end(bench, self.job_id, timeout, progress, stop or threading.Event())

    def resume(self, *, progress: Progress | None = None, stop: threading.Event | None = None) -> Result:
        """Go on with the job, from its own spec, to its end."""
        with open_bench(self.work) as bench:
            return self._see_through(bench, progress, stop, again=False)

    def retry(self, *, progress: Progress | None = None, stop: threading.Event | None = None) -> Result:
        """Send the dead rows of an ended job again, and see it to its end; the output is a new revision."""
        with open_bench(self.work) as bench:
            return self._see_through(bench, progress, stop, again=True)

    def _see_through(
        self, bench: Workbench, progress: Progress | None, stop: threading.Event | None, *, again: bool
    ) -> Result:
        now = bench.clock.now()
        try:
            with alone(bench):
                assert bench.tools(self.job_id).provider  # a missing key is an error before anything else
                self._take_up(bench, again=again)
                return drive(bench, self.job_id, progress, stop)
        except LedgerBusy:
            if bench.lock is not None and not bench.fleet.alive(now=now):
                raise
        self._take_up(bench, again=again)
        return await_end(bench, self.job_id, None, progress, stop or threading.Event())

    def _take_up(self, bench: Workbench, *, again: bool) -> None:
        now = bench.clock.now()
        if again or bench.ledger.job(self.job_id).state is JobState.CANCELLED:
            bench.desk.retry(self.job_id, now=now)
        bench.desk.resume(self.job_id, now=now)
        keep_order(bench, self.job_id)

    def cancel(self, *, progress: Progress | None = None, stop: threading.Event | None = None) -> Status:
        """Drop what is unsent, cancel what is sent, and collect what was answered, unless other processes do so."""
        with open_bench(self.work) as bench:
            bench.desk.cancel(self.job_id, now=bench.clock.now())
            keep_order(bench, self.job_id)
            try:
                with alone(bench):
                    _runner(bench, self.job_id, stop).run(progress)
            except LedgerBusy:
                if bench.lock is not None and bench.ledger.job(self.job_id).state is not JobState.CANCELLING:
                    raise
            return status_of(bench, self.job_id)

    def resolve(self, chunk: str, batch_id: str | None) -> None:
        """Say what became of a held create: it made `batch_id`; or None: it made nothing, and may be sent again."""
        with open_bench(self.work) as bench:
            full = chunk if "/" in chunk else f"{self.job_id}/{chunk}"
            batch = None if batch_id is None else BatchId(batch_id)
            resolved = bench.desk.resolve(ChunkId(full), batch, now=bench.clock.now())
            keep_word(bench, resolved, batch)

    def vouch(self) -> int:
        """Say that the key that is in now is of the account that all creates of the job were sent from.

        For a key that was rotated, where the provider cannot show it any more. Returns how many held chunks waited.
        """
        with open_bench(self.work) as bench:
            key_mark = bench.tools(self.job_id).provider.traits.key_mark
            return bench.desk.vouch(self.job_id, key_mark, now=bench.clock.now())

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
def open_bench(work: str, *, must_exist: bool = False) -> Iterator[Workbench]:
    """Open a work folder and its ledger for the length of a block."""
    settings = configuration.load(os.environ)
    if must_exist and not is_url(work) and not settings.ledger_url and not Path(work).is_dir():
        raise ConfigError(f"there is no work folder {work}: run a job first, or name the folder with --work")
    bench = open_workbench(work, settings.ledger_url, os.environ)
    try:
        yield bench
    finally:
        bench.close()


@contextmanager
def alone(bench: Workbench) -> Iterator[None]:
    """Be the one process at work on the ledger. Raises LedgerBusy where there are others, or may be."""
    if bench.lock is None:
        raise LedgerBusy("the ledger is one that workers of several machines share: they do what is asked for")
    with only_runner(bench.lock):
        bench.desk.break_leases(now=bench.clock.now())
        yield


def drive(bench: Workbench, job_id: JobId, progress: Progress | None, stop: threading.Event | None) -> Result:
    """Run the job's steps in this process, to its end."""
    _runner(bench, job_id, stop).run(progress)
    return _outcome(bench, job_id, stop)


def await_end(
    bench: Workbench, job_id: JobId, timeout_s: float | None, progress: Progress | None, stop: threading.Event
) -> Result:
    """Look at the job until it has ended."""
    until = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        job = bench.ledger.job(job_id)
        if progress is not None:
            progress(job, bench.overview.totals(job_id))
        if job.state in ENDED or needs_a_person(bench, job_id):
            return _outcome(bench, job_id, None)
        left_s = REPORT_S if until is None else min(REPORT_S, until - time.monotonic())
        if left_s <= 0:
            raise JobUnfinished(f"job {job_id} has not ended within {timeout_s:g} seconds; it goes on")
        if stop.wait(left_s):
            raise JobInterrupted(f"job {job_id} goes on; this process waits for it no longer")


def _runner(bench: Workbench, job_id: JobId, stop: threading.Event | None) -> LocalRunner:
    settings = configuration.load(os.environ)
    runner = LocalRunner(bench=bench, job_id=job_id, threads=settings.threads, lease_s=settings.lease_s)
    if stop is not None:
        runner.stop = stop
    return runner


def _outcome(bench: Workbench, job_id: JobId, stop: threading.Event | None) -> Result:
    job = bench.ledger.job(job_id)
    if job.state in WHOLE:
        return _result(bench, job)
    if job.state is JobState.STOPPED:
        raise JobStopped(f"job {job_id} is stopped: {job.reason}")
    if stop is not None and stop.is_set():
        raise JobInterrupted(f"job {job_id} was interrupted; run it again to go on")
    held = bench.desk.held(job_id)
    if held:
        raise JobHeld(
            f"job {job_id}: chunks held: {len(held)}, because only a person can find out about their batches: "
            f"see `orchestrator resolve {job_id}`"
        )
    crowd = crowded_by(bench, job, bench.overview.totals(job_id))
    if crowd:
        raise JobHeld(
            f"job {job_id}: the account may have {job.policy.batches_in_flight_max} batches in flight "
            "(policy.batches_in_flight_max), and creates of other jobs, which only a person can find out about, take "
            f"all of that room: see `orchestrator resolve {crowd[0]}`"
        )
    reason = bench.desk.pause_reason(job.account, now=bench.clock.now())
    raise JobStopped(f"job {job_id}: the provider refuses the account: {reason}. Mend that, and run it again")


def status_of(bench: Workbench, job_id: JobId) -> Status:
    """Return how a job stands."""
    job, now = bench.ledger.job(job_id), bench.clock.now()
    kinds = [member.kind for member in bench.fleet.alive(now=now)]
    return Status(
        job_id=job_id,
        state=job.state,
        reason=job.reason,
        totals=bench.overview.totals(job_id),
        pause_reason=bench.desk.pause_reason(job.account, now=now),
        workers_alive=kinds.count(Kind.WORKER),
        beats_alive=kinds.count(Kind.BEAT),
    )


def _result(bench: Workbench, job: model.Job) -> Result:
    tools = bench.tools(job.id)
    path = revision_path(tools.output_folder, job)
    return Result(status=status_of(bench, job.id), path=path, options=tools.spec.output_options)
