"""`audit` and `recover` in OpenAI's dialect: its list is asked, and what it shows is neither missed nor sent again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import httpx
import pytest

import orchestrator
from tests.acceptance.command_line import CommandLine, command_line
from tests.acceptance.datasets import check_counts, check_exact, marked, read_output, write_dataset, write_job
from tests.acceptance.openai_jobs import MODEL, PROVIDER, ROWS, run_job
from tests.acceptance.test_recover import batch_count, handle, lose_the_ledger
from tests.gateway_process import API_KEY, GatewayProcess

pytestmark = pytest.mark.slow

TABLES: Final[dict[str, Any]] = {"job": {"provider": "openai"}, "request": {"model": MODEL}, "provider": PROVIDER}
BATCHES: Final = 3


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """A command line with OpenAI's key; this process has it, too."""
    monkeypatch.setenv("OPENAI_API_KEY", API_KEY)
    return command_line(tmp_path / "user", key=None, OPENAI_API_KEY=API_KEY)


def a_job(folder: Path, gateway: GatewayProcess, rows: int, **policy: Any) -> Path:
    """Write a job of chunks of twenty rows."""
    dataset = write_dataset(folder / "rows.parquet", rows)
    policy = {"chunk_requests_max": 20, "retry_gather_s": 0.2, **policy}
    return write_job(folder / "costs.toml", dataset, gateway.url, policy=policy, **TABLES)


@pytest.mark.usefixtures("user")
def test_a_second_batch_is_named_although_it_bears_no_mark(gateway: GatewayProcess, tmp_path: Path) -> None:
    """A provider may drop the metadata; that it was made from a create's own input file tells as much."""
    gateway.set_faults({"delete": {"refuse": {"500": 1.0}}})  # the input file outlives its collection
    result = run_job(gateway, tmp_path / "work")
    before = orchestrator.audit(result.job_id, work=tmp_path / "work", deep=True)
    listed = httpx.get(f"{gateway.url}/batches", headers=gateway.headers, timeout=30).json()["data"]
    same = {name: listed[0][name] for name in ("input_file_id", "endpoint", "completion_window")}
    made = httpx.post(f"{gateway.url}/batches", headers=gateway.headers, json=same, timeout=30).raise_for_status()

    found = orchestrator.audit(result.job_id, work=tmp_path / "work", deep=True)

    assert (before.differences, before.notes) == ([], [])
    [difference] = found.differences
    assert difference.what == "batches at the provider"
    assert difference.archive == made.json()["id"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_create_under_way_when_the_ledger_was_lost_is_found_and_not_sent_again(
    user: CommandLine, gateway: GatewayProcess, tmp_path: Path
) -> None:
    """The batch was made, its answer never came, and then the ledger went, too: nobody helps, nothing is created."""
    gateway.set_faults({"create": {"hang": 1, "hang_s": 60.0}})
    job = a_job(tmp_path, gateway, ROWS)
    user.cut_short(
        "run",
        job,
        when=lambda: batch_count(gateway) == BATCHES and len(list(user.work.glob("*/journal/*.json"))) == BATCHES - 1,
        what="three batches, one of them without an answer, and the answers of the others kept",
    )
    lose_the_ledger(user.work)

    told = user.run("recover")
    finished = user.run("run", job, "--json")

    assert told.code == 0, told
    assert "creates under way when the ledger was lost: 1" in told.said
    assert finished.code == 0, finished
    check_exact(read_output(handle(user.work).results().path), marked(ROWS))
    assert (gateway.bill()["creates"], gateway.bill()["paid_twice"]) == (BATCHES, 0)
    assert user.run("audit", job, "--deep").code == 0


@pytest.mark.timeout(400)
@pytest.mark.parametrize("batches", [1, pytest.param(7, marks=pytest.mark.slow)])
def test_a_job_whose_ledger_is_lost_half_way_ends_exact_and_pays_once(
    batches: int, user: CommandLine, gateway: GatewayProcess, tmp_path: Path
) -> None:
    """Kill -9 after so many batches, ledger deleted, recover, run: as many creates as chunks, and nobody was asked."""
    job = a_job(tmp_path, gateway, 240, batches_in_flight_max=3)
    user.cut_short("run", job, when=lambda: batch_count(gateway) >= batches, what=f"{batches} batches")
    lose_the_ledger(user.work)

    assert user.run("recover").code == 0
    finished = user.run("run", job, "--json")

    assert finished.code == 0, finished
    result = handle(user.work).results()
    check_exact(read_output(result.path), marked(240))
    check_counts(result.status.as_dict())
    bill = gateway.bill()
    assert bill["paid_twice"] == 0
    assert bill["answers"] == 240
    assert user.run("audit", job, "--deep").code == 0
