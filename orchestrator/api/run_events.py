"""What happens to a job while this process runs it or waits for it, as events for a program.

Rule 1: the ledger's own timeline is told, from where the run began; nothing is written down a second time.
Rule 2: between its entries stand looks: one whenever the job does something else than before, else one in
        `PROGRESS_S` seconds, where anything has moved.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from orchestrator.api.documents.jobs import Event, event, run_event, started
from orchestrator.api.event_words import told
from orchestrator.domain.errors import ConfigError
from orchestrator.engine.opening import opened_workspace

if TYPE_CHECKING:
    from orchestrator.domain.look import Look
    from orchestrator.domain.model import JobId
    from orchestrator.engine.workspace import Workspace

PROGRESS_S: Final = 10.0
PAGE: Final = 1_000


class RunEvents:
    """Gives events of one job to `emit`, one by one; a context manager around the run."""

    def __init__(
        self,
        job_id: JobId,
        work: str,
        emit: Callable[[Event], None],
        *,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job_id = job_id
        self._work = work
        self._emit = emit
        self._seconds = seconds
        self._stack = ExitStack()
        self._workspace: Workspace | None = None
        self._after = 0
        self._last: Look | None = None
        self._told_at = 0.0

    def __enter__(self) -> RunEvents:
        try:
            with opened_workspace(self._work, must_exist=True) as workspace:
                self._after = max((number for number, _ in self._newest(workspace)), default=0)
        except ConfigError:  # no such folder yet
            self._after = 0
        self._emit(started(self._job_id, self._work))
        return self

    def __exit__(self, *_error: object) -> None:
        with self._stack:
            if self._workspace is not None:
                self._tell_timeline(self._workspace)

    def look(self, now: Look) -> None:
        """Tell what has happened up to a look: a progress callback."""
        if self._workspace is None:
            self._workspace = self._stack.enter_context(opened_workspace(self._work))
        self._tell_timeline(self._workspace)
        last = self._last
        is_other = last is None or (now.activity, now.decision) != (last.activity, last.decision)
        if is_other or (self._seconds() - self._told_at >= PROGRESS_S and _has_moved(last, now)):
            totals = self._workspace.ledger.totals(self._job_id)
            self._emit(run_event("activity" if is_other else "progress", now, totals))
            self._last, self._told_at = now, self._seconds()

    def _newest(self, workspace: Workspace) -> list[tuple[int, object]]:
        return list(workspace.admin.events(self._job_id, limit=1, newest=True))

    def _tell_timeline(self, workspace: Workspace) -> None:
        while page := workspace.admin.events(self._job_id, after=self._after, limit=PAGE):
            for number, one in page:
                self._after = number
                self._emit(event(self._job_id, one, told(one)))


def _has_moved(last: Look | None, now: Look) -> bool:
    return last is None or (last.rows, last.money, last.reason) != (now.rows, now.money, now.reason)
