"""A broker that is away, forgets, refuses or lies: it costs time, and nothing else. Real workers, a real broker."""

from __future__ import annotations

import os
import pickle
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import kombu
import pytest
import redis

from orchestrator import JobHandle
from orchestrator.domain.model import ChunkState
from orchestrator.fleet.app import KEY_PREFIX
from tests.servers.proxy import running_proxy
from tests.servers.valkey import client_of
from tests.workers.fleets import Fleet, a_fleet, check_done, until

pytestmark = pytest.mark.timeout(180)
TROUBLE_S: Final = 3.0


@pytest.mark.slow
def test_a_broker_that_is_not_there_yet_is_waited_for(fleet: Fleet) -> None:
    """And meanwhile the process is alive: a probe that ended it would gain nothing."""
    fleet.broker.kill()
    job = fleet.submit(20)
    heartbeat = fleet.folder / "heartbeat"
    worker = fleet.start("worker", ORCHESTRATOR_HEARTBEAT=str(heartbeat))
    fleet.start("beat")
    until(lambda: "does not answer" in fleet.said(worker), "a word on the broker")
    until(heartbeat.exists, "a sign of life")
    fleet.broker.restart()

    check_done(fleet, job, 20, creates=2)


def pause(seconds: float) -> None:
    """Let the processes go on for so long: it is they, not this one, who are waited for."""
    begun = time.monotonic()
    until(lambda: time.monotonic() > begun + seconds, "time to pass")


def collected(job: JobHandle) -> int:
    return job.status().totals.chunks.get(ChunkState.COLLECTED, 0)


@pytest.mark.slow
def test_a_worker_whose_threads_were_all_busy_when_the_broker_died_listens_again(fleet: Fleet) -> None:
    """It cannot give back the messages it held; they must not count against what it may take."""
    port = int(fleet.gateway.base_url.rpartition(":")[2])
    with running_proxy(("127.0.0.1", port)) as slow:
        job = fleet.submit(60, base_url=f"http://127.0.0.1:{slow.port}/v1")
        fleet.start("worker", "--queues", "control,transfer,plan", "--threads", "8")
        fleet.start("beat")
        until(lambda: job.status().totals.chunks.get(ChunkState.ENDED, 0) == 6, "six batches to collect")
        slow.delay_s = 1.0
        fleet.start("worker", "--queues", "collect", "--threads", "1")
        until(lambda: collected(job) >= 1, "a first one collected")
        pause(1.0)  # the next one takes two seconds and more: it is under way by then
        fleet.broker.kill()
        pause(4.0)  # it ends while the broker is away
        fleet.broker.restart()

        check_done(fleet, job, 60, creates=6)


@pytest.mark.slow
def test_what_is_no_hint_is_dropped_and_the_work_goes_on(fleet: Fleet) -> None:
    """A pickle is not opened, a forged hint finds no lease, rubbish is rubbish."""
    trap = fleet.folder / "opened"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (trap.touch, ())

    job = fleet.submit(20)
    forged = (["poll", job.job_id, None, f"{job.job_id}/c00000-00000", 99], ["review", job.job_id, None, None, 9])
    with kombu.Connection(fleet.broker.url, transport_options={"global_keyprefix": KEY_PREFIX}) as connection:
        queue = kombu.Queue("control", kombu.Exchange("control"), routing_key="control")
        producer = connection.Producer(exchange=queue.exchange, routing_key="control")
        queue(connection).declare()
        headers = {"task": "orchestrator.advance", "lang": "py"}
        for message in ([], *forged):
            producer.publish([message, {}, {}], headers={**headers, "id": str(message)}, serializer="json")
        producer.publish(b"rubbish", content_type="text/plain", content_encoding="binary")
        pickled = {"content_type": "application/x-python-serialize", "content_encoding": "binary"}
        producer.publish(pickle.dumps([[Trap()], {}, {}]), headers={**headers, "id": "trap"}, **pickled)
    fleet.start("worker")
    fleet.start("beat")

    check_done(fleet, job, 20, creates=2)

    assert not trap.exists()


@contextmanager
def no_memory(client: redis.Redis) -> Iterator[None]:
    client.config_set("maxmemory", "1")
    yield
    client.config_set("maxmemory", "0")


@contextmanager
def read_only(client: redis.Redis) -> Iterator[None]:
    client.replicaof("127.0.0.1", "1")
    yield
    client.replicaof("NO", "ONE")


@contextmanager
def emptied(client: redis.Redis) -> Iterator[None]:
    client.flushall()
    yield


@contextmanager
def silent(client: redis.Redis) -> Iterator[None]:
    pid = int(client.info("server")["process_id"])
    os.kill(pid, signal.SIGSTOP)
    yield
    os.kill(pid, signal.SIGCONT)


@pytest.mark.slow
def test_a_broker_in_every_kind_of_trouble_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FLUSHALL, out of memory, read-only as after a fail-over, frozen: one after the other, under one job."""
    with a_fleet(tmp_path, monkeypatch, batch_s=4.0) as fleet:
        job = fleet.submit(1_000)
        fleet.start("worker")
        fleet.start("beat")
        for trouble in (emptied, no_memory, read_only, silent):
            reached = collected(job) + 5
            until(lambda reached=reached: collected(job) >= reached, f"work before the broker is {trouble.__name__}")
            with trouble(client_of(fleet.broker)):
                pause(TROUBLE_S)

        check_done(fleet, job, 1_000, creates=100)
