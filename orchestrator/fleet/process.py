"""One process of the fleet: its ledger, its heartbeat, and how it handles task messages."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from orchestrator.domain.errors import LeaseLost, LedgerError
from orchestrator.domain.model import ChunkId, Claim, JobId, Step, Unit
from orchestrator.domain.queues import Queue
from orchestrator.engine.heartbeat import Heartbeat
from orchestrator.engine.workspace import Workspace
from orchestrator.fleet.broker import UNREACHABLE, Queues
from orchestrator.fleet.hand_out import hand_out
from orchestrator.log import BROKER_LOST, LEDGER_LOST, STEP_FAILED, EventLog
from orchestrator.settings import Settings

JOB_STEPS: Final = frozenset({Step.REVIEW, Step.RETRY, Step.SEAL})
SHARD_STEPS: Final = frozenset({Step.PLAN, Step.FINISH})
CHUNK_STEPS: Final = frozenset(Step) - JOB_STEPS - SHARD_STEPS
SERVED_S: Final = 2.0  # how long to cache the list of running processes
STARTS_MAX: Final = 5  # of a step that never ends, before its job is stopped
_log: Final = EventLog(__name__)


def claim_of(message: Sequence[object]) -> Claim:
    """Return the claim that a message names. Raises ValueError for a malformed message: senders are not trusted."""
    match message:
        case (str(step), str(job_id), None, str(chunk_id), int(token)) if chunk_id.startswith(f"{job_id}/"):
            unit, steps = Unit(job_id=JobId(job_id), chunk_id=ChunkId(chunk_id)), CHUNK_STEPS
        case (str(step), str(job_id), int(shard_no), None, int(token)):
            unit, steps = Unit(job_id=JobId(job_id), shard_no=shard_no), SHARD_STEPS
        case (str(step), str(job_id), None, None, int(token)):
            unit, steps = Unit(job_id=JobId(job_id)), JOB_STEPS
        case _:
            raise ValueError("it names no unit")
    if step not in steps:
        raise ValueError("it names no step of this unit")
    return Claim(unit=unit, step=Step(step), token=token)


@dataclass(slots=True)
class FleetProcess:
    """A running process of the fleet."""

    workspace: Workspace
    settings: Settings
    queues: Queues
    heartbeat: Heartbeat
    stopping: threading.Event = field(default_factory=threading.Event)  # steps end at their next checkpoint
    _served: frozenset[Queue] = frozenset()
    _served_until: float = 0.0
    _left: deque[Claim] = field(default_factory=deque)

    def perform(self, claim: Claim) -> None:
        """Take over the claim while the step runs, and run it.

        Raises LeaseLost at once where the message is stale, duplicated or forged: its token is not the ledger's.
        """
        workspace = self.workspace
        now, lease_s, draw = workspace.clock.now(), self.settings.lease_s, workspace.clock.draw()
        starts = workspace.workers.step_started(claim, now=now, lease_s=lease_s, draw=draw)
        if starts > STARTS_MAX:
            self._never_ended(claim, starts - 1)
            return
        self.heartbeat.add(claim, since=now, lease_s=lease_s * (1 + draw * (starts - 1)))
        try:
            workspace.perform(claim, partial(self.heartbeat.check, claim, self.stopping))
        except LeaseLost:
            raise
        except LedgerError:
            self._left.append(claim)
            raise
        finally:
            self.heartbeat.remove(claim)

    def _never_ended(self, claim: Claim, times: int) -> None:
        """Stop the job of a step that has killed every worker that ran it, before it kills another."""
        words = (
            f"{claim.step.value} of {claim.unit} was started {times} times and never ended: "
            "each time its worker was killed (out of memory?) or lost the ledger"
        )
        _log.error(STEP_FAILED, **claim.fields, error=words)
        self.workspace.workers.step_given_up(claim, words, now=self.workspace.clock.now())

    def hand_out(self) -> None:
        """Hand out due steps, if the ledger and the broker can be reached; the next tick tries again."""
        try:
            self._give_back()
            hand_out(self.workspace.ledger, self.workspace.clock, self.queues, self._queues_served())
        except LedgerError as error:
            _log.warning(LEDGER_LOST, error=str(error))
        except UNREACHABLE as error:
            _log.warning(BROKER_LOST, error=type(error).__name__)

    def _give_back(self) -> None:
        """Release the claims of steps that ended while the ledger was unreachable, before their leases expire."""
        with suppress(IndexError):  # other threads do the same
            while True:
                claim = self._left.popleft()
                try:
                    self.workspace.give_back(claim)
                except LeaseLost:
                    continue
                except LedgerError:
                    self._left.append(claim)
                    raise

    def _queues_served(self) -> frozenset[Queue]:
        if time.monotonic() > self._served_until:
            members = self.workspace.workers.alive(now=self.workspace.clock.now())
            self._served = frozenset(queue for member in members for queue in member.queues)
            self._served_until = time.monotonic() + SERVED_S
        return self._served

    def note_failure(self, claim: Claim, words: str, *, failures_max: int | None) -> None:
        """Record in the ledger that a step failed, and stop its job where it keeps failing."""
        fleet, now = self.workspace.workers, self.workspace.clock.now()
        try:
            count = fleet.step_failed(claim, words, now=now)
            if failures_max is not None and count >= failures_max:
                fleet.stop(claim.unit.job_id, f"{claim.step.value} failed {count} times: {words}", now=now)
        except LedgerError as error:
            _log.warning(LEDGER_LOST, error=str(error))


_PRESENT: list[FleetProcess] = []


def this_process() -> FleetProcess:
    """Return this process's object; `start` has set it."""
    return _PRESENT[0]


def become(process: FleetProcess) -> None:
    """Set this process's object."""
    _PRESENT[:] = [process]
