"""A setup that would lose work or time in silence: the process ends at once, with code 2 and a sentence that helps."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

import orchestrator
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import JobId
from orchestrator.domain.workers import Kind, WorkerProcess
from orchestrator.engine.locks import one_of_fleet, run_of
from orchestrator.fleet.broker import Broker
from orchestrator.fleet.embedded import EmbeddedBroker
from orchestrator.ledger.db.database import open_sqlite
from orchestrator.ledger.workers import SqlWorkers
from tests.acceptance.command_line import wait_until
from tests.acceptance.datasets import MODEL, marked
from tests.servers.forked import ForkedProcess
from tests.servers.valkey import a_broker

REFUSED: Final = 2
ROOT: Final = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    with a_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def beat(broker: EmbeddedBroker, tmp_path: Path) -> Callable[..., str]:
    """Start a beat that must refuse to; return what it says. `settings` are environment variables."""

    def refused(*arguments: str, **settings: str) -> str:
        environment = {
            **os.environ,
            "ORCHESTRATOR_BROKER_URL": broker.url,
            "ORCHESTRATOR_WORK": str(tmp_path / "work"),
            **settings,
        }
        said = tmp_path / "said.log"
        said.unlink(missing_ok=True)
        process = ForkedProcess(
            "orchestrator", arguments or ("beat",), folder=ROOT, environment=environment, output=said
        )
        try:
            code = process.wait(60)
        except subprocess.TimeoutExpired:
            process.stacks()
            wait_until(lambda: "most recent call first" in said.read_text(), "its stacks")
            pytest.fail(f"it has not ended:\n{said.read_text()}")
        words = said.read_text()
        assert code == REFUSED, words
        assert "Traceback" not in words
        return words

    return refused


def a_ledger(folder: Path) -> Path:
    """Make an empty ledger in a work folder."""
    folder.mkdir(exist_ok=True)
    open_sqlite(folder / "ledger.db").close()
    return folder / "ledger.db"


def test_an_open_broker_elsewhere(beat: Callable[..., str]) -> None:
    said = beat(ORCHESTRATOR_BROKER_URL="redis://:canary@broker.example:6379/0")

    assert "broker.example:6379 is on another machine and lacks TLS" in said
    assert "canary" not in said


def test_a_broker_of_another_ledger(beat: Callable[..., str], broker: EmbeddedBroker) -> None:
    line = Broker(broker.url.replace("/0", "/7"))
    line.mark("another", "there#ffff")
    line.close()

    assert "another ledger (on there)" in beat(ORCHESTRATOR_BROKER_URL=broker.url.replace("/0", "/7"))


def test_an_sqlite_ledger_of_another_machine(beat: Callable[..., str], tmp_path: Path) -> None:
    database, now = open_sqlite(a_ledger(tmp_path / "work")), datetime.now(UTC)
    there = WorkerProcess(id="x", host="there#ffff", pid=1, kind=Kind.WORKER, started_at=now, seen_at=now)
    SqlWorkers(database).register(there, now=now)
    database.close()

    assert "a worker on there uses it" in beat()


@pytest.mark.slow
def test_a_ledger_that_is_newer_than_the_program(beat: Callable[..., str], tmp_path: Path) -> None:
    with sqlite3.connect(a_ledger(tmp_path / "work")) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    connection.close()

    assert "schema 99" in beat()


def test_a_work_folder_that_is_not_the_ledgers(beat: Callable[..., str], tmp_path: Path) -> None:
    """As when each of two machines has a folder of the same name: the second one finds its own empty."""
    ledger = f"sqlite:///{tmp_path / 'shared.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORCHESTRATOR_LEDGER_URL", ledger)
        orchestrator.submit(marked(3), prompt="{text}", model=MODEL, work=tmp_path / "work")

    said = beat(ORCHESTRATOR_LEDGER_URL=ledger, ORCHESTRATOR_WORK=str(tmp_path / "other"))

    assert f"the work folder {tmp_path / 'other'} is not the one" in said
    assert not (tmp_path / "other" / "_ledger").exists()


def test_a_work_folder_in_an_object_store_without_a_ledger(beat: Callable[..., str]) -> None:
    assert "ORCHESTRATOR_LEDGER_URL" in beat(ORCHESTRATOR_WORK="s3://bucket/work")


def test_a_folder_in_which_a_run_is_under_way(beat: Callable[..., str], tmp_path: Path) -> None:
    a_ledger(tmp_path / "work")

    with run_of(tmp_path / "work" / "runner.lock", JobId("mood-1")):
        told = " ".join(beat().split())
        assert f"other processes run jobs in {tmp_path / 'work'} (mood-1: pid {os.getpid()}): wait for them, or" in told


def test_a_run_beside_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEROUTER_API_KEY", "key")
    a_ledger(tmp_path)

    with (
        one_of_fleet(tmp_path / "runner.lock"),
        one_of_fleet(tmp_path / "runner.lock"),
        pytest.raises(ConfigError, match=r"a fleet is running.*orchestrator submit"),
    ):
        orchestrator.run(marked(3), prompt="{text}", model=MODEL, work=tmp_path)


def test_a_sign_of_life_that_cannot_be_given(beat: Callable[..., str], tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere" / "alive")

    assert f"the heartbeat file {nowhere} cannot be written" in beat(ORCHESTRATOR_HEARTBEAT=nowhere)


@pytest.mark.parametrize("queues", ["plan,colect", "plan,,collect"])
def test_a_queue_that_does_not_exist(beat: Callable[..., str], queues: str) -> None:
    assert "choose from control,transfer,plan,collect" in beat("worker", "--queues", queues)


def test_what_only_this_program_can_render_is_not_submitted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="render is a function of this program"):
        orchestrator.submit(marked(3), render=dict, model=MODEL, work=tmp_path)


def test_what_only_this_machine_can_read_is_not_submitted_beside_an_object_store(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"job\.dataset .* is on this machine"):
        orchestrator.submit(tmp_path / "rows.csv", prompt="{text}", model=MODEL, work="s3://bucket/work")
