"""The operator in a real Airflow, against the gateway: DAG runs with their tasks, deferrals and triggers."""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from airflow.sdk.serde import deserialize, serialize
from batch_orchestrator_airflow.operator import BatchOrchestratorOperator
from batch_orchestrator_airflow.trigger import JobTrigger
from conftest import HOME

import orchestrator

ROWS = 40


@pytest.fixture
def job(tmp_path: Path, provider: dict[str, object]) -> dict[str, Any]:
    table = tmp_path / "rows.jsonl"
    table.write_text("".join(json.dumps({"text": f"row {number}"}) + "\n" for number in range(ROWS)))
    return {
        "name": "moods",
        "dataset": "{{ params.folder }}/rows.jsonl",
        "prompt": "Mood of: {text}",
        "model": "gpt-4o-mini-batch",
        "provider_options": provider,
        "policy": {"chunk_requests_max": 10},
    }


DAG_FILE = """
import json
import pathlib

import pendulum
from airflow.sdk import DAG
from batch_orchestrator_airflow.operator import BatchOrchestratorOperator

folder = pathlib.Path({folder!r})
start = pendulum.datetime(2026, 12, 1, tz="UTC")
with DAG({name!r}, schedule=None, start_date=start, params={{"folder": str(folder)}}) as dag:
    given = json.loads((folder / "given.json").read_text())
    BatchOrchestratorOperator(task_id="moods", work="{{{{ params.folder }}}}/work", **given)
"""


def run_dag(tmp_path: Path, **given: Any) -> Any:
    """Run a DAG of one task, its deferrals and triggers too; return the task instance."""
    file = HOME / "dags" / f"{tmp_path.name}.py"
    (tmp_path / "given.json").write_text(json.dumps(given))
    file.write_text(DAG_FILE.format(folder=str(tmp_path), name=tmp_path.name.replace("[", "_").replace("]", "_")))
    dag = runpy.run_path(str(file))["dag"]
    [task] = dag.test().get_task_instances()
    return task


def told_by(task: Any) -> dict[str, Any]:
    assert task.state == "success"
    return dict(task.xcom_pull(task_ids="moods"))


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_local_job_runs_and_gives_its_counts_and_its_folder(
    deferrable: bool, job: dict[str, Any], tmp_path: Path
) -> None:
    """Deferred, its task leaves while the provider works, and goes on with the same job."""
    told = told_by(run_dag(tmp_path, job=job, deferrable=deferrable, poll_interval=1))

    assert (told["rows"], told["succeeded"], told["failed"]) == (ROWS, ROWS, 0)
    assert len(list(Path(told["output"]).glob("part-*.parquet"))) == 1
    [handle] = orchestrator.jobs(work=tmp_path / "work")
    assert handle.job_id == told["job_id"]
    assert handle.status().totals.batches == 4


def test_the_task_is_deferred_while_only_the_provider_works(job: dict[str, Any], tmp_path: Path) -> None:
    job["dataset"] = str(tmp_path / "rows.jsonl")
    job["provider_options"] |= {"poll_s_min": 60, "poll_s_max": 60}
    operator = BatchOrchestratorOperator(task_id="m", job=job, work=str(tmp_path / "work"), deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute({})

    trigger = deferred.value.trigger
    assert trigger.look_at > time.time()
    path, kept = trigger.serialize()
    assert path.endswith(".JobTrigger")
    again = JobTrigger(**deserialize(serialize(kept)))
    assert again.kept == trigger.kept
    look = orchestrator.open_job(trigger.job_id, work=tmp_path / "work").status().look
    assert look.at_provider.batches == 4

    asyncio.run(again.on_kill())

    assert orchestrator.open_job(trigger.job_id, work=tmp_path / "work").status().state == "cancelled"


def test_a_killed_task_stops_its_run_and_cancels_its_job(job: dict[str, Any], tmp_path: Path) -> None:
    """As Airflow's own handler of SIGTERM does it: `on_kill`, in the main thread, in the middle of `execute`."""
    job["dataset"] = str(tmp_path / "rows.jsonl")
    operator = BatchOrchestratorOperator(task_id="m", job=job, work=str(tmp_path / "work"))
    before = signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())
    looked = threading.Event()

    def kill() -> None:
        looked.wait(60)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=kill).start()
    log = operator.log_looks()

    def log_and_tell(now: orchestrator.Look) -> None:
        log(now)
        if now.at_provider.batches == 4:
            looked.set()

    operator.log_looks = lambda: log_and_tell  # type: ignore[method-assign]
    try:
        with pytest.raises(AirflowException, match="was interrupted"):
            operator.execute({})
    finally:
        signal.signal(signal.SIGTERM, before)

    [handle] = orchestrator.jobs(work=tmp_path / "work")
    assert handle.status().state == "cancelled"


def test_a_task_that_is_late_says_that_nothing_is_lost(job: dict[str, Any], tmp_path: Path) -> None:
    job["dataset"] = str(tmp_path / "rows.jsonl")
    operator = BatchOrchestratorOperator(task_id="m", job=job, work=str(tmp_path / "work"), timeout=1)

    with pytest.raises(AirflowException, match="has not ended within 1 seconds"):
        operator.execute({})
    assert BatchOrchestratorOperator(task_id="n", job=job, work=str(tmp_path / "work")).execute({})["succeeded"] == ROWS


def test_rows_that_failed_fail_the_task_unless_they_may(job: dict[str, Any], tmp_path: Path) -> None:
    job |= {"dataset": str(tmp_path / "rows.jsonl"), "policy": {"null_policy": "skip"}}
    table = tmp_path / "rows.jsonl"
    table.write_text(table.read_text() + '{"text": null}\n')

    with pytest.raises(AirflowFailException, match="1 of 41 rows have failed: null_skipped 1"):
        BatchOrchestratorOperator(task_id="m", job=job, work=str(tmp_path / "work")).execute({})
    may = BatchOrchestratorOperator(task_id="m", job=job, work=str(tmp_path / "work"), allow_failed=True)
    assert may.execute({})["failed"] == 1


def test_what_cannot_run_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="either job="):
        BatchOrchestratorOperator(task_id="m")
    with pytest.raises(ValueError, match="nobody else runs a local job"):
        BatchOrchestratorOperator(task_id="m", job_file="j.toml", wait_for_completion=False)
    with pytest.raises(AirflowFailException, match="model is empty"):
        BatchOrchestratorOperator(task_id="m", job={"dataset": "x", "model": ""}).execute({})


@contextmanager
def fleet(work: Path) -> Iterator[None]:
    environment = os.environ | {"ORCHESTRATOR_WORK": str(work), "ORCHESTRATOR_TICK_S": "1"}
    command = [sys.executable, "-m", "orchestrator", "fleet", "--workers", "1", "--beats", "1"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def test_a_fleet_does_the_work_and_the_triggerer_waits(job: dict[str, Any], tmp_path: Path) -> None:
    with fleet(tmp_path / "work"):
        told = told_by(run_dag(tmp_path, job=job, on="fleet", deferrable=True, poll_interval=1))

    assert (told["rows"], told["succeeded"]) == (ROWS, ROWS)


def test_a_task_need_not_wait_for_a_fleet(job: dict[str, Any], tmp_path: Path) -> None:
    told = told_by(run_dag(tmp_path, job=job, on="fleet", wait_for_completion=False))

    assert told["job_id"].startswith("moods-")
