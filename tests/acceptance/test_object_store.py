"""Whole jobs whose dataset, work folder and output are in an object store."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest

import orchestrator
from orchestrator.api.row_pages import row_page
from orchestrator.audit.audit import audit_job
from orchestrator.domain.errors import ConfigError, OutputError
from orchestrator.domain.model import JobId
from orchestrator.domain.row_filter import row_filter
from orchestrator.engine.opening import opened_workspace
from orchestrator.storage.open import open_job_files
from orchestrator.testing import Failure, fake_provider
from tests.acceptance.datasets import MODEL, QUICK, check_bill, check_exact, mark, marked
from tests.files import FORMATS, as_parquet
from tests.gateway_process import GatewayProcess
from tests.servers.s3 import S3Server
from tests.tiers import sampled

ROWS: Final = 300


@pytest.fixture(autouse=True)
def near_ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A ledger on this machine's disk."""
    monkeypatch.setenv("ORCHESTRATOR_LEDGER_URL", f"sqlite:///{tmp_path}/ledger.db")


def job_of(dataset: Any, gateway: GatewayProcess, bucket: str, **fields: Any) -> orchestrator.Job:
    return orchestrator.Job(
        dataset=dataset,
        name="far",
        model=MODEL,
        prompt="{text}",
        provider_options={"base_url": gateway.url, **QUICK},
        work=f"s3://{bucket}/work",
        **fields,
    )


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("kind", sampled(["parquet", "csv.gz"], quick={"parquet"}))
def test_a_job_all_of_whose_places_are_urls_ends_exact(
    s3: S3Server, bucket: str, gateway: GatewayProcess, kind: str
) -> None:
    """Each format at a URL: tests/planner/test_far_datasets.py."""
    s3.put(bucket, f"data/x.{kind}", FORMATS[kind](marked(ROWS)))
    job = job_of(f"s3://{bucket}/data/x.{kind}", gateway, bucket, output=f"s3://{bucket}/answers/far")

    result = orchestrator.run(job)

    assert result.counts == {"rows": ROWS, "succeeded": ROWS, "failed": 0}
    assert result.path == f"s3://{bucket}/answers/far"
    output = result.to_arrow()
    assert [int(number) for number in output["number"].to_pylist()] == list(range(ROWS))
    said = [answer.split()[:2] for answer in output["llm_response"].to_pylist()]
    assert said == [["[simulated]", mark(number)] for number in range(ROWS)]
    assert len(result.to_pandas()) == ROWS
    assert result.failures().num_rows == 0
    assert result.errors() == {}
    check_bill(gateway.bill())
    assert f"work/{result.job_id}/job.json" in s3.keys(bucket)
    assert not [key for key in s3.keys(bucket) if "/.part-" in key]
    handle = orchestrator.open_job(result.job_id, work=f"s3://{bucket}/work")
    for options in ({}, {"force": True, "kind": "failed"}):
        rows = handle.export(f"s3://{bucket}/exported/all.csv", columns=["text"], **options)
        assert rows == (0 if options else ROWS)
    with open_job_files(f"s3://{bucket}/exported").open("all.csv") as file:
        assert file.read() == b'"text"\n'
    assert handle.show(7).answer is not None
    with opened_workspace(handle.work) as workspace:  # and as the page lists them
        until = time.monotonic() + 60
        found = row_page(workspace, JobId(result.job_id), row_filter(), start=(0, 7), limit=3, until=until)
    assert [(one.row, one.is_answered) for one in found.rows] == [(7, True), (8, True), (9, True)]
    assert all(one.asked for one in found.rows)


@pytest.mark.usefixtures("key")
def test_a_table_in_memory_is_kept_in_the_store_and_the_job_is_resumed_from_there(
    s3: S3Server, bucket: str, gateway: GatewayProcess
) -> None:
    """The output goes to the job's own folder; a second run finds it finished, and pays nothing."""
    source = marked(ROWS)
    first = orchestrator.run(job_of(source, gateway, bucket))
    bill = gateway.bill()

    second = orchestrator.run(job_of(source, gateway, bucket))

    check_exact(first.to_arrow(), source)
    assert first.path == f"s3://{bucket}/work/{first.job_id}/output"
    assert second.job_id == first.job_id
    assert second.to_arrow() == first.to_arrow()
    assert gateway.bill() == bill
    assert len([key for key in s3.keys(bucket) if key.startswith("work/inputs/")]) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("key")
def test_failed_rows_are_found_in_the_store(s3: S3Server, bucket: str, gateway: GatewayProcess) -> None:
    source = marked(ROWS).set_column(1, "text", [[None if n % 100 == 0 else f"{mark(n)} x" for n in range(ROWS)]])
    s3.put(bucket, "x.parquet", as_parquet(source))

    result = orchestrator.run(job_of(f"s3://{bucket}/x.parquet", gateway, bucket, policy={"null_policy": "skip"}))

    assert result.failures()["number"].to_pylist() == [0, 100, 200]
    assert result.errors() == {"null_skipped": 3}


@pytest.mark.slow
def test_rows_of_a_job_in_the_store_are_chosen_shown_and_sent_again(bucket: str) -> None:
    """By conditions, codes and keys; the selection is kept in the store, too."""
    work, table = f"s3://{bucket}/work", pa.table({"name": [f"k{row}" for row in range(8)], "score": range(8)})
    colder = {"temperature": 1}

    def answer(body: dict[str, Any]) -> str | Failure:
        if body["messages"][0]["content"] == "k3":
            return Failure(code="bad")
        return "cold" if body.get("temperature") == 1 else "maybe" if body["messages"][0]["content"] > "k4" else "yes"

    with fake_provider(answer) as fake:
        fields: dict[str, Any] = {"prompt": "{name}", "model": "any", "work": work, **fake.options}
        first = orchestrator.run(table, output=f"s3://{bucket}/out/a", dataset_options={"key": "name"}, **fields)
        handle = orchestrator.open_job(first.job_id, work=work)
        exported = handle.export(f"s3://{bucket}/some.jsonl", kind="llm_response = 'maybe' AND score < 7", keys=["k0"])
        asked = handle.plan_retry(rows=["bad", "score >= 6"], keys=["k1"], parameters=colder)
        second = handle.retry(rows=["bad", "score >= 6"], keys=["k1"], parameters=colder)

    assert (exported, asked.rows, asked.kinds) == (3, 4, {"failed": 1, "whole": 3})
    assert len(fake.requests) == 8 + 4
    answers = second.to_arrow()["llm_response"].to_pylist()
    assert answers == ["yes", "cold", "yes", None, "yes", "maybe", "cold", "cold"]
    assert second.path == f"s3://{bucket}/out/a-revision-2"
    assert [row for batch in second.iter_batches(kind="bad, key:k7") for row in batch["name"].to_pylist()] == [
        "k3",
        "k7",
    ]
    with opened_workspace(work) as workspace:
        assert audit_job(workspace, JobId(first.job_id), deep=True).differences == []


@pytest.mark.usefixtures("key", "s3")
def test_a_bucket_that_is_not_there_stops_the_job_before_anything_is_sent(gateway: GatewayProcess) -> None:
    with pytest.raises(ConfigError, match=r"s3://no-such-bucket/work cannot be written: 404.*AWS_REGION"):
        orchestrator.run(job_of(marked(3), gateway, "no-such-bucket"))

    assert gateway.batches() == []


@pytest.mark.usefixtures("key", "s3")
def test_an_output_in_a_bucket_that_is_not_there_does_so_too(bucket: str, gateway: GatewayProcess) -> None:
    with pytest.raises(ConfigError, match=r"s3://no-such-bucket/answers cannot be written: 404.*AWS_REGION"):
        orchestrator.run(job_of(marked(3), gateway, bucket, output="s3://no-such-bucket/answers/far"))

    assert gateway.batches() == []


@pytest.mark.slow
@pytest.mark.usefixtures("key")
def test_an_output_that_is_taken_away_is_not_a_result(s3: S3Server, bucket: str, gateway: GatewayProcess) -> None:
    result = orchestrator.run(job_of(marked(3), gateway, bucket))
    s3.delete(bucket, f"work/{result.job_id}/output/_SUCCESS")

    with pytest.raises(OutputError, match="holds no finished output"):
        result.to_arrow()


@pytest.mark.slow
@pytest.mark.usefixtures("key")
def test_a_grown_dataset_takes_the_answers_of_an_earlier_job_in_the_store(
    s3: S3Server, bucket: str, gateway: GatewayProcess
) -> None:
    first = orchestrator.run(job_of(marked(ROWS), gateway, bucket))
    assert orchestrator.plan(job_of(marked(ROWS + 1), gateway, bucket)).reused == ROWS

    second = orchestrator.run(job_of(marked(ROWS + 1), gateway, bucket))

    assert second.status.totals.reused == ROWS
    assert second.to_arrow()["llm_reused_from"].to_pylist() == [first.job_id] * ROWS + [None]
    assert not orchestrator.audit(second.job_id, work=f"s3://{bucket}/work", deep=True).differences
    check_bill(gateway.bill())
    assert [key for key in s3.keys(bucket) if key.endswith(".reused.parquet")]
