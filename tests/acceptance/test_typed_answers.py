"""Typed answers end to end: three dialects, a fake model, columns in every part, failures by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel, Field

import orchestrator
from orchestrator import ConfigError, Result
from orchestrator.testing import FakeProvider, fake_provider

MODELS: Final = {"onerouter": "m-batch", "openai": "gpt-6-luna", "anthropic": "claude-haiku-5-5"}
FIELDS: Final = {"mood": {"enum": ["good", "bad"], "description": "the mood"}, "stars": "integer?", "on": "date?"}


class Review(BaseModel):
    mood: Literal["good", "bad"] = Field(description="the mood")
    stars: int | None = None


TOML: Final = """
[job]
name = "reviews"
dataset = "{dataset}"

[request]
model = "m-batch"
prompt = "Review: {{text}}"

[response]
mood = {{ enum = ["good", "bad"], description = "the mood" }}
stars = "integer?"
"""


def run(fake: FakeProvider, work: Path, texts: list[str], **fields: Any) -> Result:
    fields = {"model": MODELS[fake.dialect], "response": FIELDS, "max_tokens": 200} | fields
    return orchestrator.run(pd.DataFrame({"text": texts}), prompt="Review: {text}", work=work, **fields, **fake.options)


def errors_of(result: Result) -> list[str | None]:
    codes: list[str | None] = result.to_arrow()["llm_error_code"].to_pylist()
    return codes


@pytest.mark.parametrize(
    "dialect",
    ["openai", pytest.param("onerouter", marks=pytest.mark.slow), pytest.param("anthropic", marks=pytest.mark.slow)],
)
def test_answers_become_columns_in_every_dialect(tmp_path: Path, dialect: str) -> None:
    with fake_provider(dialect=dialect) as fake:
        result = run(fake, tmp_path, ["a", "b", "c"])
        table = result.to_arrow()

        assert result.counts == {"rows": 3, "succeeded": 3, "failed": 0}
        assert orchestrator.audit(result.job_id, work=tmp_path, deep=True).is_clean
    answers = [json.loads(text) for text in table["llm_response"].to_pylist()]
    assert table["llm_mood"].to_pylist() == [answer["mood"] for answer in answers]
    assert table["llm_stars"].to_pylist() == [answer["stars"] for answer in answers]
    assert [str(one) for one in table["llm_on"].to_pylist()] == [answer["on"] for answer in answers]
    assert result.to_pandas()["llm_mood"].dtype == "category"


def answer(body: dict[str, Any]) -> Any:
    prompt = body["messages"][-1]["content"]
    answers = {
        "good": {"mood": "good", "stars": 5},
        "fenced": 'Sure:\n```json\n{"mood": "bad"}\n```',
        "prose": "It is good.",
        "wrong": '{"mood": "mixed"}',
        "huge": '{"mood": "good", "stars": 9223372036854775808}',
        "twice": '{"mood": "good", "mood": "bad"}',
        "surrogate": '{"mood": "\\ud800"}',
        "deep": '{"mood": ' + "[" * 5_000 + "]" * 5_000 + "}",
        "empty": "",
    }
    return next(text for name, text in answers.items() if prompt.endswith(name))


def test_each_bad_answer_fails_its_own_row_by_name(tmp_path: Path) -> None:
    texts = ["good", "fenced", "prose", "wrong", "huge", "twice", "surrogate", "deep", "empty"]
    with fake_provider(answer) as fake:
        result = run(fake, tmp_path, texts, policy={"attempts_max": 1})
        clean = orchestrator.audit(result.job_id, work=tmp_path, deep=True).is_clean

    assert dict(zip(texts, errors_of(result), strict=True)) == {
        "good": None,
        "fenced": None,
        "prose": "invalid_json",
        "wrong": "schema_mismatch",
        "huge": "schema_mismatch",
        "twice": "invalid_json",
        "surrogate": "invalid_json",
        "deep": "invalid_json",
        "empty": "invalid_json",
    }
    table = result.to_arrow()
    assert table["llm_mood"].to_pylist() == ["good", "bad", *[None] * 7]
    assert table["llm_response"].to_pylist()[3] == '{"mood": "mixed"}'  # what was paid for is kept
    assert result.errors() == {"invalid_json": 5, "schema_mismatch": 2}
    assert clean


@pytest.mark.slow
def test_a_pydantic_class_and_a_job_file_give_the_same_bytes(tmp_path: Path) -> None:
    dataset = tmp_path / "r.csv"
    dataset.write_text("text\na\nb\n")
    path = tmp_path / "job.toml"
    path.write_text(TOML.format(dataset=dataset))
    with fake_provider() as fake:
        from_class = orchestrator.run(
            dataset, name="reviews", model="m-batch", prompt="Review: {text}", response=Review,
            work=tmp_path / "a", **fake.options,
        )  # fmt: skip
        described = orchestrator.read_job(path)
        from_file = orchestrator.run(
            dataset, name="reviews", model="m-batch", prompt="Review: {text}", response=described.response,
            work=tmp_path / "b", **fake.options,
        )  # fmt: skip

    files = [[one.read_bytes() for one in sorted(Path(each.path).glob("part-*"))] for each in (from_class, from_file)]
    schemas = [pq.read_schema(next(Path(each.path).glob("part-*"))) for each in (from_class, from_file)]
    assert from_class.job_id == from_file.job_id
    assert schemas[0] == schemas[1]
    assert [without_batch(one) for one in files[0]] == [without_batch(one) for one in files[1]]


def without_batch(content: bytes) -> Any:
    """Return a part without the server's own ids, which differ between two runs."""
    return pq.read_table(pa.BufferReader(content)).drop_columns(["llm_batch_id"])


@pytest.mark.slow
def test_every_part_has_the_same_columns_also_without_any_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_SHARD_ROWS", "3")
    dataset = tmp_path / "d"
    dataset.mkdir()
    for number, text in enumerate(["good", "prose"]):
        pq.write_table(pa.table({"text": [text] * 3}), dataset / f"{number}.parquet")
    with fake_provider(answer) as fake:
        result = orchestrator.run(
            dataset, model="m-batch", prompt="{text}", response=FIELDS, work=tmp_path / "w",
            policy={"attempts_max": 1}, **fake.options,
        )  # fmt: skip

    parts = sorted(Path(result.path).glob("part-*"))
    assert len(parts) == 2
    assert pq.read_schema(parts[0]) == pq.read_schema(parts[1])
    assert result.to_arrow()["llm_mood"].to_pylist() == ["good"] * 3 + [None] * 3


@pytest.mark.slow
def test_an_empty_job_has_the_columns(tmp_path: Path) -> None:
    with fake_provider() as fake:
        result = run(fake, tmp_path, [])

    assert result.to_arrow().schema.field("llm_mood").type == pa.dictionary(pa.int32(), pa.string())
    assert len(result.to_pandas()) == 0


@pytest.mark.slow
def test_answers_without_the_dataset_are_typed(tmp_path: Path) -> None:
    with fake_provider() as fake:
        result = run(fake, tmp_path, ["a", "b"])
    [batch] = orchestrator.open_job(result.job_id, work=tmp_path).answers()

    assert batch["llm_mood"].to_pylist() == result.to_arrow()["llm_mood"].to_pylist()


@pytest.mark.slow
def test_the_audit_finds_a_typed_column_that_is_not_of_its_answer(tmp_path: Path) -> None:
    with fake_provider() as fake:
        result = run(fake, tmp_path, ["a", "b"])
    [part] = Path(result.path).glob("part-*")
    table = pq.read_table(part)
    stars = pa.array([99, 99], pa.int64())
    part.chmod(0o600)
    pq.write_table(table.set_column(table.schema.get_field_index("llm_stars"), "llm_stars", stars), part)

    found = orchestrator.audit(result.job_id, work=tmp_path, deep=True)

    assert "column llm_stars" in [one.what for one in found.differences]


def test_a_plan_shows_the_columns_and_what_is_done_for_the_user(tmp_path: Path) -> None:
    with fake_provider(dialect="openai") as fake:
        found = orchestrator.plan(
            pd.DataFrame({"text": ["a"]}), prompt="{text}", model="gpt-6-luna", response=FIELDS, work=tmp_path,
            **fake.options,
        )  # fmt: skip

    assert found.answer_columns == {"llm_mood": "one of 2 texts", "llm_stars": "int64", "llm_on": "date32[day]"}
    assert any("all fields are required" in note and "may be null: stars, on" in note for note in found.notes)
    assert any("without a description" in note and "stars, on" in note for note in found.notes)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"response": {"x": {"type": "object"}}}, "response.x: OpenAI's structured output takes only objects"),
        ({"response": {"x": {"type": "string", "pattern": "("}}}, "response.x.pattern"),
        ({"tools": [{"name": "f", "input_schema": {}}]}, "request.tools lets the model call a tool"),
        ({"response_format": {"type": "json_object"}}, "request.response_format asks for another format"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_sent(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with fake_provider(dialect="openai") as fake:
        with pytest.raises(ConfigError) as raised:
            run(fake, tmp_path, ["a"], **fields)

        assert fake.requests == []
    assert message in str(raised.value)


@pytest.mark.slow
def test_a_row_function_is_asked_for_the_schema_as_well(tmp_path: Path) -> None:
    with fake_provider(dialect="openai") as fake:
        result = orchestrator.run(
            pd.DataFrame({"text": ["a"]}), render=request_of, model="gpt-6-luna", response=FIELDS, work=tmp_path,
            **fake.options,
        )  # fmt: skip

    assert result.to_arrow()["llm_mood"].null_count == 0
    assert fake.requests[0]["response_format"]["type"] == "json_schema"


def request_of(row: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": f"Review: {row['text']} {{4}}"}
