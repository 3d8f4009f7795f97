"""The servers of a run, and two hosts at work: a worker and a beat each, with a network connection to the broker.

Rule: a host reaches the broker through a proxy of its own, so that one can lose its connection while the other works.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.fleet.embedded import LOOPBACK, EmbeddedBroker, running_broker
from tests.gateway_process import GatewayProcess, running_gateway
from tests.servers.postgres import PostgresServer, running_postgres
from tests.servers.processes import Process, ended_at_last
from tests.servers.proxy import FaultProxy, running_proxy

HOSTS: Final = 2
BATCH_S: Final = 1.0
TICK_S: Final = 0.5
LEASE_S: Final = 8.0  # the longest step here takes a second; a frozen worker loses its leases
CREATE_S: Final = 5.0
KEY_VARIABLE: Final = "ONEROUTER_API_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine of the fleet."""

    worker: Process
    beat: Process
    network: FaultProxy


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Everything that runs, but the job."""

    folder: Path
    gateway: GatewayProcess
    broker: EmbeddedBroker
    hosts: list[Host]
    database: PostgresServer | None  # None: the ledger is a file

    @property
    def work(self) -> Path:
        """The work folder."""
        return self.folder / "work"

    @property
    def processes(self) -> list[Process]:
        """What works on the job."""
        return [process for host in self.hosts for process in (host.worker, host.beat)]


@contextlib.contextmanager
def set_stage(folder: Path, *, ledger: str, batch_s: float = BATCH_S, host_count: int = HOSTS) -> Iterator[Stage]:
    """Start the servers and make the hosts ready; `start` their processes once there is a job."""
    with contextlib.ExitStack() as stack:
        gateway = stack.enter_context(running_gateway(folder / "gateway", "--duration-s", str(batch_s)))
        broker = stack.enter_context(running_broker(folder / "broker"))
        database = stack.enter_context(running_postgres(durable=True)) if ledger == "postgres" else None
        settings = {
            "ORCHESTRATOR_WORK": str(folder / "work"),
            "ORCHESTRATOR_LEDGER_URL": database.url if database is not None else "",
            "ORCHESTRATOR_TICK_S": str(TICK_S),
            "ORCHESTRATOR_LEASE_S": str(LEASE_S),
            "ORCHESTRATOR_SHUTDOWN_S": "10",
        }
        stack.enter_context(environment(settings))
        hosts = []
        for number in range(host_count):
            network = stack.enter_context(running_proxy((LOOPBACK, broker.port)))
            hosts.append(_host(number, folder, broker, network, settings))
        stage = Stage(folder=folder, gateway=gateway, broker=broker, hosts=hosts, database=database)
        stack.enter_context(ended_at_last(stage.processes))
        yield stage


def _host(number: int, folder: Path, broker: EmbeddedBroker, network: FaultProxy, settings: dict[str, str]) -> Host:
    environment = {
        **os.environ,
        **settings,
        "ORCHESTRATOR_BROKER_URL": broker.url.replace(f":{broker.port}/", f":{network.port}/"),
        KEY_VARIABLE: GatewayProcess.api_key,
    }
    worker, beat = (
        Process(
            name=f"{role}{number}",
            command=[sys.executable, "-m", "orchestrator", role],
            environment=environment,
            log=folder / "logs" / f"{role}{number}.log",
        )
        for role in ("worker", "beat")
    )
    return Host(worker=worker, beat=beat, network=network)


@contextlib.contextmanager
def environment(settings: dict[str, str]) -> Iterator[None]:
    """Let this process, too, find the ledger: it submits the job, looks at it, and resolves what is held."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
