"""Two jobs of one account, one of which nobody is running: what it has under way counts against the other's room."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, Final

import pytest

from orchestrator import JobHandle, open_job
from tests.acceptance.command_line import CommandLine, ended, wait_until
from tests.acceptance.datasets import check_audit, write_dataset, write_job
from tests.acceptance.operator import resolve_all
from tests.gateway_process import GatewayProcess, running_gateway

ROWS: Final = 100
POLICY: Final = {"chunk_requests_max": 20, "batches_in_flight_max": 3}
UNRESOLVED: Final = 3

pytestmark = [pytest.mark.usefixtures("key"), pytest.mark.slow]


def a_job(folder: Path, gateway: GatewayProcess, name: str) -> Path:
    dataset = write_dataset(folder / "rows.parquet", ROWS)
    request = {"prompt": f"{{text}} for {name}"}
    return write_job(folder / f"{name}.toml", dataset, gateway.url, request=request, policy=POLICY)


def handle(cli: CommandLine, name: str) -> JobHandle:
    [folder] = [path.parent for path in cli.work.glob(f"{name}-*/job.json")]
    return open_job(folder.name, work=cli.work)


def chunks(cli: CommandLine, name: str) -> dict[str, int]:
    found: Any = handle(cli, name).status().as_dict()["chunks"]
    return dict(found)


def check_all(cli: CommandLine, gateway: GatewayProcess, *names: str) -> None:
    for name in names:
        assert handle(cli, name).results().counts == {"rows": ROWS, "succeeded": ROWS, "failed": 0}
        check_audit(handle(cli, name).job_id, cli.work)
    bill = gateway.bill()
    assert (bill["creates"], bill["paid_twice"]) == (len(names) * ROWS // 20, 0)


def test_batches_of_an_interrupted_job_are_collected_by_the_next_run_of_another(
    cli: CommandLine, tmp_path: Path
) -> None:
    """Ctrl-C, another prompt, run: the first job's batches fill the account, and nobody else would see them end."""
    with running_gateway(tmp_path / "gateway", "--duration-s", "2") as gateway:
        first, second = (a_job(tmp_path, gateway, name) for name in ("first", "second"))
        process = cli.start("run", first)
        wait_until(lambda: len(gateway.batches()) == 3, "as many batches as there may be")
        process.send_signal(signal.SIGINT)
        ended(process)
        assert chunks(cli, "first") == {"planned": 2, "submitted": 3}

        finished = cli.run("run", second, deadline_s=90)

        assert finished.code == 0, finished
        found = chunks(cli, "first")  # the run ends with its own job: it need not wait for all of the other's
        assert found["planned"] == 2
        assert found["collected"] >= 1
        assert cli.run("run", first).code == 0
        check_all(cli, gateway, "first", "second")


def test_unresolved_creates_of_another_job_that_use_up_the_capacity_are_named(
    cli: CommandLine, gateway: GatewayProcess, tmp_path: Path
) -> None:
    """The run ends and says whose they are; once a person has looked, it goes on."""
    first, second = (a_job(tmp_path, gateway, name) for name in ("first", "second"))
    gateway.set_faults({"create": {"lost": 3}})
    assert cli.run("run", first).code == UNRESOLVED
    gateway.set_faults({})

    held = cli.run("run", second, deadline_s=90)

    assert held.code == UNRESOLVED, held
    assert f"orchestrator resolve {handle(cli, 'first').job_id}" in held.said
    assert "batches_in_flight_max" in held.said
    resolve_all(gateway, handle(cli, "first"))
    assert cli.run("run", second).code == 0
    assert cli.run("run", first).code == 0
    check_all(cli, gateway, "first", "second")


def test_another_jobs_batches_that_cannot_be_asked_about_do_not_end_a_run(
    cli: CommandLine, gateway: GatewayProcess, tmp_path: Path
) -> None:
    """What is wrong with the other job is noted with that one; here there is room beside it."""
    with running_gateway(tmp_path / "other", "--duration-s", "3600") as other:
        first = a_job(tmp_path, other, "first")
        process = cli.start("run", first)
        wait_until(lambda: len(other.batches()) == 3, "as many batches as there may be")
        process.send_signal(signal.SIGINT)
        ended(process)
    (cli.work / handle(cli, "first").job_id / "job.json").write_text("{}")
    dataset = write_dataset(tmp_path / "rows.parquet", ROWS)
    roomy = write_job(tmp_path / "second.toml", dataset, gateway.url, policy=POLICY | {"batches_in_flight_max": 5})

    finished = cli.run("run", roomy, deadline_s=90)

    assert finished.code == 0, finished
