"""Tables that a program gives to a job."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

import orchestrator
from orchestrator.testing import fake_provider

ROWS = [{"text": "a", "n": 1}, {"text": "b", "n": 2}]


@pytest.mark.parametrize("kind", ["generator", "reader"])
def test_what_can_be_read_once_is_planned_and_then_run(kind: str, tmp_path: Path) -> None:
    given = iter(ROWS) if kind == "reader" else (row for row in ROWS)
    if kind == "reader":
        given = pa.Table.from_pylist(ROWS).to_reader()
    fields = {"prompt": "{text}", "model": "m", "work": tmp_path}
    with fake_provider(lambda body: json.dumps(body)[-9:]) as fake:
        planned = orchestrator.plan(given, **fields, **fake.options)
        result = orchestrator.run(given, **fields, **fake.options)
        again = orchestrator.run(pl.DataFrame(ROWS), **fields, **fake.options)

    assert planned.rows == result.counts["rows"] == 2
    assert result.to_arrow().select(["text", "n", "llm_status"]).to_pylist() == [
        row | {"llm_status": "succeeded"} for row in ROWS
    ]
    assert again.job_id == result.job_id
    assert len(fake.requests) == 2


def test_an_iterator_that_was_read_elsewhere_is_no_dataset(tmp_path: Path) -> None:
    given = iter(())

    with fake_provider() as fake, pytest.raises(orchestrator.DatasetError, match="can be read only once"):
        orchestrator.run(given, prompt="{text}", model="m", work=tmp_path, **fake.options)

    assert fake.requests == []
