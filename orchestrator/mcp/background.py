"""Jobs that run in the background of the server: each in a thread of this process, until its end or the server's.

Rule: when the server ends, each run is asked to stop and waited for. What is recorded stays; `run` again resumes it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from orchestrator.api.documents import errors
from orchestrator.api.documents.upkeep import Error
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.look import Look, OnLook
from orchestrator.domain.model import JobId
from orchestrator.log import STEP_FAILED, EventLog

_log: Final = EventLog(__name__)
START_S = 60.0  # how long a caller waits to learn that a job could not be begun
Running = Callable[[OnLook, threading.Event], object]


@dataclass(slots=True)
class _Run:
    stop: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)  # it is under way, or has ended
    ended: threading.Event = field(default_factory=threading.Event)
    error: Error | None = None
    has_looked: bool = False

    def look(self, _now: Look) -> None:
        self.has_looked = True
        self.begun.set()


class Background:
    """The runs of this process, by job; safe to use from many threads."""

    def __init__(self) -> None:
        self._runs: dict[JobId, _Run] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def start(self, job_id: JobId, running: Running) -> Error | None:
        """Run a job in a thread, unless it runs here; return why it could not be begun, as soon as that is known."""
        with self._lock:
            if self._runs_here(job_id):
                return None
            run = self._runs[job_id] = _Run()
            thread = threading.Thread(target=self._run, args=(run, running), name=f"run {job_id}")
            self._threads.append(thread)
            thread.start()
        run.begun.wait(START_S)
        return None if run.has_looked else run.error

    def runs_here(self, job_id: JobId) -> bool:
        """Return whether a job runs in this process."""
        with self._lock:
            return self._runs_here(job_id)

    def _runs_here(self, job_id: JobId) -> bool:
        known = self._runs.get(job_id)
        return known is not None and not known.ended.is_set()

    def error(self, job_id: JobId) -> Error | None:
        """Return how the last run of a job here has ended, where that was by an error."""
        run = self._runs.get(job_id)
        return None if run is None or not run.ended.is_set() else run.error

    def wait(self, job_id: JobId, seconds: float) -> None:
        """Wait until a job that runs here has ended, but not longer than this."""
        run = self._runs.get(job_id)
        if run is not None:
            run.ended.wait(seconds)

    def close(self) -> None:
        """Ask all runs to stop, and wait for them."""
        for run in list(self._runs.values()):
            run.stop.set()
        for thread in self._threads:
            thread.join()

    @staticmethod
    def _run(run: _Run, running: Running) -> None:
        try:
            running(run.look, run.stop)
        except OrchestratorError as error:
            run.error = errors.of_error(error)
        except Exception as error:  # noqa: BLE001 - told by `error`; a traceback could quote a row
            run.error = errors.unexpected(error)
            _log.error(STEP_FAILED, error=type(error).__name__)
        finally:
            run.ended.set()
            run.begun.set()
