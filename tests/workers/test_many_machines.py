"""What many machines use: a PostgreSQL ledger and an object store, with real servers and real workers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import orchestrator
from tests.acceptance.datasets import (
    MODEL,
    QUICK,
    check_audit,
    check_exact,
    marked,
    read_output,
    write_dataset,
    write_job,
)
from tests.acceptance.operator import resolve_all
from tests.gateway_process import API_KEY
from tests.servers.postgres import PostgresServer, fresh_database, running_postgres
from tests.servers.s3 import s3_server
from tests.servers.valkey import client_of
from tests.workers.fleets import Fleet, a_fleet, until

pytestmark = pytest.mark.timeout(180)
ROWS: Final = 300


@pytest.fixture
def database() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def fleet(database: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    monkeypatch.setenv("ORCHESTRATOR_LEDGER_URL", database.url)
    with a_fleet(tmp_path, monkeypatch) as running:
        running.settings["ORCHESTRATOR_LEDGER_URL"] = database.url
        yield running


def check_paid_once(fleet: Fleet, *, creates: int) -> None:
    bill = fleet.gateway.bill()
    assert (bill["creates"], bill["paid_twice"]) == (creates, 0)


@pytest.mark.slow
def test_a_job_whose_ledger_is_shared_and_whose_files_are_in_a_store(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table of this process, submitted; two workers that see nothing of this machine's disk but their programs."""
    store = s3_server()
    store.set_environment(monkeypatch)
    work = f"s3://{store.new_bucket()}/work"
    fleet.settings |= {"ORCHESTRATOR_WORK": work, **store.environment}
    job = orchestrator.submit(
        marked(ROWS),
        prompt="{text}",
        model=MODEL,
        work=work,
        provider_options={"base_url": fleet.gateway.url, **QUICK},
        policy={"chunk_requests_max": 30, "retry_gather_s": 0.2},
    )
    for role in ("worker", "beat"):
        fleet.start(role)
    fleet.start("worker", "--queues", "transfer,collect")

    result = job.wait(120)

    assert result.path.startswith(work)
    check_exact(result.to_arrow(), marked(ROWS))
    check_paid_once(fleet, creates=10)
    assert not fleet.work.exists()
    check_audit(job.job_id, work)


@pytest.mark.slow
def test_equal_requests_are_paid_once_whichever_worker_plans_them(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten shards, planned by two workers: what was asked in one of them, by whomever, is not asked in a later one."""
    rows = pa.table({"number": [place * 7 % 45 for place in range(ROWS)]})
    rows = rows.append_column("text", marked(45)["text"].take(rows["number"]))
    fleet.folder.mkdir(exist_ok=True)
    pq.write_table(rows, fleet.folder / "rows.parquet", row_group_size=30)
    monkeypatch.setenv("ORCHESTRATOR_SHARD_ROWS", "30")
    job = orchestrator.submit(
        fleet.folder / "rows.parquet",
        prompt="{text}",
        model=MODEL,
        work=fleet.work,
        provider_options={"base_url": fleet.gateway.url, **QUICK},
        policy={"chunk_requests_max": 10, "retry_gather_s": 0.2, "dedupe": True, "canary_rows": 0},
    )
    for role in ("worker", "worker", "beat"):
        fleet.start(role)

    result = job.wait(120)

    check_exact(read_output(result.path), rows)
    bill = fleet.gateway.bill()
    assert (bill["answers"], bill["same_body"], bill["paid_twice"]) == (45, 0, 0)
    assert result.status.totals.reused == ROWS - 45
    check_audit(job.job_id, fleet.work)


@pytest.mark.slow
def test_a_shared_ledger_that_is_lost_half_way_is_made_again_from_the_store(
    fleet: Fleet, database: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers killed, the database gone for good: an empty one is filled from the object store, and all is paid once.

    A provider with a list: creates that were under way are found, or known never to have been, without a person.
    """
    store = s3_server()
    store.set_environment(monkeypatch)
    monkeypatch.setenv("OPENAI_API_KEY", API_KEY)
    work = f"s3://{store.new_bucket()}/work"
    fleet.settings |= {"ORCHESTRATOR_WORK": work, "OPENAI_API_KEY": API_KEY, **store.environment}
    job = orchestrator.submit(
        marked(ROWS),
        prompt="{text}",
        model="gpt-4o-mini",
        provider="openai",
        work=work,
        provider_options={"base_url": fleet.gateway.url, **QUICK, "list_lag_s": 1},
        policy={"chunk_requests_max": 10, "retry_gather_s": 0.2, "batches_in_flight_max": 4},
    )
    for role in ("worker", "beat"):
        fleet.start(role)
    until(lambda: len(fleet.gateway.batches()) >= 8, "eight batches")
    for process in fleet.processes:
        process.kill()

    with fresh_database(database.url) as empty:
        monkeypatch.setenv("ORCHESTRATOR_LEDGER_URL", empty)
        fleet.settings["ORCHESTRATOR_LEDGER_URL"] = empty
        [found] = orchestrator.recover(work=work)
        with client_of(fleet.broker) as client:
            client.flushall()  # it bears the mark of the fleet of the ledger that is gone
        for role in ("worker", "beat"):
            fleet.start(role)
        result = job.wait(120)

        assert found.state == "running"
        check_exact(result.to_arrow(), marked(ROWS))
        bill = fleet.gateway.bill()
        assert (bill["answers"], bill["paid_twice"]) == (ROWS, 0)
        check_audit(job.job_id, work)
        for process in fleet.processes:
            process.kill()


@pytest.mark.slow
def test_a_database_that_is_away_at_the_start_and_again_under_way(fleet: Fleet, database: PostgresServer) -> None:
    """Processes wait for it; what they were doing when it went is done again, and paid for once.

    A create that was about to be sent when it went may be one that a person is asked about (OneRouter has no list).
    """
    job = fleet.submit(ROWS)
    database.kill()
    worker = fleet.start("worker")
    fleet.start("beat")
    until(lambda: "trying again" in fleet.said(worker), "a word on the database")
    database.restart()
    until(lambda: len(fleet.gateway.batches()) >= 5, "five batches")
    database.restart()

    try:
        result = job.wait(120)
    except orchestrator.JobUnresolved:
        resolve_all(fleet.gateway, job)
        result = job.wait(120)

    check_exact(read_output(result.path), marked(ROWS))
    check_paid_once(fleet, creates=30)
    assert worker.is_running


@pytest.mark.slow
def test_two_runs_at_once_share_the_work(fleet: Fleet, tmp_path: Path) -> None:
    """`run` on a ledger that others share is one more at work: it is neither refused, nor breaks anybody's lease."""
    dataset = write_dataset(tmp_path / "rows.parquet", ROWS)
    job = write_job(tmp_path / "shared.toml", dataset, fleet.gateway.url, policy={"chunk_requests_max": 10})
    command = [sys.executable, "-m", "orchestrator", "run", str(job), "--work", str(fleet.work), "--json"]
    environment = {**fleet.settings, "PATH": "", "HOME": str(tmp_path)}
    runs = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]

    ended = [(run.communicate(timeout=120)[0], run.returncode) for run in runs]

    assert [code for _, code in ended] == [0, 0]
    [handle] = orchestrator.api.commands.jobs(work=fleet.work)
    table: pa.Table = handle.results().to_arrow()
    check_exact(table, marked(ROWS))
    check_paid_once(fleet, creates=30)
