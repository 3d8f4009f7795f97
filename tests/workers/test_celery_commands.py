"""`celery -A workers`: whoever starts Celery by its own command has a fleet as good as ours."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.servers.processes import Process
from tests.workers.fleets import Fleet, a_fleet, check_done, until

ROWS = 20


def celery(fleet: Fleet, *arguments: str, **settings: str) -> Process:
    """Start Celery's own command on this repository's app."""
    name = f"celery-{arguments[0]}"
    command = [sys.executable, "-m", "celery", "-A", "workers", *arguments]  # in the root of the repository
    process = Process(name, command, {**os.environ, **fleet.settings, **settings}, fleet.folder / f"{name}.log")
    fleet.processes.append(process)
    process.start()
    return process


def test_a_worker_and_a_beat_started_by_celery_do_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with a_fleet(tmp_path, monkeypatch) as fleet:
        celery(fleet, "beat", "--loglevel", "WARNING")
        worker = celery(fleet, "worker", "-Q", "control,transfer,plan,collect", "--loglevel", "WARNING")

        job = fleet.submit(ROWS)
        check_done(fleet, job, ROWS, creates=2)

        status = job.status()
        assert (status.workers_alive, status.beats_alive) == (1, 1), fleet.said(worker)


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
