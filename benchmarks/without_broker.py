"""A fleet without a broker, measured: workers that claim steps from PostgreSQL, beside Celery on Valkey.

    python -m benchmarks.without_broker --chunks 300

Both have three processes with the same queues and threads, do the same job against the gateway, and share the machine
with it. `puller` is the whole of what would replace Celery, the broker, the beat and the task messages.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final

import psutil
import sqlalchemy as sa

from benchmarks.fleet import Fleet, a_fleet, cpu_s, head, until, workers_alive
from orchestrator import settings as configuration
from orchestrator.domain.errors import Interrupted, LeaseLost
from orchestrator.domain.model import Claim
from orchestrator.domain.queues import HEAVY, Queue, steps_of
from orchestrator.domain.workers import Kind
from orchestrator.engine.heartbeat import Heartbeat
from orchestrator.engine.local_runner import HEAVY_MAX
from orchestrator.engine.opening import open_workspace, opened_workspace
from orchestrator.engine.workspace import Workspace
from orchestrator.fleet.pool import POOLS
from orchestrator.ledger.db.schema import attempts, events, jobs
from tests.servers.processes import Process

IDLE_S: Final = 10.0


def pull(queues: tuple[Queue, ...], look_s: float) -> None:
    """Claim due steps of these queues, and run them, until SIGTERM: one process of a fleet without a broker."""
    over, woken = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: (over.set(), woken.set()))
    settings = configuration.load(os.environ)
    threads = min(HEAVY_MAX, settings.threads) if HEAVY.intersection(queues) else settings.threads
    with contextlib.closing(open_workspace(settings.work, settings.ledger_url, os.environ)) as workspace:
        workspace.register(Kind.WORKER, "here", queues)
        heartbeat = Heartbeat(workspace.ledger, workspace.clock, settings.lease_s)
        with heartbeat as beats, ThreadPoolExecutor(threads) as pool:
            running = set[Future[None]]()
            while not over.is_set():
                woken.clear()
                running = {one for one in running if not one.done()}
                claims = _claims(workspace, queues, threads - len(running), settings.lease_s)
                for claim in claims:
                    done = pool.submit(_perform, workspace, beats, claim, over)
                    done.add_done_callback(lambda _: woken.set())
                    running.add(done)
                if not claims:
                    woken.wait(look_s)


def _claims(workspace: Workspace, queues: tuple[Queue, ...], free: int, lease_s: float) -> list[Claim]:
    now = workspace.clock.now()
    steps = workspace.ledger.due(now=now) & steps_of(*queues) if free else frozenset()
    return workspace.ledger.claim(steps, limit=free, now=now, lease_s=lease_s) if steps else []


def _perform(workspace: Workspace, beats: Heartbeat, claim: Claim, over: threading.Event) -> None:
    beats.add(claim, since=workspace.clock.now())
    try:
        workspace.perform(claim, partial(beats.check, claim, over))
    except (LeaseLost, Interrupted):
        pass
    finally:
        beats.remove(claim)


def servers_cpu_s() -> float:
    """Return the processor time that PostgreSQL and the broker have used, seconds."""
    total = 0.0
    for one in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if one.name() in ("postgres", "valkey-server", "redis-server"):
                times = one.cpu_times()
                total += times.user + times.system
                total += times.children_user + times.children_system
    return total


def facts(fleet: Fleet, job_id: str) -> tuple[float, int]:
    """Return how long after its beginning a job had its first create, seconds, and how many events it has."""
    with opened_workspace(str(fleet.work)) as workspace, workspace.database.read() as connection:
        began = connection.execute(sa.select(jobs.c.created_at).where(jobs.c.id == job_id)).scalar_one()
        sent = sa.select(attempts.c.sent_at).where(attempts.c.job_id == job_id)
        first = connection.execute(sent.order_by(attempts.c.sent_at).limit(1)).scalar_one()
        counted = sa.select(sa.func.count()).select_from(events).where(events.c.job_id == job_id)
        count = connection.execute(counted).scalar_one()
    return (first - began).total_seconds(), int(count)


@contextlib.contextmanager
def celery(fleet: Fleet) -> Iterator[list[Process]]:
    """A worker of three processes, and a beat."""
    yield [fleet.start("worker"), fleet.start("beat")]


@contextlib.contextmanager
def pulling(fleet: Fleet, look_s: float) -> Iterator[list[Process]]:
    """Three processes that pull."""
    found = []
    for queues in POOLS:
        names = ",".join(queues)
        command = [sys.executable, "-m", "benchmarks.without_broker", "--pull", names, "--look-s", str(look_s)]
        process = Process(f"pull-{names}", command, dict(os.environ), fleet.folder / "logs" / f"pull-{names}")
        fleet.processes.append(process)
        process.start()
        found.append(process)
    yield found


def measure(kind: str, chunks: int, look_s: float) -> None:
    """Print one line."""
    with contextlib.ExitStack() as stack:
        fleet = stack.enter_context(a_fleet("postgres", "--duration-s", "0.5", ORCHESTRATOR_TICK_S="5"))
        workers = stack.enter_context(celery(fleet) if kind == "Celery" else pulling(fleet, look_s))
        until(lambda: workers_alive(fleet) == len(POOLS))
        fleet.submit(20, 10).wait(120)  # every process has run its first steps
        idle = sum(map(cpu_s, workers)), servers_cpu_s()
        time.sleep(IDLE_S)
        idle_share = (sum(map(cpu_s, workers)) - idle[0]) / IDLE_S, (servers_cpu_s() - idle[1]) / IDLE_S
        before, begun = (sum(map(cpu_s, workers)), servers_cpu_s()), time.monotonic()
        job = fleet.submit(10 * chunks, 10, batches_in_flight_max=50)
        result = job.wait(600)
        seconds = time.monotonic() - begun
        used = sum(map(cpu_s, workers)) - before[0], servers_cpu_s() - before[1]
        first_s, moves = facts(fleet, job.job_id)
        assert result.counts["succeeded"] == 10 * chunks
        assert fleet.gateway.bill()["paid_twice"] == 0
        name = kind if kind == "Celery" else f"{kind}, a look each {look_s:g} s"
        print(
            f"| {name} | {seconds:.1f} | {moves / seconds:.0f} | {first_s:.2f} | {used[0]:.1f} | {used[1]:.1f} "
            f"| {100 * idle_share[0]:.1f} % | {100 * idle_share[1]:.1f} % |",
            flush=True,
        )


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=300)
    parser.add_argument("--pull", help="be a process that pulls the steps of these queues")
    parser.add_argument("--look-s", type=float, default=0.2)
    given = parser.parse_args()
    if given.pull:
        pull(tuple(map(Queue, given.pull.split(","))), given.look_s)
        return
    print(f"{given.chunks} chunks of 10 rows, batches of 0.5 s, PostgreSQL")
    head(
        *("fleet", "seconds", "recorded moves/s", "s to the first create", "CPU s of the workers"),
        *("CPU s of the servers", "idle CPU of the workers", "idle CPU of the servers"),
    )
    measure("Celery", given.chunks, 0)
    measure("claims alone", given.chunks, 0.2)
    measure("claims alone", given.chunks, 1.0)


if __name__ == "__main__":
    main()
