"""A lost create heals by itself in OpenAI's dialect: nobody helps, nobody pays twice. `benchmarks/heal.py` in small."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from benchmarks.heal import KINDS, draw_trial, play
from tests.acceptance.command_line import command_line, wait_until
from tests.acceptance.datasets import check_exact, marked, read_output, write_dataset, write_job
from tests.acceptance.openai_jobs import MODEL, PROVIDER, ROWS, SOURCE, run_job
from tests.gateway_process import API_KEY, GatewayProcess, running_gateway

SEEDS: Final = range(1, len(KINDS) + 1)  # one of each kind


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: draw_trial(seed).kind)
def test_a_lost_create_heals_by_itself_and_is_paid_once(seed: int, tmp_path: Path) -> None:
    """Exit code 0 without `resolve`, each row its own answer, no row on the bill twice."""
    outcome = play(draw_trial(seed), tmp_path)

    assert outcome.failure == ""
    assert outcome.paid_twice == 0


def listed(gateway: GatewayProcess) -> list[dict[str, Any]]:
    """Return the batches as a client sees them, oldest first."""
    answer = httpx.get(f"{gateway.url}/batches?limit=100", headers=gateway.headers, timeout=30)
    found: list[dict[str, Any]] = answer.raise_for_status().json()["data"]
    return found[::-1]


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_duplicate_batches_are_cancelled_and_the_oldest_is_adopted(tmp_path: Path) -> None:
    """A proxy that repeats a create makes two batches of one attempt."""
    cli = command_line(tmp_path / "user", key=None, OPENAI_API_KEY=API_KEY)
    with running_gateway(tmp_path / "gateway", "--duration-s", "30") as gateway:
        gateway.set_faults({"create": {"hang": 1, "hang_s": 60.0}})
        tables: dict[str, Any] = {"job": {"provider": "openai"}, "request": {"model": MODEL}, "provider": PROVIDER}
        dataset = write_dataset(tmp_path / "rows.parquet", ROWS)
        job = write_job(tmp_path / "twins.toml", dataset, gateway.url, **tables)
        cli.cut_short("run", job, when=lambda: len(listed(gateway)) == 1, what="the batch whose answer never comes")
        [first] = listed(gateway)
        wait_until(lambda: time.time() > first["created_at"] + 1.1, "another second: the list tells no less")
        same = {name: first[name] for name in ("input_file_id", "endpoint", "completion_window", "metadata")}
        httpx.post(f"{gateway.url}/batches", headers=gateway.headers, json=same, timeout=30).raise_for_status()

        finished = cli.run("run", job, "--json")

        assert finished.code == 0, finished
        oldest, duplicate_batch = listed(gateway)
        assert (oldest["id"], oldest["status"]) == (first["id"], "completed")
        assert duplicate_batch["status"] in ("cancelling", "cancelled")
        [output] = cli.work.glob("*/output")
        check_exact(read_output(output), marked(ROWS))


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_fence_stops_a_create_that_comes_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked for, not found, its file deleted, sent anew; when the first create arrives, there is nothing to run."""
    monkeypatch.setenv("OPENAI_API_KEY", API_KEY)
    late_s = 8.0
    with running_gateway(tmp_path / "gateway", "--duration-s", "0.2") as gateway:
        gateway.set_faults({"create": {"late": 1, "late_s": late_s}})

        result = run_job(gateway, tmp_path / "work")

        done_at = time.monotonic()
        wait_until(lambda: time.monotonic() > done_at + late_s, "the late create")
        check_exact(read_output(result.path), SOURCE)
        assert gateway.bill()["paid_twice"] == 0
        assert gateway.bill()["answers"] == ROWS
        alive = [batch for batch in listed(gateway) if batch["status"] != "failed"]
        assert [batch["status"] for batch in alive] == ["completed"] * 3
        files = {batch["input_file_id"] for batch in alive}
        assert len(files) == 3
