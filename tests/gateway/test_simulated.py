"""The simulated model: plausible, bounded, and the same for the same request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.gateway.openai_bodies import Refusal
from orchestrator.gateway.schema import instance_of
from orchestrator.gateway.simulated import Answer, answer_onerouter, price_nano_usd

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ODD_SCHEMAS = st.recursive(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["object", "array", "string", "integer", "number", "boolean", "null"]) | VALUES},
        optional=dict.fromkeys(
            ["enum", "const", "$ref", "minimum", "maximum", "minLength", "maxLength", "minItems", "properties"], VALUES
        ),
    ),
    lambda inner: st.fixed_dictionaries(
        {}, optional={"properties": st.dictionaries(st.text(), inner), "items": inner, "anyOf": st.lists(inner)}
    ),
    max_leaves=5,
)


def answered(**params: Any) -> Answer:
    found = answer_onerouter(json.dumps({"model": "m", **params}).encode())
    assert isinstance(found, Answer), found
    return found


def ask(question: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}]


def test_an_answer_echoes_the_last_user_message() -> None:
    messages = [*ask("first"), {"role": "assistant", "content": "no"}, *ask("the last question")]

    assert answered(messages=messages).text == "[simulated] the last question"
    assert (
        answered(messages=ask([{"type": "text", "text": "in blocks"}, {"type": "image"}])).text
        == "[simulated] in blocks"
    )


def test_an_answer_is_short_and_cut_to_max_tokens_words() -> None:
    question = " ".join(f"word{number}" for number in range(50))

    assert len(answered(messages=ask(question)).text.split()) == 13
    cut = answered(messages=ask(question), max_tokens=4)
    assert (cut.text, cut.output_tokens, cut.finish_reason) == ("[simulated] word0 word1 word2", 4, "length")
    assert answered(messages=ask(question), max_completion_tokens=4).text == cut.text
    assert answered(messages=ask(question), max_tokens=13).finish_reason == "stop"


def test_input_tokens_are_a_quarter_of_the_bytes_of_system_and_messages() -> None:
    assert answered(messages=ask("12345678"), system="éé").input_tokens == 3
    assert answered(messages=ask("")).input_tokens == 1


@pytest.mark.parametrize(
    "params",
    [
        b'{"model":"m"}',
        b'{"model":"m","messages":[]}',
        b'{"model":"m","messages":"hello"}',
        b'{"model":"m","messages":[{"content":"no role"}]}',
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"max_tokens":0}',
        b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"temperature":"high"}',
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"stop_sequences":"end"}',
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"top_k":0.5}',
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"tools":[1]}',
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"thinking":true}',
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"metadata":"x"}',
    ],
)
def test_params_a_real_model_would_refuse_fail_alone(params: bytes) -> None:
    refusal = answer_onerouter(params)

    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (400, "invalid_request_error")


def test_the_documented_sample_of_onerouter_is_taken_whole() -> None:
    """Every key of the documentation's own request, and one that it does not name."""
    params = {
        "metadata": {"ANY_ADDITIONAL_PROPERTY": "text"},
        "stop_sequences": ["text"],
        "system": "text",
        "temperature": 1,
        "tool_choice": None,
        "tools": [],
        "top_k": 1,
        "top_p": 1,
        "thinking": {"budget_tokens": 1024, "type": "enabled"},
    }

    assert answered(messages=ask("hello"), **params, undocumented=1).text == "[simulated] hello"


def test_a_price_knows_a_model_by_any_of_its_names() -> None:
    for name in ("gpt-4o-batch", "openai/gpt-4o-batch", "gpt-4o"):
        assert price_nano_usd(name, 1, 1) == 6_250
    assert price_nano_usd("somebody/else", 1, 1) == 375


def test_an_answer_fits_the_schema_it_was_asked_for() -> None:
    schema = {
        "type": "object",
        "properties": {
            "mood": {"enum": ["good", "bad"]},
            "score": {"type": "integer", "minimum": 3, "maximum": 5},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
            "sure": {"type": ["boolean", "null"]},
            "note": {"anyOf": [{"type": "string", "maxLength": 20}, {"type": "null"}]},
        },
        "$defs": {"tag": {"type": "string"}},
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "review", "schema": schema}}
    value = json.loads(answered(messages=ask("Is it good?"), response_format=wanted).text)

    assert set(value) == {"mood", "score", "tags", "sure", "note"}
    assert value["mood"] in {"good", "bad"}
    assert value["score"] in {3, 4, 5}
    assert value["tags"]
    assert all(isinstance(tag, str) for tag in value["tags"])
    assert isinstance(value["sure"], bool)
    assert len(value["note"]) <= 20
    anthropic = {"format": {"type": "json_schema", "schema": schema}}
    assert json.loads(answered(messages=ask("Is it good?"), output_config=anthropic).text) == value


def test_a_json_object_without_a_schema_is_an_object() -> None:
    assert json.loads(answered(messages=ask("hello"), response_format={"type": "json_object"}).text) == {
        "answer": "[simulated] hello"
    }


def test_a_schema_that_contains_itself_ends() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {key: {"$ref": "#"} for key in "abcdefgh"}}

    assert len(json.dumps(instance_of(schema, "topic"))) < 20_000


@pytest.mark.slow
@given(schema=ODD_SCHEMAS)
@example(schema={"type": "integer", "minimum": float("inf")})
def test_no_schema_however_odd_stops_the_model(schema: dict[str, Any]) -> None:
    instance_of(schema, "topic")
