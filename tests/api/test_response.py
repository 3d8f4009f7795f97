"""The spellings of `[response]` are one schema; a pydantic class among them."""

from __future__ import annotations

import datetime as dt
import enum
import json
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from orchestrator.api.job import Job, read_job
from orchestrator.api.response import read_response
from orchestrator.collector.join import response_fields
from orchestrator.collector.typed_answers import TypedAnswers
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.policy import OutputOptions
from orchestrator.providers.structured_output import added, moved, refuse_schema, sent_form, undescribed
from tests.fakes.dialects import a_dialect


class Mood(enum.StrEnum):
    GOOD = "good"
    BAD = "bad"


class Address(BaseModel):
    street: str
    number: int | None = None


class Review(BaseModel):
    mood: Mood = Field(description="the mood of the text")
    kind: Literal["short", "long"]
    score: float = Field(ge=0.0, le=1)
    stars: Annotated[int, Field(gt=0)] | None = None
    on: dt.date
    at: dt.datetime | None = None
    sure: bool
    tags: list[list[str]]
    address: Address
    others: list[Address] | None = None
    code: str = Field(pattern="^[A-Z]{3}$", alias="Code {4}")
    größe: int | str


TOML = """
mood = { enum = ["good", "bad"], description = "the mood of the text" }
kind = { enum = ["short", "long"] }
score = { type = "number", minimum = 0, maximum = 1 }
stars = { type = "integer", exclusiveMinimum = 0, optional = true }
on = "date"
at = "datetime?"
sure = "boolean"
tags = [["string"]]
address = { street = "string", number = "integer?" }
others = { type = "array", items = { street = "string", number = "integer?" }, optional = true }
"Code {4}" = { type = "string", pattern = "^[A-Z]{3}$" }
"größe" = { anyOf = [{ type = "integer" }, { type = "string" }] }
"""


def text_of(given: Any) -> str:
    found = read_response(given)
    assert found is not None
    return found.text


def test_a_pydantic_class_fields_a_schema_and_its_file_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "review.json").write_text(json.dumps(Review.model_json_schema()))
    file = tmp_path / "review.json"
    spellings = [tomllib.loads(TOML), Review.model_json_schema(), file, str(file), {"schema": str(file)}]

    assert [text_of(each) for each in spellings] == [text_of(Review)] * len(spellings)


class Node(BaseModel):
    name: str
    kids: list[Node] = []


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]


class Owner(BaseModel):
    model_config = ConfigDict(title="renamed")
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    price: Decimal
    counts: dict[str, int]
    anything: Any
    pair: tuple[int, str]


@pytest.mark.parametrize("model", [Node, Owner])
def test_every_class_of_pydantic_has_a_canonical_form(model: type) -> None:
    text = text_of(model)

    assert text_of(json.loads(text)) == text


JOB = """
[job]
name = "moods"
dataset = "reviews.csv"

[request]
model = "gpt-6-luna"
prompt = "{{text}}"
"""


def test_a_job_files_schema_is_relative_to_the_job_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobs" / "schemas").mkdir(parents=True)
    (tmp_path / "jobs" / "schemas" / "mood.json").write_text(
        '\ufeff{"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]}', encoding="utf-8"
    )
    path = tmp_path / "jobs" / "job.toml"
    path.write_text(f'{JOB}\n[response]\nschema = "schemas/mood.json"\n')
    monkeypatch.chdir(tmp_path)

    schema = read_job(path).response_schema

    assert schema is not None
    assert schema.text == text_of({"mood": "string"})


def test_a_field_may_be_called_schema() -> None:
    found = read_response({"schema": {"type": "string"}, "mood": "string"})

    assert found is not None
    assert list(found.fields) == ["schema", "mood"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"schema": "none.json"}, "response: none.json: no such file"),
        ({"schema": "a.json", "mood": "string"}, "there can be no fields beside it: mood"),
        (7, "response must be fields"),
        (int, "not the class int"),
        ({"mood": "text"}, "response.mood: there is no type 'text': write string"),
    ],
)
def test_a_mistake_is_told_when_the_job_is_made(given: Any, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Job(dataset="a.csv", model="m", prompt="{text}", response=given)

    assert message in str(raised.value)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5_000, "~nobody-of-this-name/x.json", "."])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="response: "):
        read_response({"schema": name})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ('{"type": "object", "type": "object"}', "the key 'type' is there twice"),
        ('{"type": "string"}', "an answer must be an object with fields"),
    ],
)
def test_a_mistake_in_a_schema_file_names_the_file(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.json"
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        read_response(file)

    assert message in str(raised.value)
    assert str(file) in str(raised.value)


KEYS: st.SearchStrategy[str] = st.sampled_from(
    [
        "type",
        "enum",
        "const",
        "properties",
        "required",
        "items",
        "anyOf",
        "allOf",
        "oneOf",
        "not",
        "$ref",
        "$defs",
        "A",
        "additionalProperties",
        "prefixItems",
        "format",
        "minimum",
        "minItems",
        "description",
        "optional",
        "schema",
    ]
)
ODD: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(["string", "object", "array", "integer?", "date", "#/$defs/A", "#", "#/properties/A", "(", ""])
    | st.sampled_from([None, True, False, 0, -1, 2.5, float("nan"), 10**30, "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, ODD, max_size=4))
def test_whatever_is_given_is_taken_or_refused_by_a_message(given_: dict[str, Any]) -> None:
    """And what is taken can be sent, checked and written."""
    try:
        schema = read_response(given_)
        assert schema is not None
        answers = TypedAnswers(schema)
        answers.check_schema()
        response_fields(OutputOptions(), answers)
        for name, model in (("openai", "gpt-6-luna"), ("anthropic", "claude-haiku-5-5")):
            rules = a_dialect(name).rules_for(model)
            assert rules is not None
            json.dumps(sent_form(schema, rules))
            assert isinstance([*added(schema), *moved(schema, rules), *undescribed(schema)], list)
            refuse_schema(schema, rules, model)
    except ConfigError:
        return
