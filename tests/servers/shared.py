"""One server for all processes of a test run: the first that wants it starts it, it ends when the last of them has.

    url = shared("postgres", "tests.servers.postgres:running_url")

Rule: the server's keeper is a process of its own. Every user holds a shared lock on a file, the keeper waits for an
exclusive one: it gets that when all users have ended, however they ended.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
FOLDER: Final = "TEST_SERVERS_FOLDER"
START_DEADLINE_S: Final = 90.0
LOOK_EVERY_S: Final = 0.02


@cache
def shared(name: str, factory: str) -> str:
    """Return the address of the test run's server of this name.

    Args:
        factory: `module:function`; the function returns a context manager that gives the address.
    """
    folder = _folder()
    with (folder / f"{name}.start").open("w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        users = os.open(folder / f"{name}.users", os.O_RDWR | os.O_CREAT, 0o600)  # held until this process ends
        fcntl.flock(users, fcntl.LOCK_SH)
        address = folder / f"{name}.address"
        if not address.exists():
            _start(folder, name, factory, address)
        return address.read_text()


def _folder() -> Path:
    """Return the folder that the processes of this test run share (tests/conftest.py names it)."""
    if FOLDER not in os.environ:
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="test-servers-")
    return Path(os.environ[FOLDER])


def _start(folder: Path, name: str, factory: str, address: Path) -> None:
    log = folder / f"{name}.log"
    with log.open("ab") as output:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.shared", str(folder), name, factory],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_DEADLINE_S
    while not address.exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the shared {name} did not start: {log.read_text()[-2_000:]}")
        time.sleep(LOOK_EVERY_S)


def keep(folder: Path, name: str, factory: str) -> None:
    """Run the server until nobody uses it any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest; this ends after it
    module, _, function = factory.partition(":")
    running: Callable[[], AbstractContextManager[str]] = getattr(importlib.import_module(module), function)
    address = folder / f"{name}.address"
    with running() as found, (folder / f"{name}.users").open("r+") as users:
        draft = address.with_suffix(".draft")
        draft.write_text(found)
        draft.replace(address)
        fcntl.flock(users, fcntl.LOCK_EX)
        address.unlink()


if __name__ == "__main__":
    keep(Path(sys.argv[1]), *sys.argv[2:])
