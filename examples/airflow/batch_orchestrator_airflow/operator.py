"""Runs a job of batch-orchestrator as a task: in the task's own process, or on a fleet of workers.

Rule 1: a task that is tried again goes on with its job; nothing is sent twice.
Rule 2: XCom gets counts and a location, whatever the size of the table.
Rule 3: the run has a thread of its own, so that Airflow's signal handlers stay, and `on_kill` can stop it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import BaseHook, BaseOperator
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException, AirflowFailException

import orchestrator
from batch_orchestrator_airflow.trigger import JobTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

WAITING: Final = frozenset(
    {"waiting for batches", "waiting for its canary", "waiting for budget", "waiting for the account", "paused by you"}
)
# Chunks that a step is to move now; the others wait for the provider, or for their turn.
MOVING: Final = ("uploaded", "submitting", "ambiguous", "ended", "splitting")
WORTH_S: Final = 5.0  # a shorter wait is not worth a deferral


class BatchOrchestratorOperator(BaseOperator):
    """Gives every row of a table a model's answer through a Batch API.

    Args:
        job: the fields of an `orchestrator.Job`: `dataset`, `prompt`, `model`, … (templated).
        job_file: instead of it: the path of a job file (templated).
        work: the work folder, a path or a URL (templated); else that of the job, or ORCHESTRATOR_WORK. What every
            try of the task sees again: the same disk or an object store.
        on: "local" runs the job in this task; "fleet" submits it to the workers of a ledger.
        deferrable: give the worker's slot back while only the provider works; by default as Airflow is configured
            (`operators.default_deferrable`).
        poll_interval: seconds between two looks while deferred.
        wait_for_completion: False returns once a fleet has the job.
        timeout: seconds the task waits in all; the job itself stays, and the next try goes on with it.
        allow_failed: succeed although rows have failed.
        cancel_on_kill: cancel the job where the task is killed, cleared or marked; else it stays at the provider.
        conn_id: an Airflow connection whose password is the provider's key; else the environment has it.

    Returns:
        `job_id`, `work`, `rows`, `succeeded`, `failed`, `cost_usd` (a text, or None) and `output`, the folder of the
        Parquet files.
    """

    template_fields = ("job", "job_file", "work")
    template_fields_renderers = {"job": "json"}  # noqa: RUF012 - as Airflow has it
    ui_color = "#dcecf7"

    # Not set before a task runs: Airflow copies and serialises operators.
    _stop: threading.Event | None = None
    _running: Future[orchestrator.Result] | None = None
    _handle: orchestrator.JobHandle | None = None

    def __init__(
        self,
        *,
        job: Mapping[str, Any] | None = None,
        job_file: str | None = None,
        work: str | None = None,
        on: str = "local",
        deferrable: bool | None = None,
        poll_interval: float = 60.0,
        wait_for_completion: bool = True,
        timeout: float | None = None,
        allow_failed: bool = False,
        cancel_on_kill: bool = True,
        conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (job is None) == (job_file is None):
            raise ValueError(f"{self.task_id}: give either job={{…}} or job_file=…")
        if on not in ("local", "fleet"):
            raise ValueError(f'{self.task_id}: on is "local" or "fleet", not {on!r}')
        if on == "local" and not wait_for_completion:
            raise ValueError(
                f'{self.task_id}: nobody else runs a local job: wait_for_completion=False needs on="fleet"'
            )
        self.job = job
        self.job_file = job_file
        self.work = work
        self.on = on
        default = conf.getboolean("operators", "default_deferrable", fallback=False)
        self.deferrable = default if deferrable is None else deferrable
        self.poll_interval = poll_interval
        self.wait_for_completion = wait_for_completion
        self.timeout = timeout
        self.allow_failed = allow_failed
        self.cancel_on_kill = cancel_on_kill
        self.conn_id = conn_id

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - as Airflow calls it
        """Run the job, or submit it."""
        deadline = None if self.timeout is None else time.time() + self.timeout
        return self._go_on(deadline)

    def execute_complete(
        self,
        context: Context,  # noqa: ARG002 - as Airflow calls it
        event: dict[str, Any],
        deadline: float | None = None,
    ) -> dict[str, Any]:
        """Go on after the trigger has fired."""
        if event["is_late"]:
            raise self._late(event["job_id"])
        return self._go_on(deadline)

    def on_kill(self) -> None:
        """Stop the run: what is under way is recorded first. Then cancel the job, unless it is to stay."""
        if self._stop is not None:
            self._stop.set()
        if self._running is not None:
            wait([self._running])
        if self.cancel_on_kill and self._handle is not None:
            self.log.info("cancelling job %s: what is answered is kept", self._handle.job_id)
            self._handle.cancel(progress=False)

    def _go_on(self, deadline: float | None) -> dict[str, Any]:
        self._stop = threading.Event()
        try:
            job = self._described()
            self._give_key(job)
            return self._on_fleet(job, deadline) if self.on == "fleet" else self._locally(job, deadline)
        except orchestrator.JobInterrupted as error:
            raise AirflowException(str(error)) from error  # the task is killed
        except (orchestrator.JobStopped, orchestrator.JobUnresolved, orchestrator.JobConflict) as error:
            raise AirflowFailException(str(error)) from error  # it waits for a person: another try would end alike
        except (orchestrator.ConfigError, orchestrator.DatasetError) as error:
            raise AirflowFailException(str(error)) from error

    def _described(self) -> orchestrator.Job:
        if self.job_file is not None:
            job = orchestrator.read_job(Path(self.job_file))
        else:
            job = orchestrator.Job(**(self.job or {}))
        return job if self.work is None else replace(job, work=self.work)

    def _give_key(self, job: orchestrator.Job) -> None:
        """Put the connection's password where the job looks for its key: in this task's own environment."""
        if self.conn_id is not None:
            key = BaseHook.get_connection(self.conn_id).password
            os.environ[job.provider_settings.api_key_env] = key or ""

    def _on_fleet(self, job: orchestrator.Job, deadline: float | None) -> dict[str, Any]:
        self._handle = handle = orchestrator.submit(job)
        if not self.wait_for_completion:
            return {"job_id": handle.job_id, "work": handle.work}
        left_s = None if deadline is None else max(0.0, deadline - time.time())
        timeout_s = 0.0 if self.deferrable else left_s
        try:
            return self._told(self._in_thread(handle.wait, timeout_s, progress=self.log_looks(), stop=self._stop))
        except orchestrator.JobTimeout:
            if not self.deferrable:
                raise self._late(handle.job_id) from None
        return self._defer(deadline, look_at=0.0)

    def _locally(self, job: orchestrator.Job, deadline: float | None) -> dict[str, Any]:
        log, waits_until = self.log_looks(), 0.0

        def look(now: orchestrator.Look) -> None:
            nonlocal waits_until
            log(now)
            if self._handle is None:
                self._handle = orchestrator.open_job(now.job_id, work=job.work)
            is_waiting = self.deferrable and only_waits(now)
            if is_waiting:
                due = now.at_provider.next_look_at or now.at
                waits_until = time.time() + max(self.poll_interval, (due - now.at).total_seconds())
            if self._stop is not None and (is_waiting or is_late(deadline)):
                self._stop.set()

        try:
            return self._told(self._in_thread(orchestrator.run, job, progress=look, stop=self._stop))
        except orchestrator.JobInterrupted:
            if self._handle is not None and is_late(deadline):
                raise self._late(self._handle.job_id) from None
            if not waits_until:
                raise
        return self._defer(deadline, look_at=waits_until)

    def _in_thread(self, act: Callable[..., orchestrator.Result], *given: Any, **named: Any) -> orchestrator.Result:
        with ThreadPoolExecutor(1) as pool:
            self._running = pool.submit(act, *given, **named)
            return self._running.result()

    def _defer(self, deadline: float | None, *, look_at: float) -> Any:
        assert self._handle is not None
        self.log.info("job %s waits for its provider: the task is deferred", self._handle.job_id)
        trigger = JobTrigger(
            job_id=self._handle.job_id,
            work=self._handle.work,
            on=self.on,
            poll_interval=self.poll_interval,
            look_at=look_at,
            deadline=deadline,
            cancel_on_kill=self.cancel_on_kill,
        )
        self.defer(trigger=trigger, method_name="execute_complete", kwargs={"deadline": deadline})

    def log_looks(self) -> Any:
        """Return a progress callback that logs what the job does, when that changes."""
        last = [""]

        def look(now: orchestrator.Look) -> None:
            told = (
                f"{now.activity}: {now.rows.answered:,} of {now.rows.total:,} rows answered, {now.rows.failed:,} failed"
            )
            if told != last[0]:
                last[0] = told
                self.log.info("%s %s", now.job_id, told)

        return look

    def _late(self, job_id: str) -> AirflowException:
        return AirflowException(
            f"job {job_id} has not ended within {self.timeout:g} seconds (timeout). What is paid is kept, what was "
            "sent goes on at the provider, and the next try of this task goes on with it."
        )

    def _told(self, result: orchestrator.Result) -> dict[str, Any]:
        counts, cost = result.counts, result.cost_usd
        if counts["failed"] and not self.allow_failed:
            causes = ", ".join(f"{code} {count:,}" for code, count in result.errors().most_common(5))
            raise AirflowFailException(
                f"job {result.job_id} has ended, and {counts['failed']:,} of {counts['rows']:,} rows have failed: "
                f"{causes}. The output is {result.path}. To send them again: orchestrator retry {result.job_id}. "
                "To succeed all the same: allow_failed=True."
            )
        work = self._handle.work if self._handle is not None else self.work
        told = {"job_id": result.job_id, "work": work, "output": result.path}
        return told | counts | {"cost_usd": None if cost is None else f"{cost:f}"}


def is_late(deadline: float | None) -> bool:
    """Whether the task has waited as long as it may."""
    return deadline is not None and time.time() >= deadline


def only_waits(look: orchestrator.Look) -> bool:
    """Whether nothing is left to do for a job before the provider is asked again, which is not soon."""
    due = look.at_provider.next_look_at
    if look.activity not in WAITING or any(look.chunks.get(state, 0) for state in MOVING):  # type: ignore[call-overload]
        return False
    return due is None or (due - look.at).total_seconds() >= WORTH_S
