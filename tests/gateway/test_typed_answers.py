"""The simulated model answers with JSON of the schema that it is asked for, also in words; and how it goes wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from orchestrator.gateway import openai_bodies
from orchestrator.gateway.schema import instance_of, schema_in, text_matching
from tests.gateway.in_process import MODEL, a_gateway, lines_of

TEXT = {"type": "string"}
SCHEMA = {
    "type": "object",
    "properties": {"mood": {"enum": ["good", "bad"]}, "note": TEXT},
    "required": ["mood", "note"],
    "additionalProperties": False,
}
WORDS = f"Be brief.\n\nAnswer with JSON of this JSON Schema:\n{json.dumps(SCHEMA)}"


def answer_of(tmp_path: Path, faults: dict[str, Any], system: str = WORDS) -> tuple[str, str]:
    """Return the text of an answer, and its finish reason."""
    params = {"model": MODEL, "system": system, "messages": [{"role": "user", "content": "Is it good?"}]}
    with a_gateway(tmp_path, {"lines": faults}) as gateway:
        [line] = lines_of(gateway.run([{"custom_id": "row-0", "params": params}]))
    choice = line["response"]["body"]["choices"][0]
    return choice["message"]["content"], choice["finish_reason"]


def test_a_schema_in_the_system_text_is_answered(tmp_path: Path) -> None:
    text, reason = answer_of(tmp_path, {})

    assert jsonschema_rs.is_valid(SCHEMA, json.loads(text))
    assert reason == "stop"


def test_an_answer_can_be_prose(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(answer_of(tmp_path, {"prose": 1})[0])


def test_an_answer_can_have_a_wrong_choice(tmp_path: Path) -> None:
    found = json.loads(answer_of(tmp_path, {"wrong_value": 1})[0])

    assert found["mood"] in ("good?", "bad?")


def test_an_answer_can_be_cut_at_the_limit_of_tokens(tmp_path: Path) -> None:
    text, reason = answer_of(tmp_path, {"cut_text": 1})

    assert reason == "length"
    with pytest.raises(ValueError):
        json.loads(text)


def test_an_answer_can_stand_in_a_code_fence(tmp_path: Path) -> None:
    text, _ = answer_of(tmp_path, {"fenced": 1})

    assert text.startswith("```json\n{")
    assert jsonschema_rs.is_valid(SCHEMA, json.loads(text[7:-3]))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('JSON Schema: {"a": 1} and more {', {"a": 1}),
        ('{"a": 1} is no JSON Schema', None),
        ("JSON Schema: {broken", None),
        ("no schema {}", None),
    ],
)
def test_a_schema_is_found_in_words(text: str, found: Any) -> None:
    assert schema_in(text) == found


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "format": "date"},
        {"type": "string", "format": "date-time"},
        {"type": "string", "format": "time"},
        {"type": "string", "format": "uuid"},
        {"type": "string", "format": "email"},
        {"type": "string", "format": "uri"},
        {"type": "string", "format": "ipv4"},
        {"type": "string", "format": "ipv6"},
        {"type": "string", "format": "duration"},
        {"type": "string", "format": "hostname"},
        {"type": "string", "pattern": "^[A-Z]{3}-\\d+(a|b)[^x]$"},
        {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
        {"type": "integer", "minimum": 7, "maximum": 30, "multipleOf": 5},
        {"type": "number", "minimum": 0.2, "maximum": 0.8},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "integer", "maximum": -3},
        {"type": "array", "items": TEXT, "minItems": 7},
        {"type": "array", "items": TEXT, "maxItems": 0},
        {"type": ["string", "null"], "enum": ["a", None]},
        {"anyOf": [TEXT, {"type": "null"}]},
    ],
)
def test_an_answer_keeps_the_bounds_of_its_schema(schema: Any) -> None:
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)

    for topic in ("one", "two", "three", "four"):
        found = instance_of(schema, topic)
        assert validator.is_valid(found), found


@pytest.mark.parametrize("pattern", ["(?=a)b", "(", "\\bx"])
def test_a_pattern_of_another_kind_stops_nothing(pattern: str) -> None:
    assert text_matching(pattern) in ("", "x")


def strict(schema: Any) -> str:
    """Return how a strict schema is refused."""
    body = {
        "model": "gpt-6-luna",
        "messages": [{"role": "user", "content": "hi"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}},
    }
    refusal = openai_bodies.refusal_of("/v1/chat/completions", body)
    return "" if refusal is None else refusal.message


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (SCHEMA, ""),
        (
            {"type": "array", "items": TEXT},
            "a JSON Schema of 'type: \"object\"', got 'type: \"array\"'.",
        ),
        (SCHEMA | {"additionalProperties": True}, "In context=(), 'additionalProperties' is required to be supplied"),
        (SCHEMA | {"required": ["note"]}, "an array including every key in properties. Missing 'mood'."),
        (
            SCHEMA | {"properties": {"a": {"type": "array", "items": {"type": "object"}}}, "required": ["a"]},
            "In context=('properties', 'a', 'items'), 'additionalProperties'",
        ),
        (SCHEMA | {"properties": {"a": {"allOf": [TEXT]}}, "required": ["a"]}, "'allOf' is not permitted."),
        (
            SCHEMA | {"properties": {"a": {"enum": list(range(1_001))}}, "required": ["a"]},
            "Expected at most 1000 enum values in total",
        ),
    ],
)
def test_a_strict_schema_is_refused_as_openai_does(schema: Any, why: str) -> None:
    message = strict(schema)

    assert why in message
    assert message.startswith("Invalid schema for response_format 'answer': ") is bool(why)


def test_a_schema_that_is_not_strict_is_taken() -> None:
    wanted = {"type": "json_schema", "name": "answer", "schema": {"type": "object"}}
    body = {"model": "gpt-6-luna", "input": "hi", "text": {"format": wanted}}

    assert openai_bodies.refusal_of("/v1/responses", body) is None
    refusal = openai_bodies.refusal_of("/v1/responses", body | {"text": {"format": wanted | {"strict": True}}})
    assert refusal is not None
    assert refusal.code == "invalid_json_schema"
