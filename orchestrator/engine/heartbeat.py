"""The heartbeat of a process: it renews the lease of every claim that the process is working on.

Rule 1: steps know nothing of leases. Whoever runs a step adds its claim before and removes it after, however it ends.
Rule 2: a ledger that is away or busy ends nothing: it is logged, and the next beat tries again.
Rule 3: a claim that turns out to be somebody else's is never renewed again, and its step is told at its next
        checkpoint. Until then it does no harm: what it records is refused.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Protocol, Self

from orchestrator.domain.errors import Interrupted, LeaseLost, LedgerError
from orchestrator.domain.model import Claim
from orchestrator.log import LEDGER_LOST, EventLog
from orchestrator.ports import Clock, Ledger

BEATS_PER_LEASE: Final = 4
LEAVE_S: Final = 1.0  # how long to wait for a beat under way: it may itself wait for a ledger that is away
_log: Final = EventLog(__name__)


class Stopping(Protocol):
    """Says whether the process was told to stop: a `threading.Event`, for one."""

    def is_set(self) -> bool:
        """Say so."""
        ...


@dataclass(slots=True)
class _Lease:
    """How long one claim is kept at each beat, and until when it stands as far as this process knows."""

    length: timedelta
    until: datetime
    is_lost: bool = False


@dataclass(slots=True)
class Heartbeat:
    """Keeps claims for as long as the work on them takes: as a context manager, on a thread of its own."""

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
        """Keep a claim from now on.

        Args:
            since: when it was handed out, or taken over.
            lease_s: for how long, then and at each beat; by default the heartbeat's own.
        """
        length = timedelta(seconds=self.lease_s if lease_s is None else lease_s)
        with self._lock:
            self._leases[claim] = _Lease(length, since + length)

    def remove(self, claim: Claim) -> None:
        """Keep a claim no longer: the work on it is over."""
        with self._lock:
            self._leases.pop(claim, None)

    def check(self, claim: Claim, *stopping: Stopping) -> None:
        """Be the checkpoint of a step. Raises Interrupted where the process stops, LeaseLost where it is gone."""
        if any(one.is_set() for one in stopping):
            raise Interrupted(f"{claim.step} of {claim.unit}: told to stop")
        lease = self._leases.get(claim)
        if lease is not None and lease.is_lost:
            raise LeaseLost(f"{claim.unit}: somebody else has it by now")

    def beat(self) -> None:
        """Renew every claim that is being worked on. Raises LedgerError."""
        now = self.clock.now()
        with self._lock:
            wanted = {claim: now + lease.length for claim, lease in self._leases.items() if not lease.is_lost}
        standing = self.ledger.renew(wanted)
        with self._lock:
            for claim, until in wanted.items():
                lease = self._leases.get(claim)  # None: its step has ended meanwhile, and let go of it
                if lease is not None:
                    lease.until = max(lease.until, until)
                    lease.is_lost = claim not in standing

    def catch_up(self, now: datetime) -> None:
        """Renew where a lease would be over at `now`: the machine slept, or the ledger was away. Raises LedgerError.

        Whoever then claims what is free at `now` gets no unit that this process is working on.
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
