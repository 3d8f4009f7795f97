"""`celery -A workers`: whoever starts Celery by its own command has a fleet as good as ours."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.servers.processes import Process
from tests.workers.fleets import Fleet, a_fleet, check_done, until

LIFE: Final = ("planned", "sent", "accepted", "ended", "collected")


def celery(fleet: Fleet, *arguments: str, **settings: str) -> Process:
    """Start Celery's own command on this repository's app."""
    name = f"celery-{arguments[0]}"
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "workers", *arguments]  # in the root of the repository
    process = Process(name, command, {**os.environ, **fleet.settings, **settings}, fleet.folder / f"{name}.log")
    fleet.processes.append(process)
    process.start()
    return process


def lines_of(fleet: Fleet, process: Process) -> list[dict[str, Any]]:
    """Read what a process has logged; a line that is no JSON object fails."""
    return [json.loads(line) for line in fleet.said(process).splitlines()]


@pytest.mark.slow
def test_a_worker_and_a_beat_started_by_celery_do_a_job_and_log_a_batchs_life_in_five_lines(fleet: Fleet) -> None:
    """With ids, counts, ages and money, and the process that wrote them; Celery's own lines are of the same form."""
    celery(fleet, "beat", "--loglevel", "WARNING")
    queues = ("-Q", "control,transfer,plan,collect")
    worker = celery(fleet, "worker", *queues, "--loglevel", "INFO", ORCHESTRATOR_LOG="info")
    job = fleet.submit(10)
    check_done(fleet, job, 10, creates=1)
    status = job.status()
    assert (status.workers_alive, status.beats_alive) == (1, 1), fleet.said(worker)
    until(lambda: "job.finished" in fleet.said(worker), "the job's last line")

    told = lines_of(fleet, worker)
    members = {one.pid for one in worker.family()}
    assert {line["host"] for line in told} == {socket.gethostname()}
    assert {line["pid"] for line in told} <= members
    assert "celery.apps.worker" in {line["logger"] for line in told}
    life = [line for line in told if line["event"].startswith("batch.")]
    planned, sent, accepted, ended, collected = life
    assert [line["event"] for line in life] == [f"batch.{word}" for word in LIFE]
    assert {(line["job"], line["chunk"], line["level"]) for line in life} == {(job.job_id, "c00000-00000", "info")}
    (batch,) = fleet.gateway.batches()
    assert {line["batch"] for line in (accepted, ended, collected)} == {batch["id"]}
    assert (planned["rows"], sent["attempt"], accepted["rows"]) == (10, 1, 10)
    assert planned["bytes"] > planned["tokens_in"] > 0
    assert (ended["outcome"], ended["answered"], ended["failed"]) == ("completed", 10, 0)
    assert (collected["succeeded"], collected["to_send_again"], collected["failed"]) == (10, 0, 0)
    assert 0 <= accepted["age_s"] <= ended["age_s"] <= collected["age_s"]
    assert planned["usd_max"] == sent["usd_reserved"] > collected["usd"] > 0


@pytest.mark.slow
def test_a_worker_started_by_celery_refuses_a_setup_that_would_lose_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same check, the same words and the same exit code as `orchestrator worker`."""
    with a_fleet(tmp_path, monkeypatch) as fleet:
        worker = celery(fleet, "worker", "-Q", "control", ORCHESTRATOR_BROKER_URL="redis://broker.example:6379/0")

        until(lambda: worker.exit_code is not None, "the worker to end")
        assert worker.exit_code == 2
        assert "lacks TLS (rediss://) and a password" in fleet.said(worker)
