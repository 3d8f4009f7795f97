"""The local runner: the claim loop and the steps, on threads of this process. The same steps as a fleet's, no broker.

Rule 1: one process at a time drives a work folder (a lock says so); that is how it may break the leases of a dead one.
Rule 2: a stop is asked for, not forced: steps under way come to their end, so that a create has its answer recorded.
Rule 3: an error that no step expects ends the run with that error; everything it had recorded stays.
Rule 4: batches that another job of the account has under way take room that this one needs, and nobody else may be
        there to see them end: a run brings them home, too. It sends nothing for others, and their errors end nothing.
"""

from __future__ import annotations

import fcntl
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TextIO

from orchestrator.domain import queues
from orchestrator.domain.errors import LeaseLost, LedgerBusy, StorageError, public_message
from orchestrator.domain.model import ENDED_JOBS, Claim, Job, JobId, JobState, Step
from orchestrator.domain.progress import Totals
from orchestrator.domain.queues import Queue, steps_of
from orchestrator.engine.blocked import needs_person
from orchestrator.engine.workspace import Workspace
from orchestrator.log import STEP_FAILED, STEP_YIELDED, logger
from orchestrator.storage import permissions

# Steps that hold a chunk's or a slice's rows have two threads of their own: a thread keeps the memory it once needed.
HEAVY_MAX: Final = 2
# Those who look for lost creates wait for the provider's list together: the more of them, the fewer times it is read.
LOOKING: Final = frozenset({Step.RECOVER})
LOOKING_MAX: Final = 32
# Creates have threads of their own, too: eight that hang must not keep the batches under way from being looked at.
STEPS_OF: Final = (steps_of(*queues.HEAVY), steps_of(Queue.TRANSFER), LOOKING, steps_of(Queue.CONTROL) - LOOKING)
# What frees the account's room: the steps that are done for other jobs.
DRAIN: Final = frozenset({Step.POLL, Step.CANCEL, Step.RECOVER, Step.COLLECT})
OTHERS_S: Final = 5.0  # how often to look for those
LOOK_S: Final = 0.2  # how often to look for due work when nothing ends meanwhile
REPORT_S: Final = 0.5
IDLE_LOOKS: Final = 5  # every so many looks, ask whether only a person can move the job on
OVER: Final = ENDED_JOBS | {JobState.STOPPED}  # no step of this job is to be run here
Progress = Callable[[Job, Totals], None]


@contextmanager
def only_runner(lock: Path) -> Iterator[None]:
    """Hold an SQLite ledger for this process. Raises LedgerBusy where another one has it."""
    with _open(lock) as file:
        if not _locked(file, fcntl.LOCK_EX):
            raise LedgerBusy(_holder(file, lock))
        with _writing(lock):
            file.truncate(0)
            os.write(file.fileno(), str(os.getpid()).encode())  # nothing is left over for the file's end
        yield


@contextmanager
def one_of_many(lock: Path) -> Iterator[None]:
    """Hold an SQLite ledger together with the other processes of a fleet. Raises LedgerBusy where a run has it."""
    with _open(lock) as file:
        if not _locked(file, fcntl.LOCK_SH):
            raise LedgerBusy(_holder(file, lock))
        yield


def _open(lock: Path) -> TextIO:
    with _writing(lock):
        permissions.make_file(lock)
        return lock.open("a+")


@contextmanager
def _writing(lock: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{lock}: cannot be written: {error.strerror}") from error


def _locked(file: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: TextIO, lock: Path) -> str:
    if _locked(file, fcntl.LOCK_SH):
        return (
            f"a fleet's workers are at work in {lock.parent}: give them the job (orchestrator submit), stop them, "
            "or use another work folder (--work)"
        )
    file.seek(0)
    return (
        f"another process (pid {file.read().strip() or 'unknown'}) is running jobs in {lock.parent}: "
        "wait for it, or use another work folder (--work)"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pool:
    """Threads for some kinds of steps."""

    steps: frozenset[Step]
    size: int
    given: queue.SimpleQueue[Claim | None] = field(default_factory=queue.SimpleQueue)


@dataclass(slots=True)
class LocalRunner:
    """Drives one job to its end, or as far as it will go."""

    workspace: Workspace
    job_id: JobId
    threads: int
    lease_s: float
    stop: threading.Event = field(default_factory=threading.Event)
    _done: queue.SimpleQueue[tuple[Claim, BaseException | None]] = field(default_factory=queue.SimpleQueue)
    _running: set[Claim] = field(default_factory=set)
    _others: list[JobId] = field(default_factory=list)
    _others_until: float = 0.0

    def run(self, progress: Progress | None = None) -> Job:
        """Run steps until the job has ended or stopped, nothing more can happen by itself, or a stop is asked for.

        Raises whatever a step raised that no step expects.
        """
        pools = [self._pool(steps) for steps in STEPS_OF]
        for pool in pools:
            for _ in range(pool.size):
                threading.Thread(target=self._work, args=(pool.given,), daemon=True).start()
        try:
            return self._loop(pools, progress)
        finally:
            for pool in pools:
                for _ in range(pool.size):
                    pool.given.put(None)

    def _pool(self, steps: frozenset[Step]) -> _Pool:
        size = min(HEAVY_MAX, self.threads) if steps == steps_of(*queues.HEAVY) else self.threads
        return _Pool(steps=steps, size=LOOKING_MAX if steps == LOOKING else size)

    def _loop(self, pools: Sequence[_Pool], progress: Progress | None) -> Job:
        failure: BaseException | None = None
        reported_at, looks = 0.0, 0
        while True:
            job = self.workspace.ledger.job(self.job_id)
            stopping = self.stop.is_set() or failure is not None or job.state in OVER
            if not stopping:
                self._hand_out(pools)
            if progress is not None and time.monotonic() - reported_at > REPORT_S:
                reported_at = time.monotonic()
                progress(job, self.workspace.ledger.totals(self.job_id))
            if not self._running and (
                stopping or (looks % IDLE_LOOKS == 0 and needs_person(self.workspace, self.job_id))
            ):
                break
            looks += 1
            failure = self._await_one() or failure
        if failure is not None:
            raise failure
        if progress is not None:
            progress(job, self.workspace.ledger.totals(self.job_id))
        return self.workspace.ledger.job(self.job_id)

    def _hand_out(self, pools: Sequence[_Pool]) -> None:
        self._hand_out_of(self.job_id, frozenset(Step), pools)
        if time.monotonic() > self._others_until:
            self._others = list(self.workspace.admin.others_in_flight(self.job_id))
            self._others_until = time.monotonic() + OTHERS_S
        for job_id in self._others:
            self._hand_out_of(job_id, DRAIN, pools)

    def _hand_out_of(self, job_id: JobId, kinds: frozenset[Step], pools: Sequence[_Pool]) -> None:
        now = self.workspace.clock.now()
        due = self.workspace.ledger.due(now=now, job_id=job_id) & kinds
        for pool in pools:
            free = pool.size - sum(claim.step in pool.steps for claim in self._running)
            steps = due & pool.steps
            if free <= 0 or not steps:
                continue
            claims = self.workspace.ledger.claim(steps, limit=free, now=now, lease_s=self.lease_s, job_id=job_id)
            self._running.update(claims)
            for claim in claims:
                pool.given.put(claim)

    def _await_one(self) -> BaseException | None:
        """Wait until a step ends or it is time to look again; return what it raised, if nobody expects that."""
        failure: BaseException | None = None
        wait_s = LOOK_S
        while True:
            try:
                claim, error = self._done.get(timeout=wait_s)
            except queue.Empty:
                return failure
            self._running.discard(claim)
            if isinstance(error, LeaseLost):
                logger().debug(STEP_YIELDED, step=claim.step, unit=str(claim.unit))
            elif error is not None:
                logger().error(STEP_FAILED, step=claim.step, unit=str(claim.unit), error=type(error).__name__)
                if claim.unit.job_id == self.job_id:
                    failure = failure or error
                else:
                    self.workspace.fleet.step_failed(claim, public_message(error), now=self.workspace.clock.now())
            wait_s = 0.0

    def _work(self, given: queue.SimpleQueue[Claim | None]) -> None:
        while (claim := given.get()) is not None:
            try:
                self.workspace.perform(claim)
            except BaseException as error:  # noqa: BLE001 - carried to the thread that waits, and raised there
                self._done.put((claim, error))
            else:
                self._done.put((claim, None))


@contextmanager
def alone(workspace: Workspace) -> Iterator[None]:
    """Be the one process at work on the ledger. Raises LedgerBusy where there are others, or may be."""
    if workspace.lock is None:
        raise LedgerBusy("the ledger is one that workers of several machines share: they do what is asked for")
    with only_runner(workspace.lock):
        workspace.admin.break_leases(now=workspace.clock.now())
        yield
