"""The network that fails on command does what it says, or the tests that use it prove nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from orchestrator.fleet.embedded import EmbeddedBroker
from tests.servers.proxy import FaultProxy, running_proxy
from tests.servers.valkey import a_broker

IMPATIENT_S = 0.3
NEVER_S = 5.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    with a_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
def proxy(broker: EmbeddedBroker) -> Iterator[FaultProxy]:
    with running_proxy(("127.0.0.1", broker.port)) as proxy:
        yield proxy


def through(proxy: FaultProxy, broker: EmbeddedBroker, *, timeout_s: float = NEVER_S) -> redis.Redis:
    """Return a client with one connection, that never makes it again by itself."""
    url = broker.url.replace(f":{broker.port}/", f":{proxy.port}/")
    return redis.Redis.from_url(
        url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, single_connection_client=True, retry=None
    )


def test_bytes_go_through(broker: EmbeddedBroker, proxy: FaultProxy) -> None:
    """PASS: what one side says, the other hears, large things too."""
    large = b"x" * 1_000_000

    with through(proxy, broker) as client:
        client.set("large", large)

        assert client.get("large") == large


def test_a_black_hole_silences_what_is_open_and_what_is_new(broker: EmbeddedBroker, proxy: FaultProxy) -> None:
    """BLACK_HOLE: a read waits until its own timeout; nothing is refused and nothing is closed."""
    with through(proxy, broker, timeout_s=IMPATIENT_S) as client:
        client.ping()
        proxy.black_hole()

        with pytest.raises(redis.TimeoutError):
            client.ping()
    with pytest.raises(redis.TimeoutError):
        through(proxy, broker, timeout_s=IMPATIENT_S)


def test_the_far_side_never_hears_that_a_lost_connection_was_closed(broker: EmbeddedBroker, proxy: FaultProxy) -> None:
    """BLACK_HOLE: the server goes on serving the dead socket, which is how a message is lost for good."""
    with through(proxy, broker) as waiting, through(proxy, broker) as other:
        waiting.client_setname("waiting")
        other.ping()
        proxy.black_hole()
        waiting.close()
        proxy.heal()

        with through(proxy, broker) as client:
            assert "waiting" in {one["name"] for one in client.client_list()}


def test_after_the_healing_new_connections_work(broker: EmbeddedBroker, proxy: FaultProxy) -> None:
    """BLACK_HOLE, then PASS: what was lost stays lost."""
    with through(proxy, broker, timeout_s=IMPATIENT_S) as lost:
        lost.ping()
        proxy.black_hole()
        proxy.heal()

        with pytest.raises(redis.TimeoutError):
            lost.ping()
    with through(proxy, broker) as client:
        assert client.ping()


def test_a_cut_is_a_reset(broker: EmbeddedBroker, proxy: FaultProxy) -> None:
    """cut: both sides hear of it at once."""
    with through(proxy, broker) as client:
        client.client_setname("cut-off")
        failed = threading.Event()

        def wait_for_something() -> None:
            with pytest.raises(redis.ConnectionError, match=r"reset|104"):
                client.blpop(["nothing"], timeout=60)
            failed.set()

        thread = threading.Thread(target=wait_for_something)
        thread.start()
        wait_until(lambda: "blpop" in names_of_commands(broker, "cut-off"))
        proxy.cut()
        thread.join(NEVER_S)

        assert failed.is_set()
        wait_until(lambda: names_of_commands(broker, "cut-off") == [])


def test_a_delay_is_kept(broker: EmbeddedBroker, proxy: FaultProxy) -> None:
    """delay_s: bytes wait that long, each way."""
    with through(proxy, broker) as client:
        client.ping()
        proxy.delay_s = 0.1
        begun = time.monotonic()
        client.ping()

        assert time.monotonic() - begun >= 0.2


def test_a_server_that_is_gone_is_a_reset(tmp_path: Path) -> None:
    """PASS: a client of a dead server does not wait for it."""
    with a_broker(tmp_path) as broker, running_proxy(("127.0.0.1", broker.port)) as proxy:
        broker.kill()

        with pytest.raises(ConnectionResetError), socket.create_connection((proxy.host, proxy.port), NEVER_S) as client:
            client.recv(1)


def names_of_commands(broker: EmbeddedBroker, name: str) -> list[str]:
    with redis.Redis.from_url(broker.url) as client:
        return [one["cmd"] for one in client.client_list() if one["name"] == name]


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + NEVER_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
