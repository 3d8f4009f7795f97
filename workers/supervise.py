"""Several processes as one: started together, told to stop together, and none left behind.

Rule 1: Ctrl-C and SIGTERM are passed on once, and everybody may finish the step under way; a second one ends all.
Rule 2: a process that ends by itself is started again: it was killed, or Celery has given up on a broker that answers
        with errors (out of memory, read-only). One that was refused at its start ends all: nothing will mend itself.
"""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from orchestrator.log import MEMBER_ENDED, logger
from workers.embedded import tied

LOOK_S: Final = 0.2
REFUSED: Final = 2  # the exit code of a process whose setup is wrong
AGAIN_S: Final = 1.0  # before a process that ended by itself is started again


@dataclass(slots=True)
class _Child:
    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes]
    again_at: float = 0.0


@dataclass(slots=True)
class Supervisor:
    """Runs commands beside each other. Use it in the main thread."""

    environment: Mapping[str, str] = field(repr=False)
    stopping: threading.Event = field(default_factory=threading.Event)
    _children: list[_Child] = field(default_factory=list)

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start one more."""
        self._children.append(_Child(name, command, self._spawn(command)))

    def run(self) -> int:
        """Wait until a signal comes and all have ended; return the exit code: 0, or REFUSED where one was refused."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        code = 0
        while not self.stopping.wait(LOOK_S):
            if not self._look():
                code = REFUSED
                self._stop(signal.SIGTERM, None)
        for child in self._children:
            child.process.wait()
        return code

    def _look(self) -> bool:
        """See to processes that have ended; False where that ends all."""
        for child in self._children:
            code = child.process.poll()
            if code is None:
                continue
            if code == REFUSED:
                return False
            if not child.again_at:
                logger().error(MEMBER_ENDED, member=child.name, exit_code=code)
                child.again_at = time.monotonic() + AGAIN_S
            elif time.monotonic() > child.again_at:
                child.process, child.again_at = self._spawn(child.command), 0.0
        return True

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C reaches it through us, once.
        return subprocess.Popen(tied(command), env=dict(self.environment), start_new_session=True)  # noqa: S603

    def _stop(self, _number: int, _frame: object) -> None:
        how = signal.SIGKILL if self.stopping.is_set() else signal.SIGTERM
        self.stopping.set()
        for child in self._children:
            if child.process.poll() is None:
                child.process.send_signal(how)
