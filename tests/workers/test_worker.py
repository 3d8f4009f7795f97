"""Real workers, real beats, a real broker: a job is done, a stop is clean, and nothing that is wrong stays unsaid."""

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

from orchestrator import JobHandle, JobStopped, JobUnfinished
from orchestrator import open_job as open_again
from orchestrator.domain.model import ChunkState
from tests.acceptance.datasets import check_exact, marked, read_output
from tests.servers.proxy import running_proxy
from tests.servers.valkey import client_of
from tests.workers.fleets import Fleet, a_fleet, until
from workers.app import KEY_PREFIX

pytestmark = pytest.mark.timeout(180)
TROUBLE_S: Final = 3.0


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    with a_fleet(tmp_path, monkeypatch) as running:
        yield running


def check_done(fleet: Fleet, job: JobHandle, row_count: int, *, creates: int) -> None:
    """Check that every row has its own answer, and that nothing was paid for twice."""
    check_exact(read_output(job.wait(120).path), marked(row_count))
    bill = fleet.gateway.bill()
    assert (bill["creates"], bill["paid_twice"]) == (creates, 0)


def test_a_submitted_job_is_done_by_the_fleet_and_all_go_when_told_to(fleet: Fleet) -> None:
    """Two beats send twice the ticks, two workers share the work: each batch is made once."""
    job = fleet.submit(400)
    processes = [fleet.start(role) for role in ("worker", "worker", "beat", "beat")]

    check_done(fleet, job, 400, creates=40)

    status = open_again(job.job_id, work=fleet.work).status()
    assert (status.workers_alive, status.beats_alive) == (6, 2)
    assert [process.stop() for process in processes] == [0, 0, 0, 0]
    status = job.status()
    assert (status.workers_alive, status.beats_alive) == (0, 0)


def test_a_job_submitted_twice_is_one_job(fleet: Fleet) -> None:
    first = fleet.submit(40)
    second = fleet.submit(40)
    fleet.start("worker")
    fleet.start("beat")

    check_done(fleet, second, 40, creates=4)

    assert first == second
    assert fleet.submit(40).wait(0).path == second.results().path


def test_waiting_ends_when_the_time_is_up_and_the_job_goes_on(fleet: Fleet) -> None:
    job = fleet.submit(20)

    with pytest.raises(JobUnfinished, match=r"not ended within 0\.2 seconds"):
        job.wait(0.2)
    fleet.start("worker")
    fleet.start("beat")

    check_done(fleet, job, 20, creates=2)


def test_a_cancel_is_asked_for_and_the_fleet_does_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with a_fleet(tmp_path, monkeypatch, batch_s=30) as fleet:
        job = fleet.submit(40)
        fleet.start("worker")
        fleet.start("beat")
        until(lambda: len(fleet.gateway.batches()) == 4, "four batches")

        job.cancel()
        result = job.wait(60)

        assert result.counts == {"rows": 40, "succeeded": 0, "dead": 40}


def test_a_worker_told_to_stop_finishes_the_create_it_is_in(fleet: Fleet) -> None:
    """A create without its answer would be held for a person."""
    port = int(fleet.gateway.base_url.rpartition(":")[2])
    with running_proxy(("127.0.0.1", port)) as slow:
        job = fleet.submit(10, base_url=f"http://127.0.0.1:{slow.port}/v1")
        slow.delay_s = 2.0
        worker = fleet.start("worker")
        fleet.start("beat")
        until(lambda: len(fleet.gateway.batches()) == 1, "a create whose answer is on its way")

        assert worker.stop() == 0

        assert job.status().as_dict()["chunks"] == {"submitted": 1}


def test_a_worker_that_cannot_finish_in_time_is_ended_all_the_same(fleet: Fleet) -> None:
    fleet.gateway.set_faults({"create": {"hang": 1, "hang_s": 60.0}})
    fleet.submit(10)
    worker = fleet.start("worker", "--lanes", "control,transfer,plan", ORCHESTRATOR_SHUTDOWN_S="1")
    fleet.start("beat")
    until(lambda: len(fleet.gateway.batches()) == 1, "a create under way")

    assert worker.stop() == 1

    assert "stop.forced" in fleet.said(worker)


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


def collected(job: JobHandle) -> int:
    return job.status().totals.chunks.get(ChunkState.COLLECTED, 0)


def test_a_worker_whose_threads_were_all_busy_when_the_broker_died_listens_again(fleet: Fleet) -> None:
    """It cannot give back the messages it held; they must not count against what it may take."""
    port = int(fleet.gateway.base_url.rpartition(":")[2])
    with running_proxy(("127.0.0.1", port)) as slow:
        job = fleet.submit(60, base_url=f"http://127.0.0.1:{slow.port}/v1")
        fleet.start("worker", "--lanes", "control,transfer,plan", "--threads", "8")
        fleet.start("beat")
        until(lambda: job.status().totals.chunks.get(ChunkState.ENDED, 0) == 6, "six batches to collect")
        slow.delay_s = 1.0
        fleet.start("worker", "--lanes", "collect", "--threads", "1")
        until(lambda: collected(job) >= 1, "a first one collected")
        fleet.broker.kill()
        before = collected(job)
        until(lambda: collected(job) > before, "a step that ends while the broker is away")
        fleet.broker.restart()

        check_done(fleet, job, 60, creates=6)


def test_a_sign_of_life_is_given_while_the_loop_turns(fleet: Fleet) -> None:
    files = {role: fleet.folder / f"{role}-alive" for role in ("worker", "beat")}
    fleet.start("worker", "--lanes", "control", ORCHESTRATOR_HEARTBEAT=str(files["worker"]))
    fleet.start("beat", ORCHESTRATOR_HEARTBEAT=str(files["beat"]))
    until(lambda: all(file.exists() for file in files.values()), "both files")
    first = {role: file.stat().st_mtime_ns for role, file in files.items()}

    until(lambda: all(files[role].stat().st_mtime_ns > first[role] for role in files), "both files again")


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
        for hint in ([], *forged):
            producer.publish([hint, {}, {}], headers={**headers, "id": str(hint)}, serializer="json")
        producer.publish(b"rubbish", content_type="text/plain", content_encoding="binary")
        pickled = {"content_type": "application/x-python-serialize", "content_encoding": "binary"}
        producer.publish(pickle.dumps([[Trap()], {}, {}]), headers={**headers, "id": "trap"}, **pickled)
    fleet.start("worker")
    fleet.start("beat")

    check_done(fleet, job, 20, creates=2)

    assert not trap.exists()


def test_a_worker_without_the_key_stops_the_job_and_says_why(fleet: Fleet) -> None:
    """`status` names the variable, and nothing was sent."""
    fleet.settings.pop("ONEROUTER_API_KEY")
    job = fleet.submit(20)
    fleet.start("worker")
    fleet.start("beat")

    with pytest.raises(JobStopped, match="the environment variable ONEROUTER_API_KEY is not set"):
        job.wait(120)

    assert fleet.gateway.batches() == []


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


def test_a_broker_in_every_kind_of_trouble_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FLUSHALL, out of memory, read-only as after a fail-over, frozen: one after the other, under one job."""
    with a_fleet(tmp_path, monkeypatch, batch_s=1.0) as fleet:
        job = fleet.submit(1_000)
        fleet.start("worker")
        fleet.start("beat")
        for trouble in (emptied, no_memory, read_only, silent):
            reached = collected(job) + 5
            until(lambda reached=reached: collected(job) >= reached, f"work before the broker is {trouble.__name__}")
            with trouble(client_of(fleet.broker)):
                begun = time.monotonic()
                until(lambda begun=begun: time.monotonic() > begun + TROUBLE_S, "some time in trouble")

        check_done(fleet, job, 1_000, creates=100)
