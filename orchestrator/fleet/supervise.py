"""Several processes as one: started together, told to stop together, and none left behind.

Rule 1: Ctrl-C and SIGTERM are passed on once, and every process may finish its running steps; a second one ends all.
Rule 2: a process that ends by itself is started again: it was killed, or Celery has given up on a broker that answers
        with errors (out of memory, read-only). One that was refused at its start ends all: a restart would not help.
Rule 3: they are forks of this one, which has imported what they need: a process more costs no second start. So nothing
        here may open a connection or a file for them, or start a thread.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NoReturn

from orchestrator.log import WORKER_ENDED, EventLog

LOOK_S: Final = 0.2
FAILED: Final = 1
REFUSED: Final = 2  # the exit code of a process whose setup is wrong
AGAIN_S: Final = 1.0  # before a process that ended by itself is started again
_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
_PR_SET_NAME: Final = 15
_log: Final = EventLog(__name__)
Act = Callable[[], int]  # what a process does; returns its exit code


@dataclass(slots=True)
class _Child:
    name: str
    act: Act
    pid: int
    code: int | None = None  # None: it runs
    again_at: float = 0.0

    def look(self, *, wait: bool = False) -> int | None:
        """Return the exit code, negative for a signal's number; None while it runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, 0 if wait else os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code


@dataclass(slots=True)
class Supervisor:
    """Runs processes beside each other. Use it in the main thread."""

    stopping: threading.Event = field(default_factory=threading.Event)
    _children: list[_Child] = field(default_factory=list)

    def start(self, name: str, act: Act) -> None:
        """Start one more; `name` is what lists of processes show."""
        self._children.append(_Child(name, act, _fork(name, act)))

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
            child.look(wait=True)
        return code

    def _look(self) -> bool:
        """Restart processes that have ended; return False if one was refused, which ends all."""
        for child in self._children:
            code = child.look()
            if code is None:
                continue
            if code == REFUSED:
                return False
            if not child.again_at:
                _log.error(WORKER_ENDED, process=child.name, exit_code=code)
                child.again_at = time.monotonic() + AGAIN_S
            elif time.monotonic() > child.again_at:
                child.pid, child.code, child.again_at = _fork(child.name, child.act), None, 0.0
                if self.stopping.is_set():  # meanwhile, and the new process was not told
                    os.kill(child.pid, signal.SIGTERM)
        return True

    def _stop(self, _number: int, _frame: object) -> None:
        how = signal.SIGKILL if self.stopping.is_set() else signal.SIGTERM
        self.stopping.set()
        for child in self._children:
            if child.code is None:
                with suppress(ProcessLookupError):  # it has ended this moment
                    os.kill(child.pid, how)


def _fork(name: str, act: Act) -> int:
    parent = os.getpid()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # or both would print what is left
    # A signal that comes before the child has its own handlers must not run the supervisor's in it.
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until somebody takes it who has something to finish
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        _live(name, act, parent)
    signal.pthread_sigmask(signal.SIG_SETMASK, signals)
    return pid


def _live(name: str, act: Act, parent: int) -> NoReturn:
    """Run the process to its end, and exit: what is further up the stack belongs to the parent."""
    code = FAILED
    try:
        os.setsid()  # Ctrl-C reaches it through the parent, once
        _tie(name, parent)
        code = act()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else FAILED * bool(end.code)
    finally:
        error = sys.exception()
        if error is not None:
            sys.excepthook(type(error), error, error.__traceback__)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _tie(name: str, parent: int) -> None:
    """Give this process its name, and let it be told to stop when its parent ends (on Linux)."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NAME, name.encode())
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != parent:
        sys.exit(FAILED)
