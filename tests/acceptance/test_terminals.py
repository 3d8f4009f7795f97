"""Several terminals at one work folder: each runs its own jobs, one follows another and takes over, all is paid once.

Real processes at one SQLite ledger, real kills, and the bill of a real server.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import orchestrator
from orchestrator.domain.workers import Kind
from orchestrator.engine.opening import opened_workspace
from orchestrator.testing import fake_provider
from tests.acceptance.command_line import CommandLine, ended, kill, wait_until
from tests.acceptance.datasets import check_audit, check_exact, marked, read_output, write_dataset, write_job
from tests.acceptance.test_interruptions import only_job
from tests.gateway_process import GatewayProcess, running_gateway

ROWS, CHUNK = 200, 20
POLICY = {"chunk_requests_max": CHUNK, "batches_in_flight_max": 3, "canary_rows": 0}


@pytest.fixture
def slow_gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway whose batches take a while."""
    with running_gateway(tmp_path / "gateway", "--duration-s", "1") as gateway:
        yield gateway


def a_job(folder: Path, gateway: GatewayProcess, name: str, rows: int = ROWS) -> Path:
    """Write a job file and its dataset."""
    dataset = write_dataset(folder / f"{name}.parquet", rows)
    return write_job(folder / f"{name}.toml", dataset, gateway.url, policy=POLICY)


def check_all(cli: CommandLine, gateway: GatewayProcess, jobs: int) -> None:
    """Check every job's output, and that no batch was made twice."""
    handles = orchestrator.jobs(work=cli.work)
    assert len(handles) == jobs
    for handle in handles:
        check_exact(read_output(handle.results().path), marked(ROWS))
        check_audit(handle.job_id, cli.work)
    bill = gateway.bill()
    assert (bill["paid_twice"], bill["creates"]) == (0, jobs * ROWS // CHUNK)


def test_two_jobs_and_one_job_twice_run_at_once_in_threads_of_one_process(tmp_path: Path) -> None:
    """As from a notebook: each job has its own function, and who asks for the same one gets the same result."""

    def shout(row: dict[str, str]) -> dict[str, object]:
        return {"messages": [{"role": "user", "content": row["text"].upper()}], "max_tokens": 9}

    with fake_provider() as fake:
        table = {"text": ["a", "b", "c"]}
        plain = orchestrator.Job(dataset=table, prompt="{text}", model="m", name="one", work=tmp_path, **fake.options)
        shouted = orchestrator.Job(dataset=table, render=shout, model="m", name="two", work=tmp_path, **fake.options)
        results: list[orchestrator.Result] = []
        threads = [
            threading.Thread(target=lambda job=job: results.append(orchestrator.run(job)))
            for job in (plain, shouted, plain)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(result.job_id.partition("-")[0] for result in results) == ["one", "one", "two"]
    assert [result.counts["succeeded"] for result in results] == [3, 3, 3]
    assert len(fake.requests) == 6


@pytest.mark.slow
@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_who_follows_takes_over_where_the_other_process_ends(
    how: signal.Signals, cli: CommandLine, slow_gateway: GatewayProcess, tmp_path: Path
) -> None:
    """A second job runs beside it all the time, and a look at the first goes on over the change; each is paid once."""
    first, other = (a_job(tmp_path, slow_gateway, name) for name in ("first", "other"))
    runs = cli.start("run", first)
    wait_until(lambda: len(slow_gateway.batches()) >= 2, "two batches")
    assert cli.run("pause", first).code == 0  # so that it is not done before it is left
    beside, follows, attached = cli.start("run", other), cli.start("run", first), cli.start("attach", first)
    until_said(follows, f"pid {runs.pid} on")
    until_said(attached, f"pid {runs.pid} on")
    if how is signal.SIGKILL:
        kill(runs)
    else:
        runs.send_signal(how)
        assert ended(runs).code == 130
    until_said(follows, f"pid {runs.pid} on {socket.gethostname()} has left it: this process runs it now")
    until_said(attached, f"pid {follows.pid} on")
    assert cli.run("resume", first).code == 0

    for process in (follows, attached, beside):
        done = ended(process)
        assert done.code == 0, done
    check_all(cli, slow_gateway, 2)


def until_said(process: subprocess.Popen[str], what: str) -> None:
    """Read what a process says until it says this."""
    assert process.stderr is not None
    for line in process.stderr:
        if what in line:
            return
    pytest.fail(f"it never said: {what}")


@pytest.mark.slow
@pytest.mark.usefixtures("key")
def test_a_run_without_a_terminal_is_named_followed_and_stopped(
    cli: CommandLine, slow_gateway: GatewayProcess, tmp_path: Path
) -> None:
    job = a_job(tmp_path, slow_gateway, "far")
    begun = ended(cli.start("run", job, "--detach", "--json"))
    assert begun.code == 0, begun
    [found] = json.loads(begun.out)["job"]["worked_by"]
    wait_until(lambda: len(slow_gateway.batches()) >= 2, "two batches")

    assert cli.run("pause", job).code == 0  # so that it is not done before it is stopped
    [log] = (cli.work / "runs").glob(f"far-*.{found['pid']}.log")
    shown = cli.run("status", job)
    assert f"pid {found['pid']} has no terminal; its log: {log}" in shown.said
    again = ended(cli.start("run", job, "--detach"))
    assert f"It follows pid {found['pid']} on" in again.said
    stopped = cli.run("stop", job)
    assert stopped.code == 0, stopped
    assert f"pid {found['pid']} on {socket.gethostname()} is asked to stop" in stopped.err
    wait_until(lambda: bool(only_job(cli.work).status().look.worked_by), "the one that followed")
    assert "asked to stop" in log.read_text()

    assert cli.run("resume", job).code == 0
    finished = cli.run("attach", job, "--json")
    assert finished.code == 0, finished
    check_all(cli, slow_gateway, 1)
    nothing = cli.run("stop", job)
    assert (nothing.code, "no process runs it" in nothing.said) == (2, True)


@pytest.mark.slow
def test_a_run_without_a_terminal_that_does_not_begin_says_why(tmp_path: Path, cli: CommandLine) -> None:
    """As it would have with one; and a look at a job that nobody runs says what to type."""
    job = write_job(tmp_path / "far.toml", write_dataset(tmp_path / "far.parquet", 3), "http://127.0.0.1:9")
    keyless = CommandLine(folder=cli.folder, environment={**cli.environment, "ONEROUTER_API_KEY": ""})
    begun = ended(keyless.start("run", job, "--detach"))
    assert (begun.code, "ONEROUTER_API_KEY" in begun.err) == (2, True)

    cli.run("submit", job)
    attached = cli.run("attach", job)
    assert (attached.code, "no process runs it now. Next: orchestrator run" in attached.said) == (3, True)

    with opened_workspace(str(cli.work)) as workspace:
        workspace.register(Kind.BEAT, "elsewhere")
    attached = cli.run("attach", job)
    assert attached.said.endswith(
        "no process runs it now. No worker of its fleet is alive, only a beat; to start one: orchestrator worker"
    )
