"""Whatever is killed, and whenever: run it again, and the job ends exact, with nothing paid twice."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from orchestrator import JobHandle, JobUnresolved, open_job
from tests.acceptance.command_line import DEADLINE_S, CommandLine, Ended, ended, kill, wait_until
from tests.acceptance.datasets import (
    check_audit,
    check_counts,
    check_exact,
    marked,
    read_output,
    write_dataset,
    write_job,
)
from tests.acceptance.operator import resolve_all
from tests.gateway_process import GatewayProcess, running_gateway

KILLS: Final = 6
ROWS: Final = 6_000
UNRESOLVED: Final = 3
FAILED_ROWS: Final = 4
INTERRUPTED: Final = 130


def batch_count(gateway: GatewayProcess) -> int:
    """Return how many batches the gateway has."""
    return len(gateway.batches())


def only_job(work: Path) -> JobHandle:
    """Return the one job of a work folder."""
    [folder] = [path.parent for path in work.glob("*/job.json")]
    return open_job(folder.name, work=work)


def run_to_the_end(cli: CommandLine, job: Path, gateway: GatewayProcess) -> Ended:
    """Run a job; where chunks are held, do what the message says, and run it again."""
    finished = cli.run("run", job, "--json")
    if finished.code == UNRESOLVED:
        assert "orchestrator resolve" in finished.said
        assert resolve_all(gateway, only_job(cli.work))
        finished = cli.run("run", job, "--json")
    assert finished.code == 0, finished
    return finished


def check_whole(cli: CommandLine, gateway: GatewayProcess, row_count: int, chunk: int, **shape: Any) -> None:
    """Check the output, the report, and that no batch was made twice."""
    result = only_job(cli.work).results()
    check_exact(read_output(result.path), marked(row_count, **shape))
    check_counts(result.status.as_dict())
    check_audit(result.job_id, cli.work)
    bill = gateway.bill()
    assert bill["paid_twice"] == 0
    assert bill["creates"] == row_count // chunk
    assert str(result.cost_usd) == bill["fees_usd"]


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("key")
def test_a_job_killed_again_and_again_ends_exact_and_pays_once(
    cli: CommandLine, gateway: GatewayProcess, tmp_path: Path
) -> None:
    """kill -9 of the whole process group, at moments chosen by seed: so many batches more, and then a little later."""
    chance = random.Random(20_260_101)
    dataset = write_dataset(tmp_path / "rows.parquet", ROWS, width=200)
    policy = {"canary_rows": 0, "chunk_requests_max": 500, "batches_in_flight_max": 4, "chunks_ahead_max": 8}
    job = write_job(tmp_path / "killed.toml", dataset, gateway.url, policy=policy)
    for _ in range(KILLS):
        process = cli.start("run", job)
        wanted = batch_count(gateway) + chance.choice((0, 1, 1, 2, 3, 5))
        wait_until(
            lambda wanted=wanted, process=process: batch_count(gateway) >= wanted or process.poll() is not None,
            f"{wanted} batches",
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=chance.uniform(0.0, 1.5))
        kill(process)

    run_to_the_end(cli, job, gateway)

    check_whole(cli, gateway, ROWS, 500, width=200)


@pytest.mark.slow
@pytest.mark.usefixtures("key")
def test_a_provider_that_dies_in_the_middle_costs_nothing_twice(
    cli: CommandLine, gateway: GatewayProcess, tmp_path: Path
) -> None:
    """Kill -9 of the gateway under load; it comes back with what it had made durable."""
    dataset = write_dataset(tmp_path / "rows.parquet", 600)
    policy = {"chunk_requests_max": 20, "batches_in_flight_max": 6}
    job = write_job(tmp_path / "outage.toml", dataset, gateway.url, policy=policy)
    process = cli.start("run", job, "--json")
    wait_until(lambda: batch_count(gateway) >= 5, "five batches")
    gateway.kill()
    gateway.restart()

    first = ended(process)
    assert first.code in (0, UNRESOLVED), first
    run_to_the_end(cli, job, gateway)

    check_whole(cli, gateway, 600, 20)


@pytest.mark.slow
@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_cleanly_and_the_next_run_goes_on(
    sign: signal.Signals, cli: CommandLine, tmp_path: Path
) -> None:
    """Exit code 130, a message that says what to do, no traceback; no batch is created twice."""
    dataset = write_dataset(tmp_path / "rows.parquet", 200)
    with running_gateway(tmp_path / "gateway", "--duration-s", "1") as gateway:
        policy = {"chunk_requests_max": 20, "batches_in_flight_max": 3}
        job = write_job(tmp_path / "interrupted.toml", dataset, gateway.url, policy=policy)
        process = cli.start("run", job)
        wait_until(lambda: batch_count(gateway) >= 4, "four batches")
        process.send_signal(sign)
        stopped = ended(process)

        assert stopped.code == INTERRUPTED, stopped
        assert "run it again" in stopped.said
        assert "Traceback" not in stopped.said
        assert batch_count(gateway) < 10
        assert cli.run("run", job, "--json").code == 0
        check_whole(cli, gateway, 200, 20)


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("form", [(), pytest.param(("--events",), marks=pytest.mark.slow)])
def test_a_run_that_nobody_reads_goes_on_to_its_end(
    form: tuple[str, ...], gateway: GatewayProcess, cli: CommandLine, tmp_path: Path
) -> None:
    """As after `2>&1 | head -1`: its batches are paid for. The exit code is the job's: a row has failed."""
    gateway.set_faults({"rows": {"fail": {"400": 1}, "times": 0}})
    job = write_job(tmp_path / "unread.toml", write_dataset(tmp_path / "rows.parquet", 40), gateway.url)
    process = cli.start("run", job, *form)
    first = process.stdout if form else process.stderr
    assert first is not None
    assert first.readline()
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()

    assert process.wait(DEADLINE_S) == FAILED_ROWS
    check_audit(only_job(cli.work).job_id, cli.work)
    assert gateway.bill()["answers"] == 39


@pytest.mark.slow
@pytest.mark.usefixtures("key")
def test_what_was_begun_and_never_answered_is_told_by_the_python_api_too(
    gateway: GatewayProcess, tmp_path: Path, cli: CommandLine
) -> None:
    """A process killed while its create hangs: the next run holds those rows, and says where to look."""
    gateway.set_faults({"create": {"hang": 1, "hang_s": 60.0}})
    dataset = write_dataset(tmp_path / "rows.parquet", 60)
    job = write_job(tmp_path / "hung.toml", dataset, gateway.url, policy={"chunk_requests_max": 60})
    cli.cut_short("run", job, when=lambda: batch_count(gateway) == 1, what="the batch whose answer never comes")

    handle = only_job(cli.work)
    with pytest.raises(JobUnresolved, match="orchestrator resolve"):
        handle.run()
    assert [batch is not None for batch in resolve_all(gateway, handle).values()] == [True]
    handle.run()

    check_whole(cli, gateway, 60, 60)
