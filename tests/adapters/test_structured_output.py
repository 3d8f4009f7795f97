"""How each dialect is asked for typed answers, and what of a schema it refuses before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.response_fields import schema_of_fields
from orchestrator.domain.response_schema import ResponseSchema, canonical
from orchestrator.gateway import anthropic_bodies, openai_bodies
from orchestrator.gateway.strict_schema import refusal_of_schema
from orchestrator.planner.template import Field, compile_body
from orchestrator.providers.dialect import Dialect
from orchestrator.providers.structured_output import (
    INSTRUCTION,
    added,
    moved,
    refuse_beside_schema,
    refuse_schema,
    sent_form,
    undescribed,
)
from tests.fakes.dialects import a_dialect

GPT = "gpt-6-luna"
CLAUDE = "claude-haiku-5-5"
RESPONSES = "/v1/responses"
TEXT = {"type": "string"}
REQUEST = {"model": GPT, "max_tokens": 50, "messages": [{"role": "user", "content": "Mood: {text}"}]}


def a_schema(**properties: Any) -> ResponseSchema:
    return canonical({"type": "object", "properties": properties, "required": list(properties)})


MOOD = a_schema(
    mood={"enum": ["good", "bad"], "description": "one of {{2}}"}, code={"type": "string", "pattern": "a{4}"}
)


def body_of(dialect: Dialect, request: dict[str, Any], schema: ResponseSchema) -> Any:
    """Return the body as it is sent for a row, and make sure that only the prompt names a column."""
    asked = dialect.request_body(dialect.asks_for(request, schema, is_template=True))
    compiled = compile_body(asked, pa.schema([("text", pa.string())]))
    assert compiled.columns == ("text",)
    return json.loads(b"".join(b"hello" if isinstance(one, Field) else one for one in compiled.segments))


def test_chat_completions_get_a_strict_response_format() -> None:
    body = body_of(a_dialect("openai"), REQUEST, MOOD)

    assert body["response_format"]["type"] == "json_schema"
    schema = body["response_format"]["json_schema"]
    assert (schema["name"], schema["strict"], schema["schema"]) == ("answer", True, MOOD.document)
    assert openai_bodies.refusal_of("/v1/chat/completions", body) is None


def test_the_responses_api_gets_a_text_format() -> None:
    body = body_of(a_dialect("openai", endpoint=RESPONSES), REQUEST, MOOD)

    assert body["text"]["format"] == {
        "type": "json_schema", "name": "answer", "strict": True, "schema": MOOD.document
    }  # fmt: skip
    assert openai_bodies.refusal_of(RESPONSES, body) is None


def test_anthropic_gets_an_output_config_without_what_it_does_not_take() -> None:
    body = body_of(a_dialect("anthropic"), {**REQUEST, "model": CLAUDE}, MOOD)

    sent = body["output_config"]["format"]
    assert (sent["type"], list(sent)) == ("json_schema", ["type", "schema"])
    assert sent["schema"]["properties"]["code"] == {"type": "string", "description": '(pattern: "a{4}")'}
    assert anthropic_bodies.refusal_of(body, anthropic_bodies.VERSION) is None


@pytest.mark.parametrize(
    ("name", "options", "model"),
    [
        ("onerouter", {}, "openai/gpt-6-luna-batch"),
        ("openai", {}, "gpt-3.5-turbo"),
        ("openai", {}, "gpt-4-turbo"),
        ("openai", {"structured_output": "text"}, GPT),
        ("anthropic", {}, "claude-3-5-haiku-20241022"),
        ("anthropic", {}, "claude-sonnet-4-20250514"),
    ],
)
def test_a_model_without_structured_output_is_asked_in_words(name: str, options: Any, model: str) -> None:
    body = body_of(a_dialect(name, **options), {**REQUEST, "model": model}, MOOD)

    given = body["system"] if "system" in body else body["messages"][0]["content"]
    assert given == INSTRUCTION + MOOD.text
    assert "response_format" not in body


@pytest.mark.parametrize(
    ("name", "options", "model"),
    [
        ("openai", {}, "gpt-4o-mini"),
        ("openai", {}, "gpt-4.1-nano"),
        ("openai", {}, "my-deployment"),
        ("openai", {"structured_output": "native"}, "gpt-3.5-turbo"),
        ("anthropic", {}, "claude-opus-4-1-20250805"),
        ("onerouter", {"structured_output": "native"}, "m-batch"),
        ("onerouter", {"accepts": ["response_format"]}, "m-batch"),
    ],
)
def test_the_others_get_the_schema_itself(name: str, options: Any, model: str) -> None:
    body = body_of(a_dialect(name, **options), {**REQUEST, "model": model}, MOOD)

    assert "output_config" in body or "response_format" in body
    assert "system" not in body


@pytest.mark.parametrize(
    ("request_", "place"),
    [
        ({"system": "Be brief."}, lambda body: body["system"]),
        ({"system": [{"type": "text", "text": "Be brief."}]}, lambda body: body["system"][1]["text"]),
        (
            {"messages": [{"role": "system", "content": "Be {text}."}, *REQUEST["messages"]]},  # type: ignore[misc]
            lambda body: body["system"],
        ),
    ],
)
def test_the_words_follow_the_jobs_own_system_text(request_: Any, place: Callable[[Any], str]) -> None:
    found = place(body_of(a_dialect("onerouter"), REQUEST | request_, MOOD))

    assert found.endswith(INSTRUCTION + MOOD.text)
    assert found.startswith(("Be ", INSTRUCTION))


def test_the_words_follow_the_instructions_of_a_response() -> None:
    dialect = a_dialect("openai", endpoint=RESPONSES, structured_output="text")
    given = {"model": GPT, "instructions": "Be brief.", "input": "Mood?"}

    body = dialect.request_body(dialect.asks_for(given, MOOD, is_template=False))

    assert body["instructions"] == f"Be brief.\n\n{INSTRUCTION}{MOOD.text}"


def test_translating_a_body_again_changes_nothing() -> None:
    for name, model in (("openai", GPT), ("anthropic", CLAUDE), ("onerouter", "m-batch")):
        dialect = a_dialect(name)
        body = dialect.request_body(dialect.asks_for({**REQUEST, "model": model}, MOOD, is_template=False))

        assert dialect.request_body(body) == body


def test_a_row_functions_request_keeps_its_braces() -> None:
    asked = a_dialect("openai").asks_for(REQUEST, MOOD, is_template=False)

    assert asked["response_format"]["json_schema"]["schema"]["properties"]["code"]["pattern"] == "a{4}"


def test_optional_fields_are_sent_as_required_and_are_told() -> None:
    schema = canonical({"type": "object", "properties": {"a": TEXT, "b": {"properties": {"c": TEXT}}}})
    rules = a_dialect("openai").rules_for(GPT)
    assert rules is not None

    sent = sent_form(schema, rules)

    assert sent["required"] == ["a", "b"]
    assert sent["properties"]["b"]["required"] == ["c"]
    assert schema.document["required"] == []  # it is not changed
    assert added(schema) == ["a", "b", "b.c"]
    assert undescribed(schema) == ["a", "b", "b.c"]


DEEP: Any = TEXT
for _ in range(10):
    DEEP = {"type": "object", "properties": {"a": DEEP}, "required": ["a"]}
CHOICES = [f"choice number {number}" for number in range(1_001)]
SELF = {"$ref": "#/$defs/A"}
DEFS = {"A": {"type": "object", "properties": {"kids": {"type": "array", "items": SELF}}, "required": ["kids"]}}


@pytest.mark.parametrize(
    ("dialect", "properties", "finding"),
    [
        ("openai", {"a": {"allOf": [TEXT, {"minLength": 1}]}}, "response.a: OpenAI's structured output does not take"),
        ("openai", {"a": {"type": "string", "not": {"const": "x"}}}, "response.a: OpenAI's structured output does not"),
        ("openai", {"a": {"type": "array", "prefixItems": [TEXT]}}, "does not take 'prefixItems'"),
        ("openai", {"a": {"b": 1, "oneOf": [TEXT, {"type": "integer"}]}}, "does not take 'oneOf'"),
        ("openai", {"a": {"type": "object"}}, "response.a: OpenAI's structured output takes only objects with"),
        ("openai", {"a": {"type": "object", "additionalProperties": TEXT}}, "list its fields"),
        (
            "openai",
            {"a": {"type": "object", "properties": {"b": TEXT}, "additionalProperties": True}},
            "leave additionalProperties out",
        ),
        ("openai", {"a": {"type": "array"}}, "response.a: a list needs the type of its items"),
        ("openai", {"a": {}}, "response.a: it has no type"),
        ("openai", {"x": {"type": "array", "items": {"type": "object"}}}, "response.x[]: OpenAI's"),
        ("openai", {"a": DEEP}, "takes at most 10 levels of objects and lists, and this has 11"),
        ("openai", {f"f{n}": TEXT for n in range(5_001)}, "takes at most 5,000 fields in all, and this has 5,001"),
        ("openai", {"a": {"enum": CHOICES}}, "takes at most 1,000 values of enums in all, and this has 1,001"),
        ("openai", {"a": {"enum": [f"{'x' * 60}{n}" for n in range(251)]}}, "may have 15,000 characters"),
        ("openai", {"a": {"enum": [{"b": 1}]}}, "takes only texts, numbers, true and false in an enum"),
        ("anthropic", {"a": SELF}, "response.a: Anthropic's structured output takes no schema that contains itself"),
        ("anthropic", {f"f{n}": {"type": ["string", "null"]} for n in range(17)}, "takes at most 16 fields that are"),
        ("anthropic", {"a": {"allOf": [TEXT, {"minLength": 1}]}}, "does not take 'allOf'"),
    ],
)
def test_what_a_provider_would_refuse_is_refused_by_its_place(dialect: str, properties: Any, finding: str) -> None:
    rules = a_dialect(dialect).rules_for(GPT)
    assert rules is not None
    schema = canonical({"type": "object", "properties": properties, "required": list(properties), "$defs": DEFS})

    with pytest.raises(ConfigError) as raised:
        refuse_schema(schema, rules, GPT)

    message = str(raised.value)
    assert finding in message
    assert rules.source in message
    assert 'provider.structured_output = "text"' in message


@pytest.mark.parametrize(
    ("dialect", "properties"),
    [
        ("openai", {"a": SELF}),
        ("openai", {"a": {"anyOf": [TEXT, {"type": "integer"}]}}),
        ("openai", {"a": {"type": "array", "items": {"enum": ["a"]}, "minItems": 3}}),
        ("openai", {"a": {"type": "string", "format": "date-time"}, "b": {"type": "string", "minLength": 3}}),
        ("openai", {"a": {"enum": [str(number) for number in range(999)]}, "n": {"enum": [1, None]}}),
        ("anthropic", {"a": {"type": "integer", "minimum": 3}, "b": {"type": "array", "items": TEXT, "minItems": 2}}),
        ("anthropic", {f"f{n}": {"type": ["string", "null"]} for n in range(16)}),
        ("anthropic", {"a": DEEP}),
    ],
)
def test_what_a_provider_takes_is_not_refused(dialect: str, properties: Any) -> None:
    rules = a_dialect(dialect).rules_for(GPT)
    assert rules is not None
    schema = canonical({"type": "object", "properties": properties, "$defs": DEFS, "required": list(properties)})

    refuse_schema(schema, rules, GPT)


def test_bounds_that_are_not_sent_are_named() -> None:
    numbers = {"type": "array", "items": {"type": "integer", "minimum": 1}}
    schema = a_schema(a={"type": "string", "minLength": 3}, b=numbers)
    openai, anthropic = a_dialect("openai").rules_for(GPT), a_dialect("anthropic").rules_for(CLAUDE)
    assert openai is not None
    assert anthropic is not None

    assert moved(schema, openai) == ["a.minLength"]
    assert moved(schema, anthropic) == ["a.minLength", "b[].minimum"]


def test_a_bound_that_is_not_sent_is_told_in_the_description() -> None:
    rules = a_dialect("openai").rules_for(GPT)
    assert rules is not None
    given = {"type": "string", "minLength": 3, "description": "a name", "format": "uri"}

    assert sent_form(a_schema(a=given), rules)["properties"]["a"] == {
        "type": "string", "description": 'a name (format: "uri", minLength: 3)'
    }  # fmt: skip


@pytest.mark.parametrize(
    "request_",
    [
        {"response_format": {"type": "json_object"}},
        {"tools": [{"name": "f", "input_schema": {}}]},
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "{"}]},
    ],
)
def test_a_request_that_contradicts_typed_answers_is_refused(request_: Any) -> None:
    with pytest.raises(ConfigError, match=r"\[response\] says what"):
        refuse_beside_schema(request_)
    refuse_beside_schema({"tools": [], "messages": [{"role": "user", "content": "hi"}]})


FIELDS: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(["string", "integer?", "date", {"enum": ["a", "b"]}, {"type": "string", "minLength": 3}]),
    lambda inner: st.builds(lambda one: [one], inner) | st.dictionaries(st.sampled_from("xyz"), inner, min_size=1),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from("xyz"), FIELDS, min_size=1))
def test_what_passes_here_is_taken_by_a_strict_server(fields: dict[str, Any]) -> None:
    schema = canonical(schema_of_fields(fields))
    rules = a_dialect("openai").rules_for(GPT)
    assert rules is not None

    refuse_schema(schema, rules, GPT)

    assert refusal_of_schema("answer", sent_form(schema, rules)) == ""
