"""Shows that a process is alive: a file for a health probe, a row in the ledger, a mark on the broker.

Rule 1: the file is touched only while the process's main loop runs, or waits for an unreachable broker: a process
        whose loop hangs should be restarted, one that waits should not.
Rule 2: a failure here never stops the process: it is tried again at the next interval.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from orchestrator.domain.errors import ConfigError, LedgerError
from orchestrator.domain.workers import Doing
from orchestrator.engine.process_memory import resident_bytes
from orchestrator.engine.workspace import Workspace
from orchestrator.fleet.broker import UNREACHABLE, Broker
from orchestrator.log import BROKER_LOST, BROKER_SHARED, LEDGER_LOST, EventLog

PULSE_S: Final = 5.0
LOOP_S_MAX: Final = 60.0  # a loop that has not run for so long counts as hung
_log: Final = EventLog(__name__)


@dataclass(slots=True)
class Loop:
    """Whether the process's main loop runs."""

    turned_at: float = field(default_factory=time.monotonic)
    waits_for_broker: Callable[[], bool] = lambda: False

    def turn(self) -> None:
        """Record that the loop has run once more."""
        self.turned_at = time.monotonic()

    def is_well(self) -> bool:
        """Return whether it runs, or waits for the broker."""
        return time.monotonic() - self.turned_at < LOOP_S_MAX or self.waits_for_broker()


@dataclass(slots=True)
class Pulse:
    """Shows, every few seconds, that this process is alive."""

    workspace: Workspace
    broker: Broker
    ledger_id: str
    host: str
    register: Callable[[], str]  # adds this process to the ledger, and returns its id there
    loop: Loop
    heartbeat: str
    doing: Callable[[], Sequence[Doing]]  # the steps under way in this process
    is_stopping: Callable[[], bool] = lambda: False  # it takes nothing new, and finishes those steps
    _id: str = ""
    _over: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Add the process to the ledger, and start the thread that keeps it there. Raises LedgerError."""
        self.loop.turn()  # it begins now, however long ago this process's parent was imported
        try:
            self._touch()
        except OSError as error:
            raise ConfigError(f"the heartbeat file {self.heartbeat} cannot be written: {error.strerror}") from None
        self._id = self.register()
        threading.Thread(target=self._run, name="pulse", daemon=True).start()

    def stop(self) -> None:
        """Remove the process from the ledger."""
        self._over.set()
        try:
            self.workspace.workers.leave(self._id)
        except LedgerError as error:
            _log.warning(LEDGER_LOST, error=str(error))

    def _run(self) -> None:
        while not self._over.wait(PULSE_S):
            with suppress(OSError):  # the disk is full: the probe then fails
                self._touch()
            try:
                if not self._show():
                    self._id = self.register()
            except LedgerError as error:
                _log.warning(LEDGER_LOST, error=str(error))
            try:
                owner, _, place = self.broker.mark(self.ledger_id, self.host).partition(" ")
            except (ConfigError, *UNREACHABLE) as error:
                _log.warning(BROKER_LOST, error=type(error).__name__)
            else:
                if owner != self.ledger_id:
                    _log.error(BROKER_SHARED, other_host=place)

    def _show(self) -> bool:
        now, doing, is_stopping = self.workspace.clock.now(), self.doing(), self.is_stopping()
        memory_bytes, workers = resident_bytes(), self.workspace.workers
        return workers.seen(self._id, now, doing=doing, memory_bytes=memory_bytes, is_stopping=is_stopping)

    def _touch(self) -> None:
        if self.heartbeat and self.loop.is_well():
            Path(self.heartbeat).touch()
