"""Without a broker: several runs of one job on one PostgreSQL share its steps (decision 0066)."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import orchestrator
from tests.acceptance.datasets import MODEL, QUICK, check_exact, marked, read_output
from tests.gateway_process import API_KEY, running_gateway
from tests.servers.postgres import fresh_database, some_postgres
from tests.servers.processes import Process, ended_at_last
from tests.workers.fleets import until

ROWS = 200


@pytest.fixture
def ledger() -> Iterator[str]:
    """The URL of an empty database."""
    with fresh_database(some_postgres()) as url:
        yield url


@pytest.mark.slow
def test_two_runs_of_one_job_on_postgresql_share_its_steps_and_pay_nothing_twice(
    ledger: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch is made once, both have run steps, and both end with the job."""
    settings = {
        "ORCHESTRATOR_LEDGER_URL": ledger,
        "ORCHESTRATOR_WORK": str(tmp_path / "work"),
        "ORCHESTRATOR_LOG": "debug",
        "ONEROUTER_API_KEY": API_KEY,
    }
    for name in ("ORCHESTRATOR_LEDGER_URL", "ORCHESTRATOR_WORK"):
        monkeypatch.setenv(name, settings[name])
    with running_gateway(tmp_path / "gateway", "--duration-s", "1") as gateway:
        job = orchestrator.submit(
            marked(ROWS),
            prompt="{text}",
            model=MODEL,
            provider_options={"base_url": gateway.url, **QUICK},
            policy={"chunk_requests_max": 10, "retry_gather_s": 0.2, "batches_in_flight_max": 10},
        )
        command = [sys.executable, "-m", "orchestrator", "run", job.job_id, "--json"]
        runs = [Process(f"run{n}", command, {**os.environ, **settings}, tmp_path / f"run{n}.log") for n in range(2)]
        with ended_at_last(runs):
            for run in runs:
                run.start()
            job.wait(150)
            until(lambda: all(run.exit_code is not None for run in runs), "both to end")

        assert [run.exit_code for run in runs] == [0, 0], [run.log.read_text()[-2_000:] for run in runs]
        check_exact(read_output(job.results().path), marked(ROWS))
        assert (gateway.bill()["creates"], gateway.bill()["paid_twice"]) == (ROWS // 10, 0)
        assert all(steps_of(run)["step.ended"] > 0 for run in runs)


def steps_of(run: Process) -> Counter[str]:
    """Return how often each event is in a run's log."""
    lines = [line for line in run.log.read_text().splitlines() if line.startswith('{"event"')]
    return Counter(json.loads(line)["event"] for line in lines)
