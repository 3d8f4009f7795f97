"""The local runner: the claim loop and the steps, on threads of this process. The same steps as a fleet's, no broker.

Rule 1: one process at a time drives a work folder (a lock says so); that is how it may break the leases of a dead one.
Rule 2: a stop is asked for, not forced: steps under way come to their end, so that a create has its answer recorded.
Rule 3: an error that no step expects ends the run with that error; everything it had recorded stays.
"""

from __future__ import annotations

import fcntl
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from orchestrator.domain.errors import ConfigError, LeaseLost
from orchestrator.domain.model import ChunkState, Claim, Job, JobId, JobState, Step
from orchestrator.domain.review import Totals
from orchestrator.log import STEP_FAILED, STEP_YIELDED, logger
from orchestrator.wiring import Workbench

HEAVY: Final = frozenset({Step.PLAN, Step.COLLECT, Step.FINISH, Step.RETRY, Step.SPLIT, Step.SEAL})
LIGHT: Final = frozenset(Step) - HEAVY
# Steps that hold a chunk's or a slice's rows have two threads of their own: a thread keeps the memory it once needed.
HEAVY_MAX: Final = 2
LOOK_S: Final = 0.2  # how often to look for due work when nothing ends meanwhile
REPORT_S: Final = 0.5
IDLE_LOOKS: Final = 5  # every so many looks, ask whether only a person can move the job on
LOCK: Final = "runner.lock"
ENDED: Final = frozenset({JobState.FINISHED, JobState.CANCELLED, JobState.STOPPED})
Progress = Callable[[Job, Totals], None]


@contextmanager
def only_runner(work: Path) -> Iterator[None]:
    """Hold the work folder for this process. Raises ConfigError where another one has it."""
    with (work / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigError(
                f"another process (pid {file.read().strip() or 'unknown'}) is running jobs in {work}: "
                "wait for it, or use another work folder (--work)"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@dataclass(slots=True)
class LocalRunner:
    """Drives one job to its end, or as far as it will go."""

    bench: Workbench
    job_id: JobId
    threads: int
    lease_s: float
    stop: threading.Event = field(default_factory=threading.Event)
    _heavy: queue.SimpleQueue[Claim | None] = field(default_factory=queue.SimpleQueue)
    _light: queue.SimpleQueue[Claim | None] = field(default_factory=queue.SimpleQueue)
    _done: queue.SimpleQueue[tuple[Claim, BaseException | None]] = field(default_factory=queue.SimpleQueue)
    _running: set[Claim] = field(default_factory=set)

    def run(self, progress: Progress | None = None) -> Job:
        """Run steps until the job has ended or stopped, nothing more can happen by itself, or a stop is asked for.

        Raises whatever a step raised that no step expects.
        """
        lanes = [self._heavy] * min(HEAVY_MAX, self.threads) + [self._light] * self.threads
        for lane in lanes:
            threading.Thread(target=self._work, args=(lane,), daemon=True).start()
        try:
            return self._loop(progress)
        finally:
            for lane in lanes:
                lane.put(None)

    def _loop(self, progress: Progress | None) -> Job:
        failure: BaseException | None = None
        reported_at, looks = 0.0, 0
        while True:
            job = self.bench.ledger.job(self.job_id)
            stopping = self.stop.is_set() or failure is not None or job.state in ENDED
            if not stopping:
                self._hand_out()
            if progress is not None and time.monotonic() - reported_at > REPORT_S:
                reported_at = time.monotonic()
                progress(job, self.bench.overview.totals(self.job_id))
            if not self._running and (stopping or (looks % IDLE_LOOKS == 0 and self._nothing_to_wait_for())):
                break
            looks += 1
            failure = self._await_one() or failure
        if failure is not None:
            raise failure
        if progress is not None:
            progress(job, self.bench.overview.totals(self.job_id))
        return self.bench.ledger.job(self.job_id)

    def _hand_out(self) -> None:
        now = self.bench.clock.now()
        for lane, steps, room in (
            (self._heavy, HEAVY, min(HEAVY_MAX, self.threads)),
            (self._light, LIGHT, self.threads),
        ):
            free = room - sum(claim.step in steps for claim in self._running)
            if free <= 0:
                continue
            claims = self.bench.ledger.claim(steps, limit=free, now=now, lease_s=self.lease_s, job_id=self.job_id)
            self._running.update(claims)
            for claim in claims:
                lane.put(claim)

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
                failure = failure or error
            wait_s = 0.0

    def _nothing_to_wait_for(self) -> bool:
        """Say whether the job can only go on once a person has done something."""
        totals = self.bench.overview.totals(self.job_id)
        if totals.live_chunks == 0 or totals.shards_planning:
            return False
        if totals.live_chunks == totals.held_chunks:
            return totals.waiting == 0
        unsent = sum(totals.chunks.get(state, 0) for state in (ChunkState.PLANNED, ChunkState.UPLOADED))
        if totals.live_chunks > unsent + totals.held_chunks:
            return False
        account = self.bench.ledger.job(self.job_id).account
        return bool(self.bench.desk.pause_reason(account, now=self.bench.clock.now()))

    def _work(self, lane: queue.SimpleQueue[Claim | None]) -> None:
        while (claim := lane.get()) is not None:
            try:
                self.bench.perform(claim)
            except BaseException as error:  # noqa: BLE001 - carried to the thread that waits, and raised there
                self._done.put((claim, error))
            else:
                self._done.put((claim, None))
