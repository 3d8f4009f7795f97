"""What is refused before a process joins a fleet: each would lose work or time in silence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.domain.errors import ConfigError
from orchestrator.fleet import checks
from orchestrator.fleet.broker import OWNER_KEY, OWNER_S, Broker, place_of, refuse_open
from orchestrator.fleet.embedded import EmbeddedBroker
from tests.servers.valkey import a_broker, client_of


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with a_broker(tmp_path / "broker") as running:
        yield running


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:6379/0",
        "redis://127.0.0.1/0",
        "redis://127.8.9.1:7000",
        "redis://[::1]:6379/0",
        "redis:///0",
        "redis+socket:///run/broker.sock",
        "rediss://:word@broker.example:6379/0",
        "rediss://user:word@10.0.0.1:6379/0",
    ],
)
def test_a_broker_that_is_near_or_locked_is_taken(url: str) -> None:
    refuse_open(url, insecure_allowed=False)


@pytest.mark.parametrize(
    ("url", "lacks"),
    [
        ("redis://broker.example:6379/0", r"TLS .* and a password"),
        ("redis://:canary@10.0.0.1:6379/0", "lacks TLS"),
        ("rediss://broker.example:6379/0", "lacks a password"),
        ("redis://localhost.example:6379/0", "TLS"),
        ("redis://127.0.0.1.example:6379/0", "TLS"),
    ],
)
def test_a_broker_on_another_machine_needs_tls_and_a_password(url: str, lacks: str) -> None:
    with pytest.raises(ConfigError, match=lacks) as refused:
        refuse_open(url, insecure_allowed=False)

    assert "ORCHESTRATOR_BROKER_INSECURE" in str(refused.value)
    assert "canary" not in str(refused.value)
    refuse_open(url, insecure_allowed=True)


@pytest.mark.parametrize("url", ["amqp://localhost", "localhost:6379", "", "http://localhost:6379"])
def test_what_is_no_redis_address_is_refused_whatever_is_allowed(url: str) -> None:
    with pytest.raises(ConfigError, match="ORCHESTRATOR_BROKER_URL"):
        refuse_open(url, insecure_allowed=True)


def test_an_address_is_shown_without_its_password() -> None:
    assert place_of("rediss://user:canary@broker.example:7000/3") == "broker.example:7000"
    assert place_of("redis+socket:///run/broker.sock") == "/run/broker.sock"


@pytest.mark.parametrize("skew_s", [11.0, -11.0, 3600.0])
def test_clocks_far_apart_are_refused(skew_s: float) -> None:
    with pytest.raises(ConfigError, match=f"clock is {abs(skew_s):.0f} s (ahead of|behind)"):
        checks.refuse_skew(skew_s)


@pytest.mark.parametrize("skew_s", [0.0, 9.0, -9.0])
def test_clocks_that_agree_are_taken(skew_s: float) -> None:
    checks.refuse_skew(skew_s)


def test_an_sqlite_file_is_worked_on_from_one_machine() -> None:
    checks.refuse_other_hosts("here#aaaa", ["here#aaaa", "a-container-here#aaaa"])
    with pytest.raises(ConfigError, match=r"worker on there.*one machine only.*postgresql"):
        checks.refuse_other_hosts("here#aaaa", ["here#aaaa", "there#bbbb"])


def test_this_machine_has_one_name_in_every_process() -> None:
    assert checks.host() == checks.host()
    assert checks.host().partition("#")[2]


def test_a_broker_belongs_to_the_first_ledger_that_comes(broker: EmbeddedBroker) -> None:
    line = Broker(broker.url)

    assert line.mark("ledger-1", "here#aaaa") == "ledger-1 here#aaaa"
    assert line.mark("ledger-1", "there#bbbb") == "ledger-1 here#aaaa"
    assert line.mark("ledger-2", "there#bbbb") == "ledger-1 here#aaaa"
    line.close()


def test_a_worker_with_another_ledger_is_refused() -> None:
    checks.refuse_other_ledger("broker:6379", "ledger-1", "ledger-1 there#bbbb")
    with pytest.raises(ConfigError, match=r"another ledger \(on there\).*ORCHESTRATOR_LEDGER_URL"):
        checks.refuse_other_ledger("broker:6379", "ledger-2", "ledger-1 there#bbbb")


def test_the_mark_of_a_fleet_that_is_gone_goes_too(broker: EmbeddedBroker) -> None:
    """It is renewed by those who are there, and by nobody else."""
    line, client = Broker(broker.url), client_of(broker)
    line.mark("ledger-1", "here#aaaa")
    client.expire(OWNER_KEY, 1)

    line.mark("ledger-2", "here#aaaa")
    assert client.ttl(OWNER_KEY) <= 1
    line.mark("ledger-1", "here#aaaa")

    assert client.ttl(OWNER_KEY) > OWNER_S - 5
    line.close()


def test_a_broker_that_refuses_us_is_not_waited_for(broker: EmbeddedBroker) -> None:
    line = Broker(f"redis://:wrong@127.0.0.1:{broker.port}/0")

    with pytest.raises(ConfigError, match=f"127.0.0.1:{broker.port} refuses this process"):
        line.mark("ledger-1", "here#aaaa")
    line.close()
