"""`orchestrator fleet` says what it uses, without passwords, and when its workers answer."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import settings as configuration
from orchestrator.fleet.readiness import Readiness, setup_lines
from tests.servers.processes import Process, ended_at_last
from tests.workers.fleets import until


def test_neither_user_nor_password_of_a_broker_or_a_ledger_is_shown() -> None:
    settings = replace(
        configuration.load({}),
        broker_url="rediss://fleet:s3cret@broker.example:6380/1?ssl_cert_reqs=required",
        ledger_url="postgresql://fleet:s3cret@ledger.example/orchestrator?password=s3cret",
        work="s3://bucket/orchestrator",
    )

    assert list(setup_lines(settings, 2, 1, is_own_broker=False)) == [
        "broker       rediss://broker.example:6380/1",
        "ledger       postgresql://ledger.example/orchestrator",
        "work folder  s3://bucket/orchestrator",
        "workers      2, of three processes each, and 1 beat",
    ]


def test_a_fleet_is_ready_once_each_of_its_processes_has_answered_and_says_so_once() -> None:
    """A process that is started anew answers again."""
    told = list[str]()
    ready = Readiness(2, told.append)
    ready.one_more()
    ready.look()
    assert told == []

    ready.one_more()
    ready.look()
    ready.one_more()
    ready.look()

    (line,) = told
    assert line.startswith("ready        2 worker processes answer")


@pytest.mark.slow
def test_a_fleet_of_this_machine_tells_its_setup_and_that_it_is_ready(tmp_path: Path) -> None:
    settings = {**os.environ, "ORCHESTRATOR_WORK": str(tmp_path / "work")}
    command = [sys.executable, "-m", "orchestrator", "fleet", "--workers", "1", "--beats", "1"]
    fleet = Process("fleet", command, settings, tmp_path / "fleet.log")
    with ended_at_last([fleet]):
        fleet.start()
        until(lambda: "ready " in fleet.log.read_text(), "the workers to answer")

        broker, ledger, work, workers, ready = fleet.log.read_text().splitlines()
        assert broker.startswith("broker       redis://127.0.0.1:")
        assert broker.endswith("/0, started for this fleet")
        assert ledger == f"ledger       {tmp_path}/work/ledger.db, SQLite"
        assert work == f"work folder  {tmp_path}/work"
        assert workers == "workers      1, of three processes each, and 1 beat"
        assert ready.startswith("ready        3 worker processes answer")
        assert fleet.stop() == 0
