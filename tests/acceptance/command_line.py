"""The `orchestrator` command as its users start it: a process of its own, with a key in its environment.

`run` forks a process whose imports are done and whose waits are short; `start`, for commands that are interrupted,
killed or measured, starts an interpreter. A test reads exit codes, streams and files, and nothing inside the product.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.gateway_process import API_KEY, ROOT
from tests.servers.forked import ForkedProcess
from tests.sums import sums

DEADLINE_S: Final = 150.0
LOOK_EVERY_S: Final = 0.02
PROGRAM: Final = (sys.executable, "-m", "orchestrator")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Both streams, with the line breaks of narrow terminals taken out."""
        return " ".join((self.out + self.err).split())


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """Starts commands in `folder`; its work folder is `folder/work` unless a command names another."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def work(self) -> Path:
        """The work folder."""
        return self.folder / "work"

    def run(self, *arguments: str | Path, deadline_s: float = DEADLINE_S) -> Ended:
        """Run a command to its end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="streams-") as streams:
            out, err = Path(streams) / "out", Path(streams) / "err"
            process = ForkedProcess(
                "orchestrator",
                self._words(arguments),
                folder=self.folder,
                environment=self.environment,
                output=out,
                errors=err,
                hurried=True,
            )
            try:
                code = process.wait(deadline_s)
            except subprocess.TimeoutExpired:
                raise AssertionError(
                    f"still running after {deadline_s} s: {out.read_text()}{err.read_text()}"
                ) from None
            finally:
                process.kill()
            return Ended(code=code, out=out.read_text(), err=err.read_text())

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start a command in a process group of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            [*PROGRAM, *self._words(arguments)],
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _words(self, arguments: Sequence[str | Path]) -> list[str]:
        return [*map(str, arguments), "--work", str(self.work)]

    def cut_short(self, *arguments: str | Path, when: Callable[[], bool], what: str) -> None:
        """Start a command, and kill it as soon as `when` holds."""
        process = self.start(*arguments)
        try:
            wait_until(when, what)
        finally:
            kill(process)

    def status(self, job: str | Path) -> dict[str, Any]:
        """Return the numbers that `status --json` says of a job."""
        shown = self.run("status", job, "--json")
        assert shown.code == 0, shown
        return sums(json.loads(shown.out))


def command_line(folder: Path, *, key: str | None = API_KEY, **variables: str) -> CommandLine:
    """Return a command line with this key and further environment variables."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}
    # Where the interpreter is told to keep no bytecode, each start would compile half a dozen libraries anew.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment |= {"PYTHONPATH": str(ROOT), "COLUMNS": "1000"} | variables
    environment.pop("ONEROUTER_API_KEY", None)
    if key is not None:
        environment["ONEROUTER_API_KEY"] = key
    return CommandLine(folder=folder, environment=environment)


def ended(process: subprocess.Popen[str], deadline_s: float = DEADLINE_S) -> Ended:
    """Wait for a process and return what it left; one that hangs is killed, and fails the test."""
    try:
        out, err = process.communicate(timeout=deadline_s)
    except subprocess.TimeoutExpired:
        out, err = kill(process)
        raise AssertionError(f"still running after {deadline_s} s; it said: {out}{err}") from None
    finally:
        if process.poll() is None:  # the test itself is being ended
            kill(process)
    return Ended(code=process.returncode, out=out, err=err)


def kill(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Kill -9 a process and its whole group, and return what it said."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.communicate()


def wait_until(condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Look until `condition` holds; a real process needs its time."""
    ends_at = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < ends_at, f"after {deadline_s} s still not so: {what}"
        time.sleep(LOOK_EVERY_S)
