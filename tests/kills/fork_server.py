"""A process that bears processes which are to die: it has imported the program, so that each of them starts at once.

    python -m tests.kills.fork_server < requests > ends

Rule 1: a child is a process of its own, forked from this one, in which only one thread has ever run; it calls the
        command line's `main`, as `orchestrator` does.
Rule 2: what the child waits for between two looks is made short (tests/servers/hurry.py), and nothing else.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, Final, NoReturn

import orchestrator.cli.main
import tests.servers.preload  # noqa: F401
from tests.kills import arch
from tests.kills.disk_model import DiskModel
from tests.kills.fork_request import AtCall, ForkRequest, read_request
from tests.kills.lines import LineHook
from tests.kills.tracer import SYNCS, Call, Fail, Kill, be_traced, trace
from tests.servers.hurry import hurry

FREES: Final = frozenset({"unlink", "unlinkat", "rmdir"})
STILL: Final = frozenset({errno.ENOSPC})  # what a call that frees space does not meet


class Meddler:
    """Watches a child's system calls, and meddles with one of them."""

    def __init__(self, at: AtCall, disk_model: DiskModel | None) -> None:
        self._at = at
        self._disk_model = disk_model
        self._has_begun = not at.folder
        self.count = 0
        self.met = ""

    def before(self, call: Call) -> Fail | Kill | None:
        """Count the call, and meddle where it is the one."""
        at = self._at
        self._has_begun = self._has_begun or f"/{at.folder}/" in call.path
        if self._has_begun and (call.is_of_disk or at.with_network):
            self.count += 1
            if at.number and not at.errno and self.count == at.number:
                self.met = _told(call, at)
                return Kill()
            if at.errno and self._fails(call):
                self.met = self.met or _told(call, at)
                return Fail(at.errno)
        if self._disk_model is not None and call.name in SYNCS:
            self._disk_model.syncing(call.thread, call.path)
        return None

    def synced(self, thread: int, *, ok: bool) -> None:
        """Take note of what is safe now."""
        if self._disk_model is not None:
            self._disk_model.synced(thread, ok=ok)

    def _fails(self, call: Call) -> bool:
        if not self._at.number or (call.name in FREES and self._at.errno in STILL):
            return False
        return self.count >= self._at.number if self._at.is_lasting else self.count == self._at.number


def _told(call: Call, at: AtCall) -> str:
    return f"{call.name} {call.path.removeprefix(at.root)}".strip()


def main() -> None:
    """Carry out requests until there are no more."""
    ends, sys.stdout = sys.stdout, sys.stderr
    signal.signal(signal.SIGALRM, _too_long)
    _warm_up()
    for text in sys.stdin:
        request = read_request(text)
        begun = time.monotonic()
        found = _carry_out(request)
        ends.write(json.dumps(found | {"seconds": time.monotonic() - begun}) + "\n")
        ends.flush()


def _warm_up() -> None:
    """Import what is imported late, in this thread and without a job."""
    with tempfile.TemporaryDirectory() as work, open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123
        sys.argv = ["orchestrator", "status", "--work", work]
        with suppress(SystemExit):
            orchestrator.cli.main.main()


class _TooLong(Exception):
    """A child has used up its time."""


def _too_long(_number: int, _frame: object) -> NoReturn:
    raise _TooLong


def _carry_out(request: ForkRequest) -> dict[str, Any]:
    ran = Path(f"{request.said}.lines")
    ran.unlink(missing_ok=True)
    at = request.at_call
    disk_model = DiskModel(Path(at.root)) if at is not None and at.power_seed is not None else None
    pid = os.fork()
    if pid == 0:
        _live(request, ran)
    meddler = None if at is None else Meddler(at, disk_model)
    try:
        with _within(request.deadline_s):
            if meddler is None or at is None:
                _, status = os.waitpid(pid, 0)
            else:
                status = trace(pid, Path(at.root), meddler, with_network=at.with_network)
    except _TooLong:
        os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, arch.WAIT_ALL)[0] != pid:
                pass
        return {"status": signal.SIGALRM.value, "at": "it took too long"}
    found: dict[str, Any] = {"status": status}
    if meddler is not None:
        found |= {"calls": meddler.count, "at": meddler.met}
    if disk_model is not None and at is not None and at.power_seed is not None:
        if os.WIFSIGNALED(status):
            disk_model.lose_power(at.power_seed)
        disk_model.close()
    if ran.exists():
        found["lines"] = json.loads(ran.read_text())
    return found


@contextmanager
def _within(limit_s: float) -> Iterator[None]:
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _live(request: ForkRequest, ran: Path) -> NoReturn:
    """Be the child."""
    code = 70
    try:
        ctypes.CDLL(None).prctl(arch.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.chdir(request.folder)
        os.environ.clear()
        os.environ.update(request.environment)
        said = os.open(request.said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for handle, target in ((nothing, 0), (said, 1), (said, 2)):
            os.dup2(handle, target)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it lives as long as the process
        sys.stdout = sys.stderr = open(1, "w", closefd=False, buffering=1)  # noqa: SIM115
        hurry()
        if request.at_call is not None:
            be_traced(with_network=request.at_call.with_network)
        hook = None if request.at_line is None else LineHook(request.at_line)
        if hook is not None:
            hook.install()
        code = _run(request)
        if hook is not None:
            hook.write(ran)
        sys.stdout.flush()
    finally:
        os._exit(code)


def _run(request: ForkRequest) -> int:
    sys.argv = ["orchestrator", *request.arguments]
    try:
        orchestrator.cli.main.main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except BaseException:  # noqa: BLE001 - the interpreter would print it just so, and end with 1
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


if __name__ == "__main__":
    main()
