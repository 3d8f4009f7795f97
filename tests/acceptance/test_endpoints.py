"""The endpoints of OpenAI's dialect, end to end, at a gateway that refuses what OpenAI refuses."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import orchestrator
from orchestrator import Result
from orchestrator.api.prepare import places, prepare
from orchestrator.domain.errors import ConfigError, DatasetError
from orchestrator.engine.job_context import JobContext
from tests.acceptance.datasets import check_audit, mark, marked, read_output
from tests.acceptance.openai_jobs import PROVIDER
from tests.gateway_process import API_KEY, GatewayProcess, running_gateway
from tests.tiers import sampled

ROWS: Final = 30
SOURCE: Final = marked(ROWS)
MODULE: Final = """
def chat(row):
    return {"system": "Be brief.", "prompt": row["text"], "max_tokens": 9, "stop_sequences": ["END"]}


def too_much(row):
    return {"prompt": row["text"], "top_k": 5}
"""


@pytest.fixture(scope="module")
def openai(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with running_gateway(tmp_path_factory.mktemp("gateway"), "--duration-s", "0") as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", API_KEY)


def run(openai: GatewayProcess, work: Path, endpoint: str = "/v1/chat/completions", **fields: Any) -> Result:
    options = {"base_url": openai.url, **PROVIDER, "endpoint": endpoint}
    fields = {"model": "gpt-4o-mini", "policy": {"chunk_requests_max": 10, "retry_gather_s": 0.2}} | fields
    return orchestrator.run(SOURCE, provider="openai", provider_options=options, work=work, **fields)


def check_answered(result: Result) -> pa.Table:
    table = read_output(result.path)
    assert table["llm_status"].to_pylist() == ["succeeded"] * ROWS
    for number, answer in enumerate(table["llm_response"].to_pylist()):
        assert mark(number) in answer
    return table


def test_the_neutral_fields_of_a_job_reach_openai_in_its_own_form(openai: GatewayProcess, tmp_path: Path) -> None:
    """As they stand in a job, OpenAI would refuse each of them."""
    tool = {"name": "look_up", "input_schema": {"type": "object", "properties": {}}}

    check_answered(
        run(
            openai,
            tmp_path,
            prompt="{text}",
            system="Be brief.",
            max_tokens=50,
            stop_sequences=["END"],
            tools=[tool],
            tool_choice="none",
        )
    )


def test_a_model_that_reasons_gets_its_own_name_of_max_tokens(openai: GatewayProcess, tmp_path: Path) -> None:
    check_answered(run(openai, tmp_path, model="gpt-5-mini", prompt="{text}", max_tokens=500))


def test_responses(openai: GatewayProcess, tmp_path: Path) -> None:
    result = run(openai, tmp_path, "/v1/responses", prompt="{text}", system="Be brief.", max_tokens=50)

    check_answered(result)
    check_audit(result.job_id, tmp_path)


@pytest.mark.parametrize(
    "parameters", sampled([{}, {"dimensions": 8}, {"encoding_format": "base64"}], quick={"{'dimensions': 8}"})
)
def test_embeddings_are_a_column_of_vectors(openai: GatewayProcess, tmp_path: Path, parameters: dict[str, Any]) -> None:
    result = run(
        openai, tmp_path, "/v1/embeddings", model="text-embedding-3-small", prompt="{text}", parameters=parameters
    )

    table = read_output(result.path)
    kind = table.schema.field("llm_embedding").type
    assert pa.types.is_fixed_size_list(kind)
    assert kind.value_type == pa.float32()
    assert kind.list_size == parameters.get("dimensions", kind.list_size)
    assert table["llm_embedding"].null_count == 0
    assert len({tuple(vector) for vector in table["llm_embedding"].to_pylist()}) == ROWS, "rows share a vector"
    assert table["llm_response"].null_count == ROWS
    check_audit(result.job_id, tmp_path)


@pytest.mark.slow
def test_reused_vectors_are_of_the_jobs_length(openai: GatewayProcess, tmp_path: Path) -> None:
    """Also where the job has no answer of its own, from which its length would follow."""
    fields: dict[str, Any] = {"model": "text-embedding-3-small", "prompt": "{text}"}
    first = run(openai, tmp_path, "/v1/embeddings", **fields)

    second = run(openai, tmp_path, "/v1/embeddings", dataset_options={"limit": ROWS - 1}, **fields)

    before, after = read_output(first.path), read_output(second.path)
    assert second.status.totals.reused == ROWS - 1
    assert after["llm_embedding"].equals(before["llm_embedding"].slice(0, ROWS - 1))
    check_audit(second.job_id, tmp_path)


@pytest.mark.slow
def test_vectors_are_chosen_by_conditions_and_keys_and_a_retry_changes_no_length(
    openai: GatewayProcess, tmp_path: Path
) -> None:
    fields: dict[str, Any] = {"model": "text-embedding-3-small", "prompt": "{text}", "parameters": {"dimensions": 8}}
    first = run(openai, tmp_path, "/v1/embeddings", **fields)
    handle = orchestrator.open_job(first.job_id, work=tmp_path)

    assert handle.export(tmp_path / "some.parquet", kind="llm_embedding IS NOT NULL AND number < 2", keys=[5]) == 3
    assert pq.read_table(tmp_path / "some.parquet")["llm_embedding"].null_count == 0
    assert [batch["number"].to_pylist() for batch in first.iter_batches(kind="key:0/7")] == [[7]]
    for name, value in (("dimensions", 4), ("model", "text-embedding-3-large")):
        with pytest.raises(ConfigError, match=f"another {name} makes other vectors"):
            handle.retry(keys=[4], parameters={name: value})
    second = handle.retry(rows="number < 2", keys=[7], parameters={"dimensions": 8})

    assert read_output(second.path).column("llm_embedding").equals(read_output(first.path).column("llm_embedding"))
    check_audit(first.job_id, tmp_path)


def test_what_a_model_does_not_take_is_refused_before_anything_is_sent(openai: GatewayProcess, tmp_path: Path) -> None:
    before = openai.bill()

    with pytest.raises(ConfigError, match=r"request.top_k cannot be sent to gpt-4o-mini: .*accepts"):
        run(openai, tmp_path, prompt="{text}", top_k=5)

    assert openai.bill() == before


def test_input_files_are_deleted_once_the_results_are_archived(tmp_path: Path) -> None:
    with running_gateway(tmp_path / "gateway", "--duration-s", "0") as gateway:
        check_answered(run(gateway, tmp_path / "work", prompt="{text}"))

        assert files_of(gateway, "batch") == []
        assert len(files_of(gateway, "batch_output")) == ROWS // 10


def files_of(gateway: GatewayProcess, purpose: str) -> list[str]:
    found = httpx.get(f"{gateway.url}/files", headers=gateway.headers, timeout=30).json()["data"]
    return [one["id"] for one in found if one["purpose"] == purpose]


# A row function by its name


@pytest.fixture
def rows_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows_of_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "rows_of_mine", raising=False)


@pytest.mark.usefixtures("rows_module")
def test_a_function_may_be_named_and_may_return_neutral_fields(openai: GatewayProcess, tmp_path: Path) -> None:
    result = run(openai, tmp_path / "work", render="rows_of_mine:chat")

    check_answered(result)


@pytest.mark.usefixtures("rows_module")
def test_what_a_function_returns_is_checked_before_anything_is_sent(openai: GatewayProcess, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"row 0: request\.top_k cannot be sent to gpt-4o-mini"):
        run(openai, tmp_path / "work", render="rows_of_mine:too_much")


@pytest.mark.usefixtures("rows_module")
@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("rows_of_mine", "is not of the form"),
        ("rows_of_theirs:chat", "cannot be imported here"),
        ("rows_of_mine:talk", "has no talk"),
        ("rows_of_mine:__name__", "is a str, not a function"),
    ],
)
def test_a_name_that_cannot_be_imported_is_refused(
    openai: GatewayProcess, tmp_path: Path, path: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        run(openai, tmp_path / "work", render=path)


@pytest.mark.usefixtures("rows_module")
def test_a_worker_that_has_another_version_of_the_function_is_told(tmp_path: Path) -> None:
    dataset = tmp_path / "rows.parquet"
    pq.write_table(SOURCE, dataset)
    job = orchestrator.Job(
        dataset=dataset, model="gpt-4o-mini", render="rows_of_mine:chat", provider="openai", work=tmp_path / "work"
    )
    settings, work = places(job)
    spec = prepare(job, settings, work).spec

    elsewhere = JobContext(spec=spec, work=work)
    assert elsewhere.renderer(0, job.resolved_policy)  # imported here, without the program that entered the job

    (tmp_path / "rows_of_mine.py").write_text(MODULE.replace("Be brief.", "Be long."))
    del sys.modules["rows_of_mine"]
    another = JobContext(spec=spec, work=work)
    with pytest.raises(ConfigError, match="is not the function that the job was started with"):
        another.renderer(0, job.resolved_policy)
