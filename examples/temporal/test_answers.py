"""The activity in Temporal's own environment for activities, against the gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from answers import Answers, answer_rows
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import ActivityEnvironment

import orchestrator
from orchestrator.testing import FakeProvider, fake_provider

ROWS = 40


def job_of(fake: FakeProvider, folder: Path, **fields: Any) -> dict[str, Any]:
    table = folder / "rows.jsonl"
    table.write_text("".join(json.dumps({"text": f"row {number}"}) + "\n" for number in range(ROWS)))
    job = {"name": "moods", "dataset": str(table), "prompt": "{text}", "model": "m", "work": str(folder / "work")}
    return job | dict(fake.options) | fields


def test_the_activity_heartbeats_and_gives_a_location_and_counts(tmp_path: Path) -> None:
    beats: list[Any] = []
    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *details: beats.extend(details)
    with fake_provider() as fake:
        told = environment.run(answer_rows, job_of(fake, tmp_path))
        asked = len(fake.requests)
        again = environment.run(answer_rows, job_of(fake, tmp_path))

    assert (told.rows, told.succeeded, told.failed) == (ROWS, ROWS, 0)
    assert list(Path(told.output).glob("part-*.parquet"))
    assert beats[-1] == {"job_id": told.job_id, "does": "finished", "answered": ROWS}
    assert again == told
    assert len(fake.requests) == asked
    assert isinstance(told, Answers)


def test_a_cancelled_activity_cancels_its_job(tmp_path: Path) -> None:
    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *_details: environment.cancel()
    with fake_provider() as fake:
        with pytest.raises(CancelledError, match="what is answered is kept"):
            environment.run(answer_rows, job_of(fake, tmp_path))
        [handle] = orchestrator.jobs(work=tmp_path / "work")

        assert handle.status().state == "cancelled"


def test_a_worker_that_shuts_down_leaves_the_job_to_the_next_one(tmp_path: Path) -> None:
    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *_details: environment.worker_shutdown()
    with fake_provider() as fake:
        with pytest.raises(orchestrator.JobInterrupted):
            environment.run(answer_rows, job_of(fake, tmp_path))
        told = ActivityEnvironment().run(answer_rows, job_of(fake, tmp_path))

    assert told.succeeded == ROWS
    assert len(fake.requests) == ROWS


def test_what_a_person_must_change_is_not_tried_again(tmp_path: Path) -> None:
    with fake_provider() as fake, pytest.raises(ApplicationError) as raised:
        ActivityEnvironment().run(answer_rows, job_of(fake, tmp_path, prompt="{txt}"))

    assert raised.value.non_retryable
    assert "txt" in str(raised.value)


def test_what_goes_through_the_history_is_small_and_comes_back() -> None:
    told = Answers("moods-1", "w/output", 3, 2, 1, "0.1")
    converter = DataConverter.default.payload_converter

    assert converter.from_payloads(converter.to_payloads([told]), [Answers]) == [told]
