"""Stopping a job for good, and giving its dead rows another chance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from orchestrator import JobHandle, open_job
from tests.acceptance.command_line import CommandLine, ended, wait_until
from tests.acceptance.datasets import check_exact, mark, marked, read_output, write_dataset, write_job
from tests.gateway_process import GatewayProcess, running_gateway
from tests.sums import sums

pytestmark = pytest.mark.usefixtures("key")


def only_job(cli: CommandLine) -> JobHandle:
    """Return the one job of the work folder."""
    [folder] = [path.parent for path in cli.work.glob("*/job.json")]
    return open_job(folder.name, work=cli.work)


def check_cancelled(status: dict[str, Any], job: JobHandle, row_count: int) -> None:
    """Check that a cancelled job accounts for every row, and kept every answer that was made."""
    assert status["state"] == "cancelled"
    assert status["rows"] == status["succeeded"] + status["failed"] == row_count
    output = read_output(job.results().path)
    assert output.select(["number", "text"]).equals(marked(row_count))
    for row in output.to_pylist():
        if row["llm_status"] == "succeeded":
            assert row["llm_response"].split()[1] == mark(row["number"])
        else:
            assert row["llm_error_code"] == "cancelled"


@pytest.mark.slow
def test_a_running_job_is_cancelled_from_another_process_and_can_be_taken_up_again(
    cli: CommandLine, tmp_path: Path
) -> None:
    """The unsent is dropped, batches under way are cancelled, answers are kept; a later run does the rest."""
    with running_gateway(tmp_path / "gateway", "--duration-s", "4") as gateway:
        policy = {"chunk_requests_max": 20, "batches_in_flight_max": 3}
        dataset = write_dataset(tmp_path / "rows.parquet", 400)
        job = write_job(tmp_path / "stopped.toml", dataset, gateway.url, policy=policy)
        running = cli.start("run", job)
        wait_until(lambda: len(gateway.batches()) >= 5, "some batches answered, some under way")

        asked = cli.run("cancel", job)
        stopped = ended(running)

        assert asked.code == 0, asked
        assert "Traceback" not in stopped.said
        handle = only_job(cli)
        wait_until(lambda: handle.status().state == "cancelled", "the cancel to be carried out")
        status = sums(handle.status().as_dict())
        check_cancelled(status, handle, 400)
        assert 0 < status["succeeded"] < 400
        assert gateway.bill()["answers"] == status["succeeded"]
        assert len(gateway.batches()) < 20

        resumed = cli.run("run", job, "--json")

        assert resumed.code == 0, resumed
        check_exact(read_output(handle.results().path), marked(400))
        assert gateway.bill()["paid_twice"] == 0


@pytest.mark.slow
def test_a_job_that_nobody_runs_is_cancelled_by_the_command_itself(cli: CommandLine, tmp_path: Path) -> None:
    """The command carries the cancel out to its end, and says how the job stands."""
    with running_gateway(tmp_path / "gateway", "--duration-s", "30") as gateway:
        dataset = write_dataset(tmp_path / "rows.parquet", 60)
        job = write_job(tmp_path / "idle.toml", dataset, gateway.url, policy={"chunk_requests_max": 20})
        running = cli.start("run", job)
        wait_until(lambda: len(gateway.batches()) == 3, "three batches")
        running.terminate()
        ended(running)

        asked = cli.run("cancel", job)

        assert asked.code == 0, asked
        assert "cancelled" in asked.said
        check_cancelled(sums(only_job(cli).status().as_dict()), only_job(cli), 60)
        assert {batch["state"] for batch in gateway.batches()} == {"CANCELLED"}


def test_chunks_that_are_too_large_are_split_until_they_fit(cli: CommandLine, tmp_path: Path) -> None:
    """A 413 costs nothing; all rows are answered in smaller batches."""
    with running_gateway(tmp_path / "gateway", "--duration-s", "0", "--max-requests", "15") as gateway:
        dataset = write_dataset(tmp_path / "rows.parquet", 200)
        job = write_job(tmp_path / "large.toml", dataset, gateway.url, policy={"chunk_requests_max": 100})

        finished = cli.run("run", job)

        assert finished.code == 0, finished
        check_exact(read_output(only_job(cli).results().path), marked(200))
        assert gateway.bill()["paid_twice"] == 0
        assert max(batch["total"] for batch in gateway.batches()) <= 15


def test_failed_rows_are_sent_again_by_retry_into_a_new_revision(
    gateway: GatewayProcess, cli: CommandLine, tmp_path: Path
) -> None:
    """What succeeded stays and is not paid again; the first output can still be read as it was.

    The exit code tells of failed rows until none is left, and the last lines say what to type.
    """
    gateway.set_faults({"rows": {"fail": {"400": 5}, "times": 0}})
    dataset = write_dataset(tmp_path / "rows.parquet", 60)
    job = write_job(tmp_path / "second.toml", dataset, gateway.url, policy={"chunk_requests_max": 20})
    ran, allowed = cli.run("run", job), cli.run("run", job, "--allow-failed")
    handle = only_job(cli)
    assert (ran.code, allowed.code) == (4, 0), ran
    assert ran.out.splitlines()[-5:] == [
        "  15 rows have failed.",
        "  to see failed rows:",
        f"    orchestrator results {handle.job_id} --rows failed --work {cli.work}",
        "  to send them again:",
        f"    orchestrator retry {handle.job_id} --work {cli.work}",
    ]
    first = handle.results().path
    before = {path: path.read_bytes() for path in Path(first).glob("*") if path.is_file()}
    check_exact(read_output(first), marked(60), failed={"400": 15})
    gateway.set_faults({})

    again = cli.run("retry", job, "--json")

    assert again.code == 0, again
    second = handle.results().path
    assert second != first
    check_exact(read_output(second), marked(60))
    assert {path: path.read_bytes() for path in before} == before
    assert gateway.bill()["paid_twice"] == 0
    assert pq.read_table(second, columns=["llm_attempts"])["llm_attempts"].to_pylist().count(2) == 15
    assert "no row that was sent has failed: nothing is sent again" in cli.run("retry", job).err
    cancelled = cli.run("cancel", job)
    assert "is finished already: there is nothing to cancel" in cancelled.out
    assert cancelled.err == ""
    assert handle.results().path == second
