"""`python -m MODULE` as a process of its own that starts at once: a fork of a server that has done the imports.

    process = ForkedProcess("orchestrator.gateway", ["--port", "0"], folder=ROOT, environment=…, output=path)
    process.wait(10)

An interpreter that starts anew spends a second of CPU on imports. A fork has them, and is a process all the same: its
own id, session, working folder, environment, streams, signals, exit code.

Rule 1: the server imports, and does nothing else: it has one thread, so that its forks are sound.
Rule 2: what the server imports is only a matter of speed.
Rule 3: the server ends with the test process, however that ends, and its forks end with it.
"""

from __future__ import annotations

import ctypes
import faulthandler
import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Final, NoReturn

from tests.servers.hurry import hurry

PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
_lock: Final = threading.Lock()  # two threads that ask at once how a process ended would both read its one answer


class ForkedProcess:
    """A running module; the methods are those of `subprocess.Popen`."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        output: Path,
        errors: Path | None = None,
        hurried: bool = False,
    ) -> None:
        """Start it; `output` is appended to, and so is `errors`, where it is not the same.

        Args:
            hurried: with short waits (tests/servers/hurry.py).
        """
        streams = (str(output), str(errors or output))
        order = (module, tuple(arguments), str(folder), dict(environment), streams, hurried)
        self._process = _context().Process(target=_live, args=order)
        with _lock:
            self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended, as `subprocess` says it; None while it runs."""
        return self.poll()

    def poll(self) -> int | None:
        """Return how it ended; None while it runs."""
        with _lock:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit code. Raises subprocess.TimeoutExpired."""
        multiprocessing.connection.wait([self._process.sentinel], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0.0)
        return code

    def stacks(self) -> None:
        """Have it print where each of its threads is, for who wonders why it does not end."""
        self.send_signal(signal.SIGUSR1)

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill -9 it, and whatever it has started."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.servers.forked", "tests.servers.preload"])
    return context


def _live(
    module: str,
    arguments: Sequence[str],
    folder: str,
    environment: dict[str, str],
    streams: tuple[str, str],
    hurried: bool,
) -> NoReturn:
    """Be the child: `python -m module arguments`."""
    _die_with_the_tests()
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    _redirect(*streams)
    faulthandler.register(signal.SIGUSR1, file=sys.stderr)  # see `stacks`
    sys.argv = [module, *arguments]
    if hurried:
        hurry()
    code: int | str | None = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001 - the interpreter would print it just so, and end with 1
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.exit(code)


def _die_with_the_tests() -> None:
    """Leave it to the test process alone to keep the server alive, and end with the server (on Linux)."""
    alive = multiprocessing.forkserver._forkserver._forkserver_alive_fd  # type: ignore[attr-defined]
    os.close(alive)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _redirect(output: str, errors: str) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    out, err = (os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) for path in (output, errors))
    for handle, target in ((nothing, 0), (out, 1), (err, 2)):
        os.dup2(handle, target)
        os.close(handle)
    # They live as long as the process.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1)  # noqa: SIM115
