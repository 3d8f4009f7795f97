"""What is shown of a job, in a prompt and in a notebook: never a row, a prompt, a parameter or a key."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from orchestrator import Estimate, Job, JobHandle, Result, jobs, run
from orchestrator.domain.model import JobId, JobState
from orchestrator.domain.policy import OutputOptions
from orchestrator.domain.progress import Totals
from orchestrator.testing import fake_provider
from tests.cli.looks import NO_NAMES, a_status

CANARY = "canary-7c1f"
ROWS = [f"{CANARY} {row}" for row in range(3)]


def job_of(dataset: Any, **fields: Any) -> Job:
    return Job(dataset=dataset, **{"model": "any", "name": "mood", "prompt": f"{CANARY} {{text}}"} | fields)


TOTALS = Totals(shards=1, shards_planning=0, rows=1_200, settled=1_200, refused=3, succeeded=1_190)
STATUS = a_status(JobState.FINISHED, TOTALS, "mood-1")
RESULT = Result(status=STATUS, path="w/mood-1/output", options=OutputOptions(), names=NO_NAMES)
ESTIMATE = Estimate(
    rows=3,
    requests=3,
    refused=0,
    chunks=1,
    request_bytes=300,
    tokens_in=75,
    tokens_out_max=3_000,
    cost_usd_max=Decimal("0.001"),
    cost_usd_expected=Decimal("0.0005"),
    price=None,
    exact=True,
    rows_read=3,
    samples=(CANARY,),
)
HANDLE = JobHandle(job_id=JobId("mood-1"), work="w")


@pytest.mark.parametrize(
    ("dataset", "shown"),
    [
        ("data/rows.parquet", "'data/rows.parquet'"),
        (Path("data/rows.parquet"), "'data/rows.parquet'"),
        (pd.DataFrame({"text": ROWS}), "<DataFrame of 3 rows and 1 columns>"),
        (pa.table({"text": ROWS}), "<Table of 3 rows and 1 columns>"),
    ],
)
def test_a_job_shows_where_its_rows_are_and_none_of_them(dataset: Any, shown: str) -> None:
    job = job_of(dataset, system=CANARY, parameters={"metadata": {"user": CANARY}})

    assert repr(job) == f"Job(name='mood', model='any', provider='onerouter', dataset={shown})"
    assert CANARY not in job._repr_html_()


def test_a_job_equals_itself_only_whatever_its_dataset() -> None:
    frame = pd.DataFrame({"text": ROWS})
    job, other = job_of(frame), job_of(frame)

    assert job == job
    assert job != other
    assert len({job, other}) == 2


def test_status_and_result_show_their_counts() -> None:
    assert repr(STATUS) == "Status(job_id='mood-1', state='finished', rows=1200, succeeded=1190, failed=3)"
    assert repr(RESULT) == "Result(job_id='mood-1', rows=1200, succeeded=1190, failed=3, path='w/mood-1/output')"


def test_an_estimate_does_not_show_its_samples() -> None:
    assert repr(ESTIMATE).startswith("Estimate(rows=3, requests=3, refused=0, chunks=1")
    assert CANARY not in repr(ESTIMATE) + ESTIMATE._repr_html_()
    assert ESTIMATE.as_dict()["samples"] == [CANARY]


@pytest.mark.parametrize(
    "shown", [STATUS, RESULT, ESTIMATE, HANDLE, job_of("<b>.parquet")], ids=lambda one: type(one).__name__
)
def test_a_notebook_gets_html_with_every_value_escaped(shown: Any) -> None:
    html = shown._repr_html_()

    assert re.fullmatch(r"<(table|div) .*</(table|div)>", html)
    assert "<table" in html
    assert "<b>.parquet" not in html


def test_a_notebook_is_told_what_a_plan_costs_and_where_an_output_is() -> None:
    assert "about 0.000500 USD, at most 0.001000 USD" in ESTIMATE._repr_html_()
    assert "w/mood-1/output" in RESULT._repr_html_()


def test_a_handle_shows_how_the_job_stands_and_why_where_it_cannot(tmp_path: Path) -> None:
    """A notebook shows what a cell ends with: that must not raise."""
    with fake_provider() as fake:
        result = run([{"text": "a"}], prompt="{text}", model="m", work=tmp_path, **fake.options)
    [handle] = jobs(work=tmp_path)

    assert "of 1 row" in handle._repr_html_()
    assert result.job_id in handle._repr_html_()
    assert "mood-1" in HANDLE._repr_html_()
    assert "work folder" in HANDLE._repr_html_()
