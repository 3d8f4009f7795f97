"""A process of ours that is to be killed, frozen and started again, with everything it has started itself.

Rule: it dies with the test, also when that is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from orchestrator.fleet.embedded import tied

ROOT: Final = Path(__file__).parent.parent.parent
STOP_S: Final = 20.0


class Process:
    """A command, and the process that runs it at present."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.command = command
        self.environment = environment
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        assert self._process is not None
        return self._process.poll()

    @property
    def is_running(self) -> bool:
        """Whether it runs, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it. Call it in the main thread."""
        assert not self.is_running
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                tied(self.command, how=signal.SIGKILL),
                cwd=ROOT,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill -9 it and all it has started."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(STOP_S)

    def freeze(self) -> None:
        """Stop the clock for it and all it has started: it runs no line of code until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, knowing nothing of the time that has passed."""
        self._signal(signal.SIGCONT)

    def stop(self) -> int:
        """Ask it to end, as an operator would; return its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(STOP_S)

    def family(self) -> list[psutil.Process]:
        """Return the process and its descendants."""
        if not self.is_running:
            return []
        assert self._process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            own = psutil.Process(self._process.pid)
            return [own, *own.children(recursive=True)]
        return []

    def connections_to(self, port: int, *, word: str) -> int:
        """Return how many TCP connections to a port its members have that bear this word, as a name or an argument."""
        count = 0
        for member in self.family():
            with contextlib.suppress(psutil.Error):
                if word in (member.name(), *member.cmdline()):
                    count += sum(1 for link in member.net_connections("tcp") if link.raddr and link.raddr.port == port)
        return count

    def _signal(self, number: signal.Signals) -> None:
        for member in self.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.pid, number)


@contextlib.contextmanager
def ended_at_last(processes: Sequence[Process]) -> Iterator[None]:
    """Kill whatever of these still runs when the block ends."""
    try:
        yield
    finally:
        for process in processes:
            process.kill()
