"""A fleet on this machine, measured: throughput by workers, what the ledger costs, ten thousand batches in flight.

    python -m benchmarks.fleet throughput --ledger postgres --workers 1 --workers 2 --workers 4
    python -m benchmarks.fleet ledger --ledger sqlite --chunks 10000
    python -m benchmarks.fleet in-flight --batches 10000

Gateway, broker and ledger share the machine's cores with the workers, so rates are lower bounds.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import sqlalchemy as sa

import orchestrator
from orchestrator import JobHandle
from orchestrator.domain.workers import Kind
from orchestrator.engine.opening import opened_workspace
from orchestrator.fleet.embedded import running_broker
from orchestrator.ledger.db.database import Database
from orchestrator.ledger.db.schema import chunks
from tests.acceptance.datasets import MODEL, marked
from tests.gateway_process import API_KEY, GatewayProcess, running_gateway
from tests.servers.postgres import running_postgres
from tests.servers.processes import Process, ended_at_last

DEADLINE_S: Final = 1_800.0
AHEAD: Final = 400  # chunks that wait for room
LANES: Final = ("control", "transfer", "plan,collect")


@dataclass(slots=True)
class Fleet:
    """Servers, settings, and the processes started so far."""

    folder: Path
    gateway: GatewayProcess
    processes: list[Process] = field(default_factory=list)

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def start(self, *command: str) -> Process:
        name = f"{len(self.processes)}-{command[0]}"
        program = [sys.executable, "-m", "orchestrator", *command]
        process = Process(name, program, dict(os.environ), self.folder / "logs" / name)
        self.processes.append(process)
        process.start()
        return process

    def submit(self, rows: int, chunk: int, **policy: Any) -> JobHandle:
        return orchestrator.submit(
            marked(rows, width=400),
            prompt="{text}",
            model=MODEL,
            work=self.work,
            provider_options={"base_url": self.gateway.url, "poll_s_min": 1.0},
            policy={"canary_rows": 0, "chunk_requests_max": chunk, "retry_gather_s": 0.2, **policy},
        )


@contextlib.contextmanager
def a_fleet(ledger: str, *gateway_options: str, **settings: str) -> Iterator[Fleet]:
    """Start the servers; this process and all that it starts find them through the environment."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet-")))
        gateway = stack.enter_context(running_gateway(folder / "gateway", *gateway_options))
        broker = stack.enter_context(running_broker(folder / "broker"))
        database = stack.enter_context(running_postgres(durable=True)) if ledger == "postgres" else None
        os.environ.update(
            {
                "ORCHESTRATOR_BROKER_URL": broker.url,
                "ORCHESTRATOR_LEDGER_URL": "" if database is None else database.url,
                "ORCHESTRATOR_WORK": str(folder / "work"),
                "ORCHESTRATOR_TICK_S": "1",
                "ONEROUTER_API_KEY": API_KEY,
                **settings,
            }
        )
        fleet = Fleet(folder, gateway)
        stack.enter_context(ended_at_last(fleet.processes))
        yield fleet


def head(*columns: str) -> None:
    """Print the head of a table."""
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")


def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        if time.monotonic() > deadline:
            sys.exit("it took too long")
        time.sleep(0.2)


def workers_alive(fleet: Fleet) -> int:
    """Return how many worker processes have joined."""
    with opened_workspace(str(fleet.work)) as workspace:
        return sum(member.kind is Kind.WORKER for member in workspace.workers.alive(now=workspace.clock.now()))


def cpu_s(process: Process) -> float:
    """Return the processor time that a process and its children have used, seconds."""
    total = 0.0
    for member in process.family():
        with contextlib.suppress(psutil.Error):
            times = member.cpu_times()
            total += times.user + times.system
    return total


def throughput(ledger: str, counts: list[int], rows: int, chunk: int) -> None:
    """Print how long the same job takes with so many workers, each of three processes, that wait for it."""
    print(f"{rows:,} rows, {chunk:,} to a chunk, batches of 0.5 s, ledger: {ledger}")
    head("workers", "seconds", "rows/s", "CPU s of the workers", "creates", "paid twice")
    for count in counts:
        with a_fleet(ledger, "--duration-s", "0.5", ORCHESTRATOR_SHARD_ROWS="20000") as fleet:
            workers = [fleet.start("worker") for _ in range(count)]
            fleet.start("beat")
            until(lambda fleet=fleet, count=count: workers_alive(fleet) == 3 * count)
            before = sum(map(cpu_s, workers))
            begun = time.monotonic()
            result = fleet.submit(rows, chunk, batches_in_flight_max=50).wait(DEADLINE_S)
            seconds = time.monotonic() - begun
            used = sum(map(cpu_s, workers)) - before
            bill = fleet.gateway.bill()
            assert result.counts["succeeded"] == rows
            print(
                f"| {count} | {seconds:.1f} | {rows / seconds:,.0f} | {used:.1f} | {bill['creates']} "
                f"| {bill['paid_twice']} |",
                flush=True,
            )


@dataclass(slots=True)
class Meter:
    """How often something was done, and the processor time it took in all."""

    count: int = 0
    cpu_s: float = 0.0


def metered(method: Any, meter: Meter) -> Any:
    """Return a context manager's method that is counted and timed."""

    @contextlib.contextmanager
    def counted(self: Database) -> Iterator[sa.Connection]:
        begun = time.thread_time()
        try:
            with method(self) as connection:
                yield connection
        finally:
            meter.count += 1
            meter.cpu_s += time.thread_time() - begun

    return counted


def ledger_cost(ledger: str, count: int) -> None:
    """Print what a job of so many chunks asks of its ledger, run by one process."""
    writes, reads = Meter(), Meter()
    with a_fleet(ledger, "--duration-s", "0.2") as fleet:
        Database.write = metered(Database.write, writes)  # type: ignore[method-assign]
        Database.read = metered(Database.read, reads)  # type: ignore[method-assign]
        begun = time.monotonic()
        result = orchestrator.run(
            marked(10 * count),
            prompt="{text}",
            model=MODEL,
            work=fleet.work,
            provider_options={"base_url": fleet.gateway.url, "poll_s_min": 1.0},
            policy={"canary_rows": 0, "chunk_requests_max": 10, "batches_in_flight_max": 200, "chunks_ahead_max": 400},
        )
        seconds = time.monotonic() - begun
        assert result.counts["succeeded"] == 10 * count
    print(f"{count:,} chunks of 10 rows, ledger: {ledger}, {seconds:.0f} s in all")
    head("", "transactions per chunk", "CPU ms per chunk", "CPU ms per transaction")
    for name, meter in (("writes", writes), ("reads", reads)):
        print(
            f"| {name} | {meter.count / count:.1f} | {1_000 * meter.cpu_s / count:.1f} "
            f"| {1_000 * meter.cpu_s / meter.count:.2f} |"
        )


def polls_so_far(fleet: Fleet) -> int:
    """Return how often chunks have been written: while nothing else happens, each is one poll."""
    with opened_workspace(str(fleet.work)) as workspace, workspace.database.read() as connection:
        return int(connection.execute(sa.select(sa.func.sum(chunks.c.version))).scalar_one())


def in_flight(ledger: str, count: int, window_s: float) -> None:
    """Print what it takes to keep so many small batches in flight, none of which ends, and more waiting for room."""
    with a_fleet(ledger, "--duration-s", "36000") as fleet:
        workers = {queues: fleet.start("worker", "--queues", queues) for queues in LANES}
        fleet.start("beat")
        begun = time.monotonic()
        room = {"batches_in_flight_max": count, "chunks_ahead_max": AHEAD}
        job = fleet.submit(count + AHEAD, 1, **room, poll_s_min=15, poll_s_max=300)
        until(lambda: job.status().totals.batches == count)
        created_s = time.monotonic() - begun
        rate = 60 * count / created_s
        print(f"{count:,} batches created in {created_s:.0f} s ({rate:,.0f} a minute), ledger: {ledger}")
        head("seconds since", "polls a minute", "CPU control", "CPU transfer", "CPU plan, collect")
        for _ in range(4):
            before = polls_so_far(fleet), {queues: cpu_s(process) for queues, process in workers.items()}
            at = time.monotonic()
            time.sleep(window_s)
            passed = time.monotonic() - at
            polls = polls_so_far(fleet) - before[0]
            shares = [100 * (cpu_s(process) - before[1][queues]) / passed for queues, process in workers.items()]
            row = " | ".join(f"{share:.1f} %" for share in shares)
            print(f"| {time.monotonic() - begun - created_s:.0f} | {60 * polls / passed:,.0f} | {row} |", flush=True)
        port = int(fleet.gateway.base_url.rpartition(":")[2])
        clients = [process.connections_to(port, word=queues) for queues, process in workers.items()]
        print(f"open connections to the provider, by process: {clients}")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["throughput", "ledger", "in-flight"])
    parser.add_argument("--ledger", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--workers", type=int, action="append")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--chunk", type=int, default=2_000)
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--batches", type=int, default=10_000)
    parser.add_argument("--window-s", type=float, default=60.0)
    given = parser.parse_args()
    if given.what == "throughput":
        throughput(given.ledger, given.workers or [1, 2, 4], given.rows, given.chunk)
    elif given.what == "ledger":
        ledger_cost(given.ledger, given.chunks)
    else:
        in_flight(given.ledger, given.batches, given.window_s)


if __name__ == "__main__":
    main()
