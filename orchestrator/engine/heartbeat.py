"""The heartbeat of a process: it renews the lease of every claim that the process works on.

Rule 1: steps do not handle leases. The runner of a step adds its claim before the step and removes it afterwards.
Rule 2: an unreachable or busy ledger stops nothing: it is logged, and the next beat tries again.
Rule 3: a claim that another worker has taken is never renewed again, and its step is stopped at its next checkpoint.
        Until then it does no harm: the ledger refuses its changes.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Protocol, Self

from orchestrator.domain.errors import Interrupted, LeaseLost, LedgerError
from orchestrator.domain.model import Claim
from orchestrator.domain.workers import Doing
from orchestrator.log import LEDGER_LOST, EventLog
from orchestrator.ports import Clock, Ledger

BEATS_PER_LEASE: Final = 4
LEAVE_S: Final = 1.0  # how long to wait for a running beat, which may itself wait for an unreachable ledger
_log: Final = EventLog(__name__)


class Stopping(Protocol):
    """Says whether the process was asked to stop, such as a `threading.Event`."""

    def is_set(self) -> bool:
        """Say so."""
        ...


@dataclass(slots=True)
class _Lease:
    """The lease of one claim: its length at each renewal, and its end as far as this process knows."""

    length: timedelta
    until: datetime
    since: datetime
    is_lost: bool = False


@dataclass(slots=True)
class Heartbeat:
    """Keeps claims while their steps run: a context manager with a thread of its own."""

    ledger: Ledger
    clock: Clock
    lease_s: float
    _leases: dict[Claim, _Lease] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._over.clear()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _where: TracebackType | None) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(LEAVE_S)

    def add(self, claim: Claim, *, since: datetime, lease_s: float | None = None) -> None:
        """Start to renew a claim.

        Args:
            since: when it was handed out, or taken over.
            lease_s: the length of the lease, then and at each beat; by default the heartbeat's own.
        """
        length = timedelta(seconds=self.lease_s if lease_s is None else lease_s)
        with self._lock:
            self._leases[claim] = _Lease(length, since + length, since)

    def remove(self, claim: Claim) -> None:
        """Stop to renew a claim: its step has ended."""
        with self._lock:
            self._leases.pop(claim, None)

    def doing(self) -> list[Doing]:
        """Return the steps under way, the longest first."""
        with self._lock:
            begun = sorted(self._leases.items(), key=lambda one: one[1].since)
        return [
            Doing(step=claim.step, job_id=claim.unit.job_id, unit=claim.unit.name, since=lease.since)
            for claim, lease in begun
        ]

    def check(self, claim: Claim, *stopping: Stopping) -> None:
        """The checkpoint of a step. Raises Interrupted where the process stops, LeaseLost where the claim is lost."""
        if any(one.is_set() for one in stopping):
            raise Interrupted(f"{claim.step} of {claim.unit}: asked to stop")
        lease = self._leases.get(claim)
        if lease is not None and lease.is_lost:
            raise LeaseLost(f"{claim.unit}: another worker has claimed it")

    def beat(self) -> None:
        """Renew every claim. Raises LedgerError."""
        now = self.clock.now()
        with self._lock:
            wanted = {claim: now + lease.length for claim, lease in self._leases.items() if not lease.is_lost}
        standing = self.ledger.renew(wanted)
        with self._lock:
            for claim, until in wanted.items():
                lease = self._leases.get(claim)  # None: its step has ended meanwhile and released it
                if lease is not None:
                    lease.until = max(lease.until, until)
                    lease.is_lost = claim not in standing

    def catch_up(self, now: datetime) -> None:
        """Renew leases that would end at `now`: the machine slept, or the ledger was unreachable. Raises LedgerError.

        A claim of units that are free at `now` then gets no unit that this process works on.
        """
        with self._lock:
            is_late = any(lease.until <= now for lease in self._leases.values() if not lease.is_lost)
        if is_late:
            self.beat()

    def _run(self) -> None:
        while not self._over.wait(self.lease_s / BEATS_PER_LEASE):
            try:
                self.beat()
            except LedgerError as error:
                _log.warning(LEDGER_LOST, error=str(error))
