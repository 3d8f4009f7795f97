"""The local runner: the claim loop and the steps, on threads of this process. The same steps as a fleet's, no broker.

Rule 1: one process at a time runs a job of an SQLite ledger, guarded by a lock; so it may end the leases of a process
        that has died. Other jobs of the ledger may have processes of their own: see `locks`.
Rule 2: when a run ends by Ctrl-C (a KeyboardInterrupt), SIGTERM, the `stop` event, or an error, no step is left
        running. It starts no further steps, asks the running ones to stop at their next checkpoint, and waits for
        them. A create has no checkpoint: its answer is recorded. Only a second interrupt exits at once.
Rule 3: an error that no step expects ends the run with that error; everything it had recorded is kept.
Rule 4: a job that stops for a decision is run until what it has in flight is collected, as by a fleet.
Rule 5: no unit that a thread works on is claimed a second time, however long its step takes (see `heartbeat`).
Rule 6: a run also polls and collects batches in flight of other jobs of its account that no other run was seen to
        work on: they count against the account's limit. It sends nothing for them, and their errors do not end it.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from orchestrator.domain import queues
from orchestrator.domain.errors import Interrupted, LeaseLost, LedgerBusy, LedgerError, public_message
from orchestrator.domain.look import OnLook
from orchestrator.domain.model import Claim, Job, JobId, JobState, Step
from orchestrator.domain.queues import Queue, steps_of
from orchestrator.domain.workers import Kind
from orchestrator.engine.blocked import is_in_flight, needs_person
from orchestrator.engine.heartbeat import Heartbeat
from orchestrator.engine.interrupts import say_stopping
from orchestrator.engine.locks import run_of
from orchestrator.engine.process_memory import resident_bytes
from orchestrator.engine.workspace import Workspace
from orchestrator.log import STEP_FAILED, STEP_YIELDED, EventLog

# Steps that hold a chunk's or a slice's rows have two threads of their own: a thread keeps the memory it has used.
HEAVY_MAX: Final = 2
# Steps that look up lost creates share one reading of the provider's list: more threads mean fewer readings.
LOOKING: Final = frozenset({Step.RECOVER})
LOOKING_MAX: Final = 32
# Creates have threads of their own: eight creates that hang must not block the polls.
STEPS_OF: Final = (steps_of(*queues.HEAVY), steps_of(Queue.TRANSFER), LOOKING, steps_of(Queue.CONTROL) - LOOKING)
# The steps that are done for other jobs: they free the account's capacity.
DRAIN: Final = frozenset({Step.POLL, Step.CANCEL, Step.RECOVER, Step.COLLECT})
OTHERS_S: Final = 5.0  # how often to look for them
LOOK_S: Final = 0.2  # how often to look for due work while no step ends
REPORT_S: Final = 0.5
REPORT_COST: Final = 20  # a look at many thousand chunks takes CPU time: between two there is so many times as much
SEEN_EVERY: Final = timedelta(seconds=5)  # how often the ledger is told that this process runs the job
IDLE_LOOKS: Final = 5  # after so many looks, check whether the job waits for a person
ENDED: Final = frozenset({JobState.FINISHED, JobState.CANCELLED, JobState.STOPPED})
_log: Final = EventLog(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ThreadPool:
    """Threads for some kinds of steps."""

    steps: frozenset[Step]
    size: int
    claims: queue.SimpleQueue[Claim | None] = field(default_factory=queue.SimpleQueue)


@dataclass(slots=True)
class LocalRunner:
    """Runs one job to its end, or as far as it can."""

    workspace: Workspace
    job_id: JobId
    threads: int
    lease_s: float
    stop: threading.Event = field(default_factory=threading.Event)
    heartbeat: Heartbeat = field(init=False)
    _pools: tuple[_ThreadPool, ...] = field(init=False)
    _failed: threading.Event = field(default_factory=threading.Event)  # as `stop`, because of an error
    _done: queue.SimpleQueue[tuple[Claim, BaseException | None]] = field(default_factory=queue.SimpleQueue)
    _running: set[Claim] = field(default_factory=set)
    _others: list[JobId] = field(default_factory=list)
    _others_until: float = 0.0
    _id: str = ""  # of this process, in the ledger
    _seen_at: datetime = field(init=False)
    _was_stopping: bool = False  # when it was last seen
    _look: Callable[[], None] | None = None  # shows the job once more before the first create

    def __post_init__(self) -> None:
        self.heartbeat = Heartbeat(self.workspace.ledger, self.workspace.clock, self.lease_s)
        self._pools = tuple(self._pool(steps) for steps in STEPS_OF)

    def run(self, progress: OnLook | None = None) -> Job:
        """Run steps until the job has ended or stopped, it waits for a person, or a stop is requested.

        Raises:
            KeyboardInterrupt: the second one; the first requests a stop.
            Exception: any unexpected error of a step, or of `progress`.
        """
        for pool in self._pools:
            for _ in range(pool.size):
                threading.Thread(target=self._work, args=(pool.claims,), daemon=True).start()
        try:
            with self.heartbeat, self._registered():
                self._drive(progress)
        finally:
            for pool in self._pools:
                for _ in range(pool.size):
                    pool.claims.put(None)
        job = self.workspace.ledger.job(self.job_id)
        if progress is not None:
            progress(self.workspace.look(self.job_id))
        return job

    @contextmanager
    def _registered(self) -> Iterator[None]:
        """Have the ledger know, while a block runs, that this process runs the job."""
        self._seen_at = self.workspace.clock.now()
        self._id = self.workspace.register(Kind.RUN, socket.gethostname(), job_id=self.job_id)
        try:
            yield
        finally:
            with suppress(LedgerError):
                self.workspace.workers.leave(self._id)

    def _heed_stop(self) -> None:
        """Stop where a person has asked the ledger for it: see `orchestrator stop`."""
        if not self.stop.is_set() and self.workspace.workers.is_asked_to_stop(self._id):
            self.stop.set()
            say_stopping("asked to stop")

    def _show_presence(self) -> None:
        now = self.workspace.clock.now()  # not the machine's: it is by this clock that the process counts as gone
        is_stopping = self.stop.is_set() or self._failed.is_set()
        if abs(now - self._seen_at) > SEEN_EVERY or is_stopping is not self._was_stopping:
            self._seen_at, self._was_stopping = now, is_stopping
            doing, memory_bytes = self.heartbeat.doing(), resident_bytes()
            seen = self.workspace.workers.seen
            seen(self._id, now=now, doing=doing, memory_bytes=memory_bytes, is_stopping=is_stopping)

    def _pool(self, steps: frozenset[Step]) -> _ThreadPool:
        size = min(HEAVY_MAX, self.threads) if steps == steps_of(*queues.HEAVY) else self.threads
        return _ThreadPool(steps=steps, size=LOOKING_MAX if steps == LOOKING else size)

    def _drive(self, progress: OnLook | None) -> None:
        """Start steps until the run ends, then wait for the running ones: see rule 2."""
        try:
            self._hand_out_until_over(progress)
        except KeyboardInterrupt as interrupt:
            self._take(interrupt)
        except (
            BaseException
        ):  # also a SystemExit, from `progress`: a thread that is left behind loses a create's answer
            self._failed.set()
            self._drain()
            raise
        self._drain()

    def _take(self, interrupt: KeyboardInterrupt) -> None:
        """Treat the first interrupt as a request to stop; raise the second again."""
        if self.stop.is_set():
            raise interrupt
        self.stop.set()
        say_stopping("interrupted")

    def _hand_out_until_over(self, progress: OnLook | None) -> None:
        """Return when a stop is requested, the job has ended, or it waits for a person. Raises a step's error."""
        report_at, looks = 0.0, 0
        if progress is not None:
            self._look = lambda: progress(self.workspace.look(self.job_id))
        while True:
            job = self.workspace.ledger.job(self.job_id)
            self._heed_stop()
            if self.stop.is_set() or (job.state in ENDED and not self._has_to_collect(job)):
                if self._running:
                    self._show_presence()
                    if progress is not None:
                        progress(self.workspace.look(self.job_id))
                return
            self._show_presence()
            self._hand_out()
            if progress is not None and time.monotonic() >= report_at:
                began = time.thread_time()
                progress(self.workspace.look(self.job_id))
                report_at = time.monotonic() + max(REPORT_S, REPORT_COST * (time.thread_time() - began))
            if not self._running and looks % IDLE_LOOKS == 0 and needs_person(self.workspace, self.job_id):
                return
            looks += 1
            self._await_steps()

    def _has_to_collect(self, job: Job) -> bool:
        """Return whether a job that waits for a decision has batches in flight: their answers are part of it."""
        return bool(job.decision) and is_in_flight(self.workspace.ledger.totals(job.id))

    def _drain(self) -> None:
        """Wait until no step is running. Their errors are only logged: the run ends for another reason."""
        while self._running:
            try:
                self._show_presence()
                self._await_steps()
            except KeyboardInterrupt as interrupt:
                self._take(interrupt)
            except Exception as error:  # noqa: BLE001 - what is still under way must be waited for all the same
                _log.debug(STEP_FAILED, error=type(error).__name__)

    def _hand_out(self) -> None:
        self._hand_out_of(self.job_id, frozenset(Step))
        if time.monotonic() > self._others_until:
            runs = self.workspace.workers.alive(now=self.workspace.clock.now(), kinds={Kind.RUN})
            attended = {run.job_id for run in runs}
            self._others = [one for one in self.workspace.admin.others_in_flight(self.job_id) if one not in attended]
            self._others_until = time.monotonic() + OTHERS_S
        for job_id in self._others:
            self._hand_out_of(job_id, DRAIN)

    def _hand_out_of(self, job_id: JobId, kinds: frozenset[Step]) -> None:
        now = self.workspace.clock.now()
        self.heartbeat.catch_up(now)
        due = self.workspace.ledger.due(now=now, job_id=job_id) & kinds
        if Step.SUBMIT in due and self._look is not None:
            look, self._look = self._look, None
            look()  # a quick job is over before it is time for the next look
        for pool in self._pools:
            free = pool.size - sum(claim.step in pool.steps for claim in self._running)
            steps = due & pool.steps
            if free <= 0 or not steps:
                continue
            claims = self.workspace.ledger.claim(steps, limit=free, now=now, lease_s=self.lease_s, job_id=job_id)
            self._running.update(claims)
            for claim in claims:
                self.heartbeat.add(claim, since=now)
                pool.claims.put(claim)

    def _await_steps(self) -> None:
        """Wait until a step ends or it is time to look for due steps again. Raises a step's unexpected error."""
        failure: BaseException | None = None
        wait_s = LOOK_S
        while True:
            try:
                claim, error = self._done.get(timeout=wait_s)
            except queue.Empty:
                break
            self._running.discard(claim)
            failure = failure or self._failure(claim, error)
            wait_s = 0.0
        if failure is not None:
            raise failure

    def _failure(self, claim: Claim, error: BaseException | None) -> BaseException | None:
        """Return a step's error if it must end the run; log it if it concerns another job."""
        if error is None:
            return None
        if isinstance(error, LeaseLost | Interrupted):
            _log.debug(STEP_YIELDED, **claim.fields)
            return None
        if claim.unit.job_id == self.job_id:
            _log.debug(STEP_FAILED, **claim.fields, error=type(error).__name__)  # it is raised
            return error
        _log.error(STEP_FAILED, **claim.fields, error=type(error).__name__)
        self.workspace.workers.step_failed(claim, public_message(error), now=self.workspace.clock.now())
        return None

    def _work(self, claims: queue.SimpleQueue[Claim | None]) -> None:
        while (claim := claims.get()) is not None:
            error: BaseException | None = None
            try:
                self.workspace.perform(claim, partial(self.heartbeat.check, claim, self.stop, self._failed))
            except BaseException as raised:  # noqa: BLE001 - carried to the thread that waits, and raised there
                error = raised
            self.heartbeat.remove(claim)
            self._done.put((claim, error))


@contextmanager
def running(workspace: Workspace, job_id: JobId) -> Iterator[None]:
    """Run a block as the one process that runs a job. Raises JobBusy, or LedgerBusy where a fleet may run it."""
    if workspace.lock is None:
        raise LedgerBusy("workers of several machines share this ledger: they carry out the command")
    with run_of(workspace.lock, job_id):
        workspace.admin.break_leases(job_id, now=workspace.clock.now())
        workspace.workers.forget_runs(job_id)
        yield
