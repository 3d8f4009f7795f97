"""The task in a flow of a real Prefect, with a server of its own, against the gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answers import TooManyFailed, answer_rows, moods
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.testing.utilities import prefect_test_harness

from orchestrator.testing import Failure, fake_provider

ROWS = 40


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=180):
        yield


def rows_in(folder: Path) -> str:
    table = folder / "rows.jsonl"
    table.write_text("".join(json.dumps({"text": f"row {number}"}) + "\n" for number in range(ROWS)))
    return str(table)


def test_the_flow_gives_a_location_and_counts_and_pays_once(tmp_path: Path) -> None:
    with fake_provider(lambda _body: "good") as fake:
        told = moods(rows_in(tmp_path), str(tmp_path / "work"), dict(fake.options))
        asked = len(fake.requests)
        again = moods(rows_in(tmp_path), str(tmp_path / "work"), dict(fake.options))

    assert (told["rows"], told["succeeded"], told["failed"]) == (ROWS, ROWS, 0)
    assert list(Path(told["output"]).glob("part-*.parquet"))
    assert again["job_id"] == told["job_id"]
    assert asked == len(fake.requests) == ROWS
    with get_client(sync_client=True) as client:
        kinds = {artifact.type for artifact in client.read_artifacts()}
    assert {"progress", "markdown"} <= kinds


def test_rows_that_failed_fail_the_task_and_are_not_tried_again(tmp_path: Path) -> None:
    """A retry would find the job ended, and fail alike, after an hour."""
    tries: list[int] = []

    @flow
    def failing(job: dict[str, Any]) -> Any:
        tries.append(1)
        return answer_rows(job)

    job: dict[str, Any] = {"dataset": rows_in(tmp_path), "prompt": "{text}", "model": "m"}
    job |= {"work": str(tmp_path / "work"), "policy": {"canary_rows": 0}}
    with fake_provider(lambda _body: Failure()) as fake, pytest.raises(TooManyFailed, match="content_filter"):
        failing(job | dict(fake.options))

    assert tries == [1]
