"""The asset in a real Dagster instance, against the gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from answers import CHECKS, answers_asset

import orchestrator
from orchestrator.testing import Failure, FakeProvider, fake_provider

ROWS = 40


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    def answer(body: dict[str, Any]) -> Any:
        return Failure() if "row 7" in body["messages"][-1]["content"] else "good"

    with fake_provider(answer) as running:
        yield running


def materialise(fake: FakeProvider, folder: Path, **shares: float) -> dg.ExecuteInProcessResult:
    table = folder / "rows.jsonl"
    table.write_text("".join(json.dumps({"text": f"row {number}"}) + "\n" for number in range(ROWS)))

    def job() -> orchestrator.Job:
        return orchestrator.Job(
            name="moods", dataset=table, prompt="Mood of: {text}", model="m", work=folder / "work", **fake.options
        )

    instance = dg.DagsterInstance.local_temp(str(folder / "dagster"))
    return dg.materialize([answers_asset("moods", job, **shares)], instance=instance, raise_on_error=False)


def passed(run: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {one.check_name: one.passed for one in run.get_asset_check_evaluations()}


def test_the_asset_has_its_numbers_and_its_checks_and_pays_once(fake: FakeProvider, tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    run = materialise(fake, tmp_path, failed_share_max=0.1)

    assert run.success
    assert passed(run) == dict.fromkeys(CHECKS, True)
    [event] = run.get_asset_materialization_events()
    metadata = {name: value.value for name, value in event.materialization.metadata.items()}
    assert (metadata["rows"], metadata["succeeded"], metadata["failed"]) == (ROWS, ROWS - 1, 1)
    assert metadata["dagster/row_count"] == ROWS
    assert list(Path(metadata["dagster/uri"]).glob("part-*.parquet"))

    asked = len(fake.requests)
    again = materialise(fake, tmp_path, failed_share_max=0.1)

    assert again.success
    assert len(fake.requests) == asked


def test_too_many_failed_rows_fail_their_check_alone(fake: FakeProvider, tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    run = materialise(fake, tmp_path)

    assert passed(run) == dict.fromkeys(CHECKS, True) | {"few_failed": False}


def test_the_definitions_load() -> None:
    from definitions import definitions

    dg.Definitions.validate_loadable(definitions)
