"""Runs jobs in threads of a program that stays, such as the page: each by its handle, as the command line runs it.

Rule 1: `begin` returns once steps may run, or all is over; an error before that is raised there.
Rule 2: what ends a run later is in the ledger, where anyone looks for it; but for an error that no step expects, which
        is kept for `failure`.
Rule 3: where other processes carry a command out, no thread stays to wait for them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from orchestrator.domain.errors import JobInterrupted, JobNotFinished, public_message
from orchestrator.domain.look import Look, OnLook
from orchestrator.domain.model import JobId
from orchestrator.domain.workers import Kind
from orchestrator.log import STEP_FAILED, EventLog

_log: Final = EventLog(__name__)
Running = Callable[[OnLook, threading.Event], object]  # a method of a handle: its progress callback, its stop


@dataclass(slots=True)
class _Run:
    """One run of a job, in a thread of its own."""

    job_id: JobId
    running: Running
    is_shared: bool
    stop: threading.Event = field(default_factory=threading.Event)
    has_begun: bool = False
    known: threading.Event = field(default_factory=threading.Event)  # whether it has begun: it has, or it is over
    error: BaseException | None = None
    failure: str = ""  # an error that no step expects, after it had begun
    thread: threading.Thread = field(init=False)

    def start(self) -> None:
        self.thread = threading.Thread(target=self._work, name=f"run of {self.job_id}", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        try:
            self.running(self._look, self.stop)
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits, or told by `failure`
            self.error = error
            if self.has_begun and not isinstance(error, JobNotFinished):
                _log.error(STEP_FAILED, job=self.job_id, error=type(error).__name__)
                self.failure = public_message(error)
        self.known.set()

    def _look(self, look: Look) -> None:
        others = [one for one in look.worked_by if one.kind is Kind.WORKER or one.pid != os.getpid()]
        if self.is_shared or not all(one.is_stopping for one in others):  # what stops carries nothing more out
            self.stop.set()
        self.has_begun = True
        self.known.set()


@dataclass(slots=True)
class Background:
    """The runs of this process; safe to use from many threads."""

    is_shared: bool  # other processes work on the ledger as well, and carry out what is recorded there
    _runs: list[_Run] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, job_id: JobId, running: Running) -> None:
        """Start a run. Raises the error of one that does not begin."""
        run = _Run(job_id, running, self.is_shared)
        with self._lock:
            others = [one for one in self._runs if one.thread.is_alive()]
            self._runs = [one for one in self._runs if one in others or one.job_id != job_id]
            run.start()
            self._runs.append(run)
        run.known.wait()
        if run.error is not None and not run.has_begun:
            raise run.error

    def failure(self, job_id: JobId) -> str:
        """Return the error that ended the last run of a job; "" where none did."""
        with self._lock:
            return next((one.failure for one in reversed(self._runs) if one.job_id == job_id), "")

    def running(self) -> list[JobId]:
        """Return the jobs that this process runs."""
        with self._lock:
            return [one.job_id for one in self._runs if one.thread.is_alive()]

    def stop(self) -> list[JobId]:
        """Ask all runs to stop, wait until what they have under way is recorded, and return their jobs."""
        with self._lock:
            runs = [one for one in self._runs if one.thread.is_alive()]
        for run in runs:
            run.stop.set()
        for run in runs:
            run.thread.join()
        return [one.job_id for one in runs if isinstance(one.error, JobInterrupted)]
