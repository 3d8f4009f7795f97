"""An open work folder: its ledger, and the context of each of its jobs.

Rule: modules that only steps need (pyarrow, a provider's client) are imported when the first step runs, so that
`status` is fast.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator import telemetry
from orchestrator.domain.errors import Interrupted, LeaseLost, StorageError
from orchestrator.domain.look import Look
from orchestrator.domain.model import Claim, Job, JobId
from orchestrator.domain.queues import Queue
from orchestrator.domain.workers import Kind, WorkerProcess
from orchestrator.engine.locks import runner_of
from orchestrator.engine.process_memory import resident_bytes
from orchestrator.ledger.admin import SqlAdmin
from orchestrator.ledger.clock import LedgerClock, clock_skew_s
from orchestrator.ledger.db.database import Database
from orchestrator.ledger.notices import SqlNotices
from orchestrator.ledger.snapshot import SqlSnapshot
from orchestrator.ledger.steps import SqlLedger
from orchestrator.ledger.views import SqlViews
from orchestrator.ledger.workers import SqlWorkers
from orchestrator.log import STEP_ENDED, EventLog
from orchestrator.ports import Checkpoint, Clock, Provider, never_interrupted

if TYPE_CHECKING:
    from orchestrator.dataset.dataset import Dataset
    from orchestrator.engine.job_context import JobContext
    from orchestrator.engine.row_function import RowFunction
    from orchestrator.engine.spec import Spec
    from orchestrator.settings import ProviderSettings

CONTEXTS_MAX: Final = 64  # jobs whose contexts are cached; a fleet's worker may run steps of many
# The settings that a client is made from: jobs with the same ones share it.
CONNECTED_BY: Final = (
    *("name", "dialect", "base_url", "api_key_env", "create_s_max", "list_lag_s", "options"),
    *("auth", "proxy", "ca_file", "headers", "headers_env", "query"),
)
_log: Final = EventLog(__name__)


@dataclass
class Workspace:
    """An open work folder: its ledger, and the context of each of its jobs."""

    work: str  # a location
    database: Database
    environment: Mapping[str, str] = field(repr=False)
    lock: Path | None = None  # the lock file of an SQLite ledger
    other_clock: Clock | None = None  # instead of the ledger's: a rehearsal's, which runs fast
    _contexts: dict[JobId, JobContext] = field(default_factory=dict)
    _providers: dict[tuple[str, ...], Provider] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @cached_property
    def clock(self) -> Clock:
        """The time at the ledger."""
        return self.other_clock or LedgerClock(self.database)

    @property
    def ledger(self) -> SqlLedger:
        """The ledger, for steps."""
        return SqlLedger(self.database)

    @property
    def workers(self) -> SqlWorkers:
        """The ledger, for the processes of a fleet."""
        return SqlWorkers(self.database)

    @property
    def snapshot(self) -> SqlSnapshot:
        """The ledger, for reading and writing whole jobs."""
        return SqlSnapshot(self.database)

    @property
    def views(self) -> SqlViews:
        """The ledger, for people who look at large jobs."""
        return SqlViews(self.database)

    @property
    def notices(self) -> SqlNotices:
        """The ledger's outbox of notices."""
        return SqlNotices(self.database)

    @property
    def admin(self) -> SqlAdmin:
        """The ledger, for people."""
        return SqlAdmin(self.database)

    def context(self, job_id: JobId) -> JobContext:
        """Return the context of a job, made from its spec in the ledger unless a newer one was given."""
        return self.context_of(self.ledger.job(job_id))

    def context_of(self, job: Job) -> JobContext:
        """Return the context of a job, made from its spec in the ledger unless a newer one was given."""
        from orchestrator.engine import spec as specs
        from orchestrator.engine.job_context import JobContext

        with self._lock:
            known = self._contexts.pop(job.id, None)
            if known is None or known.text != job.spec:  # the job was opened again, perhaps with another path or price
                spec = specs.from_json(job.spec)
                render = known.render if known is not None else None
                known = JobContext(
                    spec=spec,
                    text=job.spec,
                    work=self.work,
                    connect=self.provider,
                    others=self.admin.jobs,
                    render=render,
                )
            self._contexts[job.id] = known  # the most recently used is last
            while len(self._contexts) > CONTEXTS_MAX:
                del self._contexts[next(iter(self._contexts))]
            return known

    def equip(self, spec: Spec, *, render: RowFunction | None = None, source: Dataset | None = None) -> JobContext:
        """Make the context of a job from the user's present settings."""
        from orchestrator.engine.job_context import JobContext

        context = JobContext(
            spec=spec,
            text=spec.to_json(),
            work=self.work,
            connect=self.provider,
            others=self.admin.jobs,
            render=render,
            opened=source,
        )
        with self._lock:
            self._contexts[spec.job_id] = context
        return context

    def provider(self, settings: ProviderSettings) -> Provider:
        """Return the provider behind a table of settings; jobs of one account share its connections."""
        from orchestrator.providers.registry import connect
        from orchestrator.providers.status_board import PolledFromList

        key = tuple(repr(getattr(settings, name)) for name in CONNECTED_BY)
        with self._lock:
            if key not in self._providers:
                provider = connect(settings, self.environment)
                listed = provider.batch_list
                self._providers[key] = provider if listed is None else PolledFromList(provider, listed)
            return self._providers[key]

    def skew_s(self) -> float:
        """Return how far this machine's clock is ahead of the ledger's, seconds."""
        return clock_skew_s(self.database)

    def register(self, kind: Kind, host: str, queues: Sequence[Queue] = (), job_id: str = "") -> str:
        """Register this process with the ledger, and return its id there."""
        now, worker_id = self.clock.now(), self.clock.token()
        member = WorkerProcess(
            id=worker_id,
            host=host,
            pid=os.getpid(),
            kind=kind,
            queues=tuple(queues),
            job_id=job_id,
            version=version(),
            started_at=now,
            seen_at=now,
            memory_bytes=resident_bytes(),
        )
        self.workers.register(member, now=now)
        return worker_id

    def perform(self, claim: Claim, checkpoint: Checkpoint = never_interrupted) -> None:
        """Run the step that was claimed.

        A step that lost a race, or was asked to stop, releases its unit, which is due again at once.
        """
        from orchestrator.engine.steps import run_step

        job = self.ledger.job(claim.unit.job_id)
        began_s = time.monotonic()
        try:
            with telemetry.step(**claim.fields):
                run_step(
                    claim,
                    context=self.context_of(job),
                    policy=job.policy,
                    ledger=self.ledger,
                    clock=self.clock,
                    checkpoint=checkpoint,
                )
        except (LeaseLost, Interrupted):
            with suppress(LeaseLost):  # the claim itself was lost
                self.give_back(claim)
            raise
        _log.debug(STEP_ENDED, **claim.fields, seconds=round(time.monotonic() - began_s, 3))

    def look(self, job_id: JobId) -> Look:
        """Return a look at a job."""
        return self.snapshot.look(job_id, now=self.clock.now(), is_run=self.may_be_run(job_id))

    def may_be_run(self, job_id: JobId) -> bool:
        """Return whether a process may run the job by itself: its lock ends with it, what it has told does not."""
        try:
            return self.lock is None or runner_of(self.lock, job_id) is not None
        except StorageError:  # this process may only read
            return True

    def give_back(self, claim: Claim) -> None:
        """Release a claim without changing its unit. Raises LeaseLost, LedgerError."""
        self.ledger.record(claim, now=self.clock.now())

    def close(self) -> None:
        """Close the ledger."""
        self.database.close()


def version() -> str:
    """Return the program's version."""
    return metadata.version("batch-orchestrator")
