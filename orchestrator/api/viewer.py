"""An open work folder for a program that looks at its jobs again and again, such as the page."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.api.decision import command
from orchestrator.api.handle import JobHandle
from orchestrator.api.status import status_of
from orchestrator.domain.errors import JobUnknown, LedgerAway
from orchestrator.domain.model import Job, JobId
from orchestrator.domain.workers import Kind

if TYPE_CHECKING:
    from datetime import datetime

    from orchestrator.api.status import Status
    from orchestrator.domain.accounts import AccountLook
    from orchestrator.domain.look import Look
    from orchestrator.domain.queues import Queue
    from orchestrator.domain.timeline import Batch, Group, LedgerEvent
    from orchestrator.domain.workers import WorkerProcess
    from orchestrator.engine.spec import Spec
    from orchestrator.engine.workspace import Workspace

LIVE_S: Final = 2.0  # for so long all who look share one look
ENDED_S: Final = 60.0
GONE_S: Final = 86_400.0  # for so long a process that is gone is listed


@dataclass(slots=True)
class Viewer:
    """Looks at the jobs of a work folder; safe to use from many threads."""

    workspace: Workspace
    _looks: dict[JobId, tuple[float, Look]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _file: tuple[int, int] | None = field(init=False)

    def __post_init__(self) -> None:
        self._file = self._file_now()

    @property
    def work(self) -> str:
        """The work folder."""
        return self.workspace.work

    @property
    def is_local(self) -> bool:
        """Whether one process at a time runs the jobs of this folder, so that it may be this one."""
        return self.workspace.lock is not None

    def command(self, name: str, *given: str) -> str:
        """Return a command that works where it is pasted: with the work folder, unless it is the default one."""
        return command(self.workspace, name, *given)

    def handle(self, job_id: JobId) -> JobHandle:
        """Return a handle on a job. Raises JobUnknown."""
        self._known(job_id)
        return JobHandle(job_id=job_id, work=self.work)

    def status(self, job_id: JobId) -> Status:
        """Return a job's status, as it is now. Raises JobUnknown."""
        self._known(job_id)
        return status_of(self.workspace, job_id)

    def jobs(self) -> list[Look]:
        """Return a look at each job, the newest first."""
        return [self.look(job.id) for job in self.known()]

    def known(self) -> list[Job]:
        """Return all jobs, the newest first, without looking at them."""
        self._present()
        return self.workspace.admin.jobs()

    def look(self, job_id: JobId, *, within_s: float = LIVE_S) -> Look:
        """Return a look at a job, at most so many seconds old. Raises JobUnknown."""
        self._present()
        with self._lock:
            made_at, look = self._looks.get(job_id, (0.0, None))
            if look is None or time.monotonic() - made_at > (ENDED_S if look.has_ended else within_s):
                self._known(job_id)
                look = self.workspace.look(job_id)
                self._looks[job_id] = time.monotonic(), look
        return look

    def forget(self, job_id: JobId) -> None:
        """Look anew next time: something was changed."""
        with self._lock:
            self._looks.pop(job_id, None)

    def batches(self, job_id: JobId, groups: Sequence[Group], limit: int) -> list[Batch]:
        """Return batches of these groups, the oldest first."""
        return self.workspace.snapshot.batches(job_id, groups=groups, limit=limit)

    def events(
        self, job_id: JobId, newest: int, *, before: int | None = None, without: Collection[str] = ()
    ) -> list[tuple[int, LedgerEvent]]:
        """Return the newest events of a job, each with its number, the newest first: those before a number, or all."""
        found = self.workspace.admin.events(job_id, before=before, limit=newest, newest=True, without=without)
        return [*reversed(found)]

    def accounts(self) -> list[AccountLook]:
        """Return what the ledger knows of each account, those in use first."""
        self._present()
        return self.workspace.snapshot.accounts(now=self.workspace.clock.now())

    def workers(self) -> list[WorkerProcess]:
        """Return the processes that were seen within a day: workers, beats, and those that run one job."""
        self._present()
        now = self.workspace.clock.now()
        return self.workspace.workers.alive(now=now, within_s=GONE_S, kinds=frozenset(Kind))

    def due(self) -> dict[Queue, int]:
        """Return how many steps are due and not taken, by queue."""
        return self.workspace.workers.due(now=self.workspace.clock.now())

    def now(self) -> datetime:
        """Return the time at the ledger."""
        return self.workspace.clock.now()

    def spec(self, job_id: JobId) -> Spec:
        """Return what a job is made from."""
        from orchestrator.engine import spec as specs

        return specs.from_json(self.workspace.ledger.job(job_id).spec)

    def _present(self) -> None:
        """Raise LedgerAway where the ledger's file was removed or replaced: what is open then shows what was."""
        if self._file_now() != self._file:
            raise LedgerAway(
                f"the ledger {self.workspace.database.place} is not there any more, or is another one: its folder was "
                "moved, deleted or recovered while this page was open. Put it back, or end the page and type "
                f"`{self.command('ui')}`"
            )

    def _file_now(self) -> tuple[int, int] | None:
        """Return which file the ledger is; None for a database of a server, or where there is none."""
        place = self.workspace.database.place
        with suppress(FileNotFoundError, NotADirectoryError):
            found = Path(place).stat() if place else None
            return None if found is None else (found.st_dev, found.st_ino)
        return None

    def _known(self, job_id: JobId) -> None:
        if all(job.id != job_id for job in self.known()):
            raise JobUnknown(f"the work folder {self.work} has no job {job_id!r}")
