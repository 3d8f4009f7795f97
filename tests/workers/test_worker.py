"""Real workers, real beats, a real broker: a job is done, a stop is clean, and nothing that is wrong stays unsaid."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from orchestrator import JobStopped, JobTimeout
from orchestrator import open_job as open_again
from tests.servers.proxy import running_proxy
from tests.servers.receiver import Receiver, running_receiver
from tests.workers.fleets import Fleet, a_fleet, check_done, until

pytestmark = pytest.mark.timeout(180)


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return str(probe.getsockname()[1])


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Receives notices."""
    with running_receiver() as running:
        yield running


def test_a_submitted_job_is_done_by_the_fleet_and_all_go_when_told_to(fleet: Fleet, receiver: Receiver) -> None:
    """Two beats send twice the ticks, two workers share the work: each batch is made once, and the end is told once."""
    fleet.settings["ORCHESTRATOR_NOTIFY_URL"] = receiver.url
    job = fleet.submit(200)
    port = free_port()
    processes = [fleet.start("worker"), fleet.start("worker", "--queues", "control,transfer", "--metrics-port", port)]
    processes += [fleet.start("beat"), fleet.start("beat")]

    check_done(fleet, job, 200, creates=20)
    until(lambda: receiver.received, "the notice of its end")

    scraped = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    assert 'orchestrator_jobs{activity="finished"} 1.0' in scraped
    assert 'orchestrator_build_info{version="' in scraped
    assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 404

    again = open_again(job.job_id, work=fleet.work)
    until(lambda: (again.status().workers_alive, again.status().beats_alive) == (4, 2), "every process to be known")
    assert [process.stop() for process in processes] == [0, 0, 0, 0]
    status = job.status()
    assert (status.workers_alive, status.beats_alive) == (0, 0)
    (told,) = receiver.received
    assert json.loads(told.body)["data"]["job_id"] == job.job_id


@pytest.mark.slow
def test_a_job_submitted_twice_is_one_job_and_goes_on_when_the_time_to_wait_is_up(fleet: Fleet) -> None:
    job = fleet.submit(20)
    assert fleet.submit(20) == job

    with pytest.raises(JobTimeout, match=r"not ended within 0\.2 seconds"):
        job.wait(0.2)
    fleet.start("worker")
    fleet.start("beat")

    check_done(fleet, job, 20, creates=2)
    assert fleet.submit(20).wait(0).path == job.results().path


@pytest.mark.slow
def test_a_cancel_is_asked_for_and_the_fleet_does_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with a_fleet(tmp_path, monkeypatch, batch_s=30) as fleet:
        job = fleet.submit(40)
        fleet.start("worker")
        fleet.start("beat")
        until(lambda: len(fleet.gateway.batches()) == 4, "four batches")

        job.cancel()
        result = job.wait(60)

        assert result.counts == {"rows": 40, "succeeded": 0, "failed": 40}


@pytest.mark.slow
def test_a_beat_ticks_as_soon_as_it_is_there(fleet: Fleet) -> None:
    """After a crash of everything nothing moves before the first tick; `tick_s` may be long."""
    job = fleet.submit(10)
    fleet.start("worker", "--queues", "control,plan")
    fleet.start("beat", ORCHESTRATOR_TICK_S="600")

    until(lambda: job.status().as_dict()["chunks"], "a first step")


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_worker_that_cannot_finish_in_time_is_ended_all_the_same(fleet: Fleet) -> None:
    fleet.gateway.set_faults({"create": {"hang": 1, "hang_s": 60.0}})
    fleet.submit(10)
    worker = fleet.start("worker", "--queues", "control,transfer,plan", ORCHESTRATOR_SHUTDOWN_S="1")
    fleet.start("beat")
    until(lambda: len(fleet.gateway.batches()) == 1, "a create under way")

    assert worker.stop() == 1

    assert "stop.forced" in fleet.said(worker)


@pytest.mark.slow
def test_a_sign_of_life_is_given_while_the_loop_turns(fleet: Fleet) -> None:
    files = {role: fleet.folder / f"{role}-alive" for role in ("worker", "beat")}
    fleet.start("worker", "--queues", "control", ORCHESTRATOR_HEARTBEAT=str(files["worker"]))
    fleet.start("beat", ORCHESTRATOR_HEARTBEAT=str(files["beat"]))
    until(lambda: all(file.exists() for file in files.values()), "both files")
    first = {role: file.stat().st_mtime_ns for role, file in files.items()}

    until(lambda: all(files[role].stat().st_mtime_ns > first[role] for role in files), "both files again")


@pytest.mark.slow
def test_a_worker_without_the_key_stops_the_job_and_says_why(fleet: Fleet) -> None:
    """`status` names the variable, and nothing was sent."""
    fleet.settings.pop("ONEROUTER_API_KEY")
    job = fleet.submit(20)
    fleet.start("worker")
    fleet.start("beat")

    with pytest.raises(JobStopped, match="the environment variable ONEROUTER_API_KEY is not set"):
        job.wait(120)

    assert fleet.gateway.batches() == []
