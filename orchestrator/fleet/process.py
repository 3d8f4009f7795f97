"""One process of the fleet: its workspace, and how it runs the step that a task message names."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from orchestrator.domain.errors import LeaseLost, LedgerError
from orchestrator.domain.model import ChunkId, Claim, JobId, Step, Unit
from orchestrator.domain.queues import Queue
from orchestrator.engine.workspace import Workspace
from orchestrator.fleet.broker import UNREACHABLE, Queues
from orchestrator.fleet.hand_out import hand_out
from orchestrator.log import BROKER_LOST, LEDGER_LOST, STEP_FAILED, EventLog
from orchestrator.settings import Settings

JOB_STEPS: Final = frozenset({Step.REVIEW, Step.RETRY, Step.SEAL})
SHARD_STEPS: Final = frozenset({Step.PLAN, Step.FINISH})
CHUNK_STEPS: Final = frozenset(Step) - JOB_STEPS - SHARD_STEPS
SERVED_S: Final = 2.0  # how long the list of running workers is cached
STARTS_MAX: Final = 5  # of a step that never ends, before its job is stopped
_log: Final = EventLog(__name__)


def claim_of(message: Sequence[object]) -> Claim:
    """Return the claim that a message names. Raises ValueError if it names none: others may send messages, too."""
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
    """A process of the fleet."""

    workspace: Workspace
    settings: Settings
    queues: Queues
    _served: frozenset[Queue] = frozenset()
    _served_until: float = 0.0
    _left: deque[Claim] = field(default_factory=deque)

    def perform(self, claim: Claim) -> None:
        """Take the claim over for the length of a step, and run it.

        Raises LeaseLost at once if the message is stale, doubled or forged: its token is not the ledger's.
        """
        workspace = self.workspace
        now, lease_s = workspace.clock.now(), self.settings.lease_s
        starts = workspace.fleet.step_started(claim, now=now, lease_s=lease_s, draw=workspace.clock.draw())
        if starts > STARTS_MAX:
            self._never_ended(claim, starts - 1)
            return
        try:
            workspace.perform(claim)
        except LeaseLost:
            raise
        except LedgerError:
            self._left.append(claim)
            raise

    def _never_ended(self, claim: Claim, times: int) -> None:
        """Stop the job of a step that has ended every worker that ran it, before it ends the next one."""
        words = (
            f"{claim.step.value} of {claim.unit} was started {times} times and never ended: "
            "each time its worker was killed (out of memory?) or hung"
        )
        _log.error(STEP_FAILED, **claim.fields, error=words)
        self.workspace.fleet.step_given_up(claim, words, now=self.workspace.clock.now())

    def hand_out(self) -> None:
        """Send messages for due work, if the ledger and the broker can be reached; the next tick tries again."""
        try:
            self._give_back()
            hand_out(self.workspace.ledger, self.workspace.clock, self.queues, self._queues_served())
        except LedgerError as error:
            _log.warning(LEDGER_LOST, error=str(error))
        except UNREACHABLE as error:
            _log.warning(BROKER_LOST, error=type(error).__name__)

    def _give_back(self) -> None:
        """Release claims whose step ended while the ledger was unreachable: their leases need not run out."""
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
            members = self.workspace.fleet.alive(now=self.workspace.clock.now())
            self._served = frozenset(queue for member in members for queue in member.queues)
            self._served_until = time.monotonic() + SERVED_S
        return self._served

    def note_failure(self, claim: Claim, words: str, *, failures_max: int | None) -> None:
        """Note in the ledger that a step failed, and stop its job if it keeps failing."""
        fleet, now = self.workspace.fleet, self.workspace.clock.now()
        try:
            count = fleet.step_failed(claim, words, now=now)
            if failures_max is not None and count >= failures_max:
                fleet.stop(claim.unit.job_id, f"{claim.step.value} failed {count} times: {words}", now=now)
        except LedgerError as error:
            _log.warning(LEDGER_LOST, error=str(error))


_PRESENT: list[FleetProcess] = []


def this_process() -> FleetProcess:
    """Return the process of the fleet that this is; `become` sets it."""
    return _PRESENT[0]


def become(process: FleetProcess) -> None:
    """Make this process one of the fleet."""
    _PRESENT[:] = [process]
