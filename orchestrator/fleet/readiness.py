"""What `orchestrator fleet` prints: what the fleet uses, and that its workers answer.

Rule: passwords are not shown, nor what may hold one: a URL's user and query.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from orchestrator.engine.opening import LEDGER, SQLITE
from orchestrator.settings import Settings
from orchestrator.storage.location import join

LATE_S: Final = 20.0  # after which it is told that workers are still missing


def setup_lines(settings: Settings, workers: int, beats: int, *, is_own_broker: bool) -> Iterator[str]:
    """Yield what a fleet uses, a line each."""
    ledger = settings.ledger_url or join(settings.work, LEDGER)
    is_file = not settings.ledger_url or settings.ledger_url.startswith(SQLITE)
    own = ", started for this fleet" if is_own_broker else ""
    yield f"broker       {without_user(settings.broker_url)}{own}"
    yield f"ledger       {ledger.removeprefix(SQLITE) + ', SQLite' if is_file else without_user(ledger)}"
    yield f"work folder  {settings.work}"
    yield f"workers      {workers}, of three processes each, and {beats} beat{'s' if beats > 1 else ''}"


def without_user(url: str) -> str:
    """Return a URL without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@dataclass(slots=True)
class Readiness:
    """Counts the processes that receive messages, and tells when all do.

    Each writes a byte into a pipe that it has from its parent: the parent may have no thread and no connection, since
    it forks a process anew that has ended.
    """

    expected: int
    tell: Callable[[str], None]
    _count: int = 0
    _ends: tuple[int, int] = field(default_factory=os.pipe)
    _began: float = field(default_factory=time.monotonic)
    _is_told: bool = False
    _is_late: bool = False

    def __post_init__(self) -> None:
        os.set_blocking(self._ends[0], False)

    def one_more(self) -> None:
        """Count this process; called in it."""
        os.write(self._ends[1], b".")

    def look(self) -> None:
        """Tell once that all are ready; and once, after a while, that some are not."""
        if self._is_told:
            return
        with suppress(BlockingIOError):  # nobody has answered since
            self._count += len(os.read(self._ends[0], 1_000))
        waited_s = time.monotonic() - self._began
        if self._count >= self.expected:
            self._is_told = True
            self.tell(f"ready        {self.expected} worker processes answer, after {waited_s:.0f} s")
        elif waited_s > LATE_S and not self._is_late:
            self._is_late = True
            self.tell(f"waiting      for {self.expected - self._count} of {self.expected} worker processes to answer")
