"""Supervises several processes: starts and stops them together, and leaves none running.

Rule 1: Ctrl-C and SIGTERM are passed on once, and every process may finish its running steps; a second one ends all.
Rule 2: a process that ends by itself is restarted: it was killed, or Celery has given up on a broker that answers
        with errors (out of memory, read-only). A process that refuses to start ends all: a restart would not help.
Rule 3: the processes are forks of this one, which has imported their modules, so that a further process starts fast.
        So this process must not open connections or files for them, or start threads, before it forks.
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
AGAIN_S: Final = 1.0  # before a process that ended by itself is restarted
_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
_PR_SET_NAME: Final = 15
_log: Final = EventLog(__name__)
Act = Callable[[], int]  # the main function of a process; returns its exit code


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
    """Runs several processes. Use it in the main thread."""

    stopping: threading.Event = field(default_factory=threading.Event)
    on_look: Callable[[], None] = lambda: None  # called a few times a second, while all run
    _children: list[_Child] = field(default_factory=list)

    def start(self, name: str, act: Act) -> None:
        """Start one more; `name` is shown in process lists."""
        self._children.append(_Child(name, act, _fork(name, act)))

    def run(self) -> int:
        """Wait for a signal, then until all have ended; return the exit code: 0, or REFUSED where one was refused."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        code = 0
        while not self.stopping.wait(LOOK_S):
            self.on_look()
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
                if self.stopping.is_set():  # a stop came meanwhile, and the new process did not get it
                    os.kill(child.pid, signal.SIGTERM)
        return True

    def _stop(self, _number: int, _frame: object) -> None:
        how = signal.SIGKILL if self.stopping.is_set() else signal.SIGTERM
        self.stopping.set()
        for child in self._children:
            if child.code is None:
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(child.pid, how)


def _fork(name: str, act: Act) -> int:
    parent = os.getpid()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # or both processes would print the buffered output
    # A signal that comes before the child has its own handlers must not run the supervisor's in it.
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until code that has work to finish sets its own handler
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        _live(name, act, parent)
    signal.pthread_sigmask(signal.SIG_SETMASK, signals)
    return pid


def _live(name: str, act: Act, parent: int) -> NoReturn:
    """Run the process to its end, and exit: the callers on the stack belong to the parent."""
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
    """Set this process's name, and have it stopped when its parent ends (on Linux)."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NAME, name.encode())
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != parent:
        sys.exit(FAILED)
