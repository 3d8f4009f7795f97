"""The bodies that our dialects make of a job's fields, against the vendor's own types; and what is refused instead."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pyarrow as pa
import pytest

from orchestrator.api.job import Job
from orchestrator.domain.errors import ConfigError
from orchestrator.gateway import openai_bodies
from orchestrator.planner.template import compile_body
from tests.fakes.dialects import a_dialect

CHAT: Final = "/v1/chat/completions"
RESPONSES: Final = "/v1/responses"
EMBEDDINGS: Final = "/v1/embeddings"
SCHEMA: Final = {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]}
TOOL: Final = {"name": "look_up", "description": "Looks a word up.", "input_schema": SCHEMA}
PNG: Final = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "{image}"}}
PICTURE: Final = {"type": "image", "source": {"type": "url", "url": "https://example.com/{text}.png"}}
PICTURED: Final = [{"role": "user", "content": [{"type": "text", "text": "{text}"}, PNG, PICTURE]}]
JSON: Final = {"type": "json_schema", "json_schema": {"name": "mood", "schema": SCHEMA, "strict": True}}

# What a job may have, each beside model and prompt.
FIELDS: Final[dict[str, dict[str, Any]]] = {
    "a prompt": {},
    "system": {"system": "Be brief."},
    "max_tokens": {"max_tokens": 5},
    "tools": {"tools": [TOOL]},
    "tools of OpenAI's form": {"tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]},
    "any tool": {"tools": [TOOL], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
    "no tool": {"tools": [TOOL], "tool_choice": "none"},
    "one tool": {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "look_up"}},
    "images": {"prompt": None, "messages": PICTURED},
    "a conversation": {
        "prompt": None,
        "messages": [
            {"role": "user", "content": "{text}"},
            {"role": "assistant", "content": "Good."},
            {"role": "user", "content": "Why?"},
        ],
    },
    "JSON": {"response_format": {"type": "json_object"}},
    "a schema": {"response_format": JSON},
    "metadata": {"metadata": {"run": "7"}},
    "fields of its own": {"parameters": {"service_tier": "flex", "user": "u-1"}},
}
CLASSIC_ONLY: Final[dict[str, dict[str, Any]]] = {
    "sampling": {"temperature": 0.5, "top_p": 0.9},
    "stop_sequences": {"stop_sequences": ["\n", "END"]},
    "seed": {"seed": 7},
}
MODELS: Final = ("gpt-4o-mini", "gpt-5-mini", "gpt-6-luna", "o4-mini", "my-deployment")


# The vendor's own types (tests/gateway/test_openai_bodies.py compares the file with them).
VENDOR: Final = Path(openai_bodies.__file__).with_suffix(".json")
VALIDATORS: Final = {
    name: jsonschema_rs.validator_for(schema) for name, schema in json.loads(VENDOR.read_bytes()).items()
}


def errors_of(endpoint: str, body: Mapping[str, Any]) -> list[str]:
    """Return what the vendor's types say against a body; keys that they do not have are errors, too."""
    return [error.message for error in VALIDATORS[endpoint].iter_errors(body)]


def body_of(endpoint: str, model: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    job = Job(**{"dataset": "rows.parquet", "model": model, "prompt": "{text}", "provider": "openai", **fields})
    return a_dialect("openai", endpoint=endpoint).request_body(job.body)


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS.keys())
def test_every_body_has_the_vendors_own_type(fields: dict[str, Any]) -> None:
    for endpoint, model in product([CHAT, RESPONSES], MODELS):
        body = body_of(endpoint, model, fields)

        assert errors_of(endpoint, body) == [], (endpoint, model)
        assert a_dialect("openai", endpoint=endpoint).request_body(body) == body, "a second translation changes it"


@pytest.mark.parametrize("fields", CLASSIC_ONLY.values(), ids=CLASSIC_ONLY.keys())
def test_every_body_for_a_classic_model_has_the_vendors_own_type(fields: dict[str, Any]) -> None:
    body = body_of(CHAT, "gpt-4o-mini", fields)

    assert errors_of(CHAT, body) == []


def test_the_vendors_types_refuse_what_was_sent_untranslated() -> None:
    """The check itself sees keys that OpenAI does not have."""
    messages = [{"role": "user", "content": "hi"}]
    for key, value in {"system": "s", "stop_sequences": ["x"], "top_k": 1, "thinking": {"type": "enabled"}}.items():
        assert errors_of(CHAT, {"model": "gpt-4o-mini", "messages": messages, key: value}) != []
    assert errors_of(CHAT, {"model": "m", "messages": messages, "tools": [TOOL]}) != []
    assert errors_of(CHAT, {"model": "m", "messages": PICTURED}) != []


def test_a_chat_completion_says_what_the_job_says() -> None:
    fields = {"system": "Be brief.", "max_tokens": 5, "stop_sequences": ["END"], "tools": [TOOL], "tool_choice": "any"}

    assert body_of(CHAT, "gpt-4o-mini", fields) == {
        "model": "gpt-4o-mini",
        "max_tokens": 5,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "{text}"}],
        "stop": ["END"],
        "tools": [
            {
                "type": "function",
                "function": {"name": "look_up", "description": "Looks a word up.", "parameters": SCHEMA},
            }
        ],
        "tool_choice": "required",
    }


def test_a_response_says_what_the_job_says() -> None:
    fields = {"system": "Be brief.", "max_tokens": 5, "reasoning_effort": "low", "response_format": JSON}

    assert body_of(RESPONSES, "gpt-5-mini", fields) == {
        "model": "gpt-5-mini",
        "max_output_tokens": 5,
        "instructions": "Be brief.",
        "input": "{text}",
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_schema", "name": "mood", "schema": SCHEMA, "strict": True}},
    }


@pytest.mark.parametrize(
    "fields", [{}, {"parameters": {"dimensions": 256}}, {"parameters": {"encoding_format": "base64"}}]
)
def test_an_embedding_has_one_input(fields: dict[str, Any]) -> None:
    body = body_of(EMBEDDINGS, "text-embedding-3-small", fields)

    assert body["input"] == "{text}"
    assert errors_of(EMBEDDINGS, body) == []
    assert a_dialect("openai", endpoint=EMBEDDINGS).request_body(body) == body


def test_an_image_stays_a_template() -> None:
    """What stands in a column goes into the data URL, row by row."""
    compiled = compile_body(
        body_of(CHAT, "gpt-4o-mini", FIELDS["images"]), pa.schema([("text", pa.string()), ("image", pa.string())])
    )

    assert compiled.columns == ("text", "image")
    assert any(b"data:image/png;base64," in part for part in compiled.segments if isinstance(part, bytes))


@pytest.mark.parametrize(
    "model", ["gpt-5", "gpt-5-mini", "gpt-6-luna", "o1", "o3-mini", "openai/o4-mini", "ft:gpt-5:me"]
)
def test_a_model_that_reasons_counts_its_tokens_under_another_name(model: str) -> None:
    body = body_of(CHAT, model, {"max_tokens": 5})

    assert "max_tokens" not in body
    assert body["max_completion_tokens"] == 5


@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-4.1", "o100", "gpt-50", "my-gpt-5", "llama-o1"])
def test_another_model_keeps_max_tokens(model: str) -> None:
    assert body_of(CHAT, model, {"max_tokens": 5})["max_tokens"] == 5


REFUSED: Final[list[tuple[str, str, dict[str, Any], str]]] = [
    (CHAT, "gpt-4o-mini", {"top_k": 5}, "top_k"),
    (CHAT, "gpt-4o-mini", {"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
    (CHAT, "gpt-4o-mini", {"reasoning_effort": "low"}, "reasoning_effort"),
    (CHAT, "gpt-5-mini", {"temperature": 0.5}, "temperature"),
    (CHAT, "gpt-6-luna", {"top_p": 0.5}, "top_p"),
    (CHAT, "o4-mini", {"temperature": 1.0, "reasoning_effort": "low"}, "temperature"),
    (CHAT, "o3", {"stop_sequences": ["x"]}, "stop_sequences"),
    (CHAT, "gpt-4o-mini", {"parameters": {"stream": True}}, "stream"),
    (CHAT, "gpt-4o-mini", {"parameters": {"n": 2}}, "n"),
    (CHAT, "gpt-4o-mini", {"tools": [TOOL | {"cache_control": {"type": "ephemeral"}}]}, "tools.cache_control"),
    (
        CHAT,
        "gpt-4o-mini",
        {"prompt": None, "messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]},
        "messages[0].content[0]",
    ),
    (CHAT, "gpt-4o-mini", {"stop_sequences": ["x"], "parameters": {"stop": ["y"]}}, "stop"),
    (
        CHAT,
        "gpt-5-mini",
        {"max_tokens": 5, "parameters": {"max_completion_tokens": 9}},
        "max_completion_tokens",
    ),
    (
        CHAT,
        "gpt-4o-mini",
        {"max_tokens": 5, "parameters": {"max_completion_tokens": 9}},
        "max_completion_tokens",
    ),
    (RESPONSES, "gpt-4o-mini", {"max_tokens": 5, "parameters": {"max_output_tokens": 9}}, "max_output_tokens"),
    (RESPONSES, "gpt-4o-mini", {"top_k": 5}, "top_k"),
    (RESPONSES, "gpt-4o-mini", {"stop_sequences": ["x"]}, "stop_sequences"),
    (RESPONSES, "gpt-4o-mini", {"seed": 5}, "seed"),
    (RESPONSES, "gpt-5", {"temperature": 0.5}, "temperature"),
    (EMBEDDINGS, "text-embedding-3-small", {"system": "s"}, "system"),
    (EMBEDDINGS, "text-embedding-3-small", {"max_tokens": 5}, "max_tokens"),
    (EMBEDDINGS, "text-embedding-3-small", {"prompt": None, "messages": PICTURED}, "messages"),
]


@pytest.mark.parametrize(("endpoint", "model", "fields", "key"), REFUSED)
def test_what_cannot_be_sent_is_refused_by_its_key_the_model_and_the_way_out(
    endpoint: str, model: str, fields: dict[str, Any], key: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        body_of(endpoint, model, fields)

    told = str(caught.value)
    assert told.startswith(f"request.{key} cannot be sent to {model}: ")
    assert told.count(". ") >= 1, "no way out is told"


def test_sampling_is_for_models_that_reason_when_they_do_not() -> None:
    body = body_of(CHAT, "gpt-5-mini", {"temperature": 0.5, "reasoning_effort": "none"})

    assert (body["temperature"], body["reasoning_effort"]) == (0.5, "none")


def test_a_job_may_override_the_tables() -> None:
    """A server of one's own with the same API may take more."""
    dialect = a_dialect("openai", accepts=["top_k", "temperature", "max_tokens"])
    request = {"model": "gpt-5", "prompt": "hi", "top_k": 5, "temperature": 0.5, "max_tokens": 5}

    body = dialect.request_body(request)

    assert (body["top_k"], body["temperature"], body["max_tokens"]) == (5, 0.5, 5)


# OneRouter: standard Messages API parameters


def onerouter_body(**fields: Any) -> dict[str, Any]:
    job = Job(**{"dataset": "rows.parquet", "model": "gpt-4o-mini-batch", "prompt": "{text}", **fields})
    return a_dialect("onerouter").request_body(job.body)


def test_the_documented_parameters_stay_as_they_are() -> None:
    documented = {
        "max_tokens": 5,
        "system": "Be brief.",
        "stop_sequences": ["END"],
        "temperature": 1.0,
        "top_k": 1,
        "top_p": 1.0,
        "tools": [TOOL],
        "tool_choice": {"type": "any"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "metadata": {"run": "7"},
    }

    body = onerouter_body(**documented)

    assert body == {"model": "gpt-4o-mini-batch", "messages": [{"role": "user", "content": "{text}"}]} | documented


def test_openais_forms_become_the_documented_ones() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,{image}"}}
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [image]}]
    tools = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]

    body = onerouter_body(
        prompt=None, messages=messages, tools=tools, tool_choice="required", parameters={"stop": "END"}
    )

    assert body == {
        "model": "gpt-4o-mini-batch",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [PNG]}],
        "tools": [{"name": "f", "input_schema": SCHEMA}],
        "tool_choice": {"type": "any"},
        "stop_sequences": ["END"],
    }
    assert a_dialect("onerouter").request_body(body) == body


@pytest.mark.parametrize("key", ["response_format", "reasoning_effort", "seed"])
def test_what_is_not_documented_is_refused_and_may_be_let_through(key: str) -> None:
    value: Any = {"response_format": JSON, "reasoning_effort": "low", "seed": 5}[key]
    with pytest.raises(ConfigError, match=f"^request.{key} cannot be sent to gpt-4o-mini-batch: .*accepts"):
        onerouter_body(**{key: value})

    request = {"model": "m", "prompt": "hi", key: value}
    assert a_dialect("onerouter", accepts=[key]).request_body(request)[key] == value
