"""A small fleet of real processes for one test: a broker, a gateway, and workers and beats that are told to start."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

import orchestrator
from orchestrator import JobHandle
from orchestrator.fleet.embedded import EmbeddedBroker
from tests.acceptance.datasets import MODEL, QUICK, check_exact, marked, read_output
from tests.gateway_process import API_KEY, GatewayProcess, running_gateway
from tests.servers.processes import Process, ended_at_last
from tests.servers.valkey import a_broker

DEADLINE_S: Final = 60.0
TEN_TO_A_BATCH: Final = {"chunk_requests_max": 10}


@dataclass(slots=True)
class Fleet:
    """The servers, the settings, and the processes started so far."""

    folder: Path
    broker: EmbeddedBroker
    gateway: GatewayProcess
    settings: dict[str, str]
    processes: list[Process] = field(default_factory=list)

    @property
    def work(self) -> Path:
        """The work folder."""
        return self.folder / "work"

    def start(self, role: str, *arguments: str, **settings: str) -> Process:
        """Start a worker or a beat."""
        name = f"{role}{len(self.processes)}"
        command = [sys.executable, "-m", "orchestrator", role, *arguments]
        environment = {**os.environ, **self.settings, **settings}
        process = Process(name, command, environment, self.folder / f"{name}.log")
        self.processes.append(process)
        process.start()
        return process

    def submit(
        self,
        row_count: int,
        *,
        base_url: str = "",
        policy: Mapping[str, object] = TEN_TO_A_BATCH,
        alongside: bool = False,
    ) -> JobHandle:
        """Submit a job of marked rows."""
        return orchestrator.submit(
            marked(row_count),
            prompt="{text}",
            model=MODEL,
            work=self.work,
            provider_options={"base_url": base_url or self.gateway.url, **QUICK},
            policy={"retry_gather_s": 0.2, **policy},
            alongside=alongside,
        )

    def said(self, process: Process) -> str:
        """Return all that a process has printed."""
        return process.log.read_text()


@contextmanager
def a_fleet(folder: Path, monkeypatch: pytest.MonkeyPatch, *, batch_s: float = 0.2) -> Iterator[Fleet]:
    """Start the servers; whatever is started besides is killed when the block ends."""
    with a_broker(folder / "broker") as broker, running_gateway(folder / "gateway", "--duration-s", f"{batch_s}") as gw:
        settings = {
            "ORCHESTRATOR_BROKER_URL": broker.url,
            "ORCHESTRATOR_WORK": str(folder / "work"),
            "ORCHESTRATOR_TICK_S": "0.5",
            "ONEROUTER_API_KEY": API_KEY,
        }
        monkeypatch.setenv("ORCHESTRATOR_WORK", settings["ORCHESTRATOR_WORK"])
        fleet = Fleet(folder, broker, gw, settings)
        with ended_at_last(fleet.processes):
            yield fleet


def until(is_so: Callable[[], object], what: str) -> None:
    """Wait until something is so; fail where it takes too long."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def check_done(fleet: Fleet, job: JobHandle, row_count: int, *, creates: int) -> None:
    """Check that every row has its own answer, and that nothing was paid for twice."""
    check_exact(read_output(job.wait(120).path), marked(row_count))
    bill = fleet.gateway.bill()
    assert (bill["creates"], bill["paid_twice"]) == (creates, 0)
