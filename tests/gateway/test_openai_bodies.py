"""Request bodies of OpenAI's dialect: refused and answered as the vendor does, by the vendor's own types."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import BaseModel

from orchestrator.gateway.openai_bodies import CHAT, EMBEDDINGS, RESPONSES, Refusal, refusal_of
from tests.gateway.in_process import a_gateway
from tests.gateway.openai_scenes import a_line, answers, ended, failures
from tests.gateway.vendor_bodies import PATH, vendor_schemas, without_order
from tests.lazily import Lazily

types = Lazily("openai.types")

USER: Final = [{"role": "user", "content": "What is the capital of France?"}]
BODIES: Final[dict[str, dict[str, Any]]] = {
    CHAT: {"model": "gpt-4o-mini", "messages": USER},
    RESPONSES: {"model": "gpt-4o-mini", "input": "What is the capital of France?"},
    EMBEDDINGS: {"model": "text-embedding-3-small", "input": "What is the capital of France?"},
}
ANSWERS: Final[dict[str, Callable[[], type[BaseModel]]]] = {
    CHAT: lambda: types.chat.ChatCompletion,
    RESPONSES: lambda: types.responses.Response,
    EMBEDDINGS: lambda: types.CreateEmbeddingResponse,
}
FUNCTION: Final = {"name": "f", "parameters": {"type": "object", "properties": {}}}
SCHEMA: Final = {"type": "object", "properties": {"mood": {"enum": ["good"]}}}


def run(tmp_path: Path, endpoint: str, **changes: Any) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Run a body in a batch of its own; return the batch and the row's line, of whichever file it is in."""
    line = a_line(url=endpoint, body=BODIES[endpoint] | changes)
    with a_gateway(tmp_path) as gateway:
        batch = ended(gateway, [line], endpoint=endpoint)
        lines = [
            *(answers(gateway, batch) if batch["output_file_id"] else []),
            *(failures(gateway, batch) if batch["error_file_id"] else []),
        ]
        assert gateway.bill()["answers"] == (batch["output_file_id"] is not None)
    return batch, lines[0] if lines else None


def body_of(tmp_path: Path, endpoint: str, **changes: Any) -> dict[str, Any]:
    """Return the body of an answer, which the vendor's type of it must take without coercion."""
    _, line = run(tmp_path, endpoint, **changes)
    assert line is not None
    assert line["response"]["status_code"] == 200, line
    body: dict[str, Any] = line["response"]["body"]
    shown = json.loads(json.dumps(body))
    for each in shown["data"] if changes.get("encoding_format") == "base64" else ():
        each["embedding"] = floats_of(each["embedding"])  # as the vendor's client does before it parses
    parsed = ANSWERS[endpoint]().model_validate(shown, strict=True)
    assert not unknown_keys(parsed)
    return body


def floats_of(packed: str) -> list[float]:
    """Little-endian float32 in base64."""
    content = base64.b64decode(packed)
    return list(struct.unpack(f"<{len(content) // 4}f", content))


def unknown_keys(value: Any) -> list[str]:
    """Keys that the vendor's types do not name: they take any, and keep those apart."""
    if isinstance(value, list):
        return [key for each in value for key in unknown_keys(each)]
    if not isinstance(value, BaseModel):
        return []
    return [*(value.model_extra or {}), *unknown_keys([getattr(value, name) for name in type(value).model_fields])]


def test_the_schemas_are_those_of_the_installed_client() -> None:
    """If the vendor's types have changed: .venv/bin/python -m tests.gateway.vendor_bodies, and read the diff."""
    assert without_order(json.loads(PATH.read_text(encoding="utf-8"))) == without_order(vendor_schemas())


@pytest.mark.parametrize(
    ("changes", "message", "param", "code"),
    [
        ({"top_k": 1}, "Unrecognized request argument supplied: top_k", None, None),
        (
            {"system": "x", "stop_sequences": ["x"]},
            "Unrecognized request arguments supplied: stop_sequences, system",
            None,
            None,
        ),
        ({"model": "gpt-5", "thinking": {}}, "Unknown parameter: 'thinking'.", "thinking", "unknown_parameter"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {}}]}]},
            "Unknown parameter: 'messages[0].content[0].cache_control'.",
            "messages[0].content[0].cache_control",
            "unknown_parameter",
        ),
        (
            {"model": "gpt-6-luna", "max_tokens": 9},
            (
                "Unsupported parameter: 'max_tokens' is not supported with this model."
                " Use 'max_completion_tokens' instead."
            ),
            "max_tokens",
            "unsupported_parameter",
        ),
        (
            {"model": "o3", "temperature": 0},
            (
                "Unsupported value: 'temperature' does not support 0 with this model."
                " Only the default (1) value is supported."
            ),
            "temperature",
            "unsupported_value",
        ),
        (
            {"model": "gpt-5-mini", "top_p": 0.5},
            "Unsupported parameter: 'top_p' is not supported with this model.",
            "top_p",
            "unsupported_parameter",
        ),
        ({"reasoning_effort": "low"}, "Unrecognized request argument supplied: reasoning_effort", None, None),
        (
            {"metadata": {"a": "b"}},
            "The 'metadata' parameter is only allowed when 'store' is enabled.",
            "metadata",
            None,
        ),
        (
            {"messages": [{"role": "user", "content": {"text": "x"}}]},
            "Invalid type for 'messages[0].content': expected one of a string or an array, but got an object instead.",
            "messages[0].content",
            "invalid_type",
        ),
        (
            {"max_tokens": "9"},
            "Invalid type for 'max_tokens': expected an integer, but got a string instead.",
            "max_tokens",
            "invalid_type",
        ),
        (
            {"max_tokens": 0},
            "Invalid 'max_tokens': integer below minimum value. Expected a value >= 1, but got 0 instead.",
            "max_tokens",
            "integer_below_min_value",
        ),
        (
            {"messages": [{"role": "model", "content": "x"}]},
            (
                "Invalid value: 'model'. Supported values are:"
                " 'developer', 'system', 'user', 'assistant', 'tool', and 'function'."
            ),
            "messages[0].role",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "user"}]},
            "Missing required parameter: 'messages[0].content'.",
            "messages[0].content",
            "missing_required_parameter",
        ),
        (
            {"tools": [{"name": "f", "input_schema": {}}]},
            "Missing required parameter: 'tools[0].function'.",
            "tools[0].function",
            "missing_required_parameter",
        ),
        (
            {"tools": []},
            "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            "tools",
            "empty_array",
        ),
        (
            {"tool_choice": {"type": "tool", "name": "f"}},
            "Invalid value: 'tool'. Supported values are: 'allowed_tools', 'function', and 'custom'.",
            "tool_choice.type",
            "invalid_value",
        ),
        ({"stream": True}, "Invalid value: 'true'. Supported values are: 'false'.", "stream", "invalid_value"),
    ],
)
def test_a_chat_body_that_openai_refuses_is_a_400_of_its_row_in_openais_words(
    tmp_path: Path, changes: dict[str, Any], message: str, param: str | None, code: str | None
) -> None:
    """The batch completes, nothing is billed, and the line is in the error file with `error: null`."""
    batch, line = run(tmp_path, CHAT, **changes)

    assert (batch["status"], batch["request_counts"]) == ("completed", {"total": 1, "completed": 0, "failed": 1})
    assert line is not None
    assert (line["error"], line["response"]["status_code"]) == (None, 400)
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    assert line["response"]["body"] == {"error": error}


@pytest.mark.parametrize(
    ("endpoint", "changes", "param"),
    [
        (RESPONSES, {"messages": USER}, "messages"),
        (RESPONSES, {"max_tokens": 100}, "max_tokens"),
        (RESPONSES, {"max_output_tokens": 15}, "max_output_tokens"),
        (RESPONSES, {"model": "gpt-5", "temperature": 0}, "temperature"),
        (
            RESPONSES,
            {"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
            "input[0].content[0].type",
        ),
        (RESPONSES, {"input": [{"role": "user", "content": "x", "name": "y"}]}, "input[0].name"),
        (RESPONSES, {"text": {"format": {"type": "json_schema", "schema": SCHEMA}}}, "text.format.name"),
        (RESPONSES, {"tools": [{"type": "function", "function": FUNCTION}]}, "tools[0].name"),
        (RESPONSES, {"input": 7}, "input"),
        (EMBEDDINGS, {"input": ["a", 1]}, "input[1]"),
        (EMBEDDINGS, {"input": []}, "input"),
        (EMBEDDINGS, {"input": ["a"] * 2_049}, "input"),
        (EMBEDDINGS, {"dimensions": 0}, "dimensions"),
        (EMBEDDINGS, {"encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_bodies_of_the_other_endpoints_are_refused_likewise(
    tmp_path: Path, endpoint: str, changes: dict[str, Any], param: str
) -> None:
    batch, line = run(tmp_path, endpoint, **changes)

    assert batch["request_counts"]["failed"] == 1
    assert line is not None
    error = line["response"]["body"]["error"]
    assert (line["response"]["status_code"], error["param"]) == (400, param)


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ({"model": "text-embedding-ada-002", "dimensions": 8}, "This model does not support specifying dimensions."),
        (
            {"dimensions": 1_537},
            "Invalid value for 'dimensions' = 1537. Must be less than or equal to 1536.",
        ),
        ({"input_type": "query"}, "Unrecognized request argument supplied: input_type"),
    ],
)
def test_an_embedding_that_a_model_cannot_give_is_refused(endpoint: dict[str, Any], message: str) -> None:
    refusal = refusal_of(EMBEDDINGS, BODIES[EMBEDDINGS] | endpoint)

    assert refusal == Refusal(status=400, message=message)


@pytest.mark.parametrize(
    ("endpoint", "changes"),
    [
        (CHAT, {"max_tokens": 100, "temperature": 0, "top_p": 0.5, "stop": ["x"], "seed": 1, "n": 1, "user": "u"}),
        (CHAT, {"model": "gpt-5", "max_completion_tokens": 100, "temperature": 1, "reasoning_effort": "low"}),
        (CHAT, {"model": "gpt-5.1", "temperature": 0, "reasoning_effort": "none"}),
        (CHAT, {"model": "gpt-4o", "max_tokens": None, "temperature": None, "reasoning_effort": None}),
        (CHAT, {"tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "auto"}),
        (
            CHAT,
            {
                "tools": [{"type": "function", "function": FUNCTION}],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
            },
        ),
        (CHAT, {"messages": [{"role": "system", "content": "x"}, *USER, {"role": "assistant", "content": None}]}),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]}),
        (CHAT, {"metadata": {"a": "b"}, "store": True}),
        (CHAT, {"response_format": {"type": "json_schema", "json_schema": {"name": "mood", "schema": SCHEMA}}}),
        (RESPONSES, {"instructions": "Be brief.", "max_output_tokens": 16, "metadata": {"a": "b"}}),
        (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}]}),
        (RESPONSES, {"model": "gpt-6-luna", "reasoning": {"effort": "none"}, "temperature": 0}),
        (RESPONSES, {"tools": [{"type": "function", "strict": True, **FUNCTION}], "tool_choice": "required"}),
        (EMBEDDINGS, {"input": ["a", "b"], "dimensions": 8}),
        (EMBEDDINGS, {"input": [[1, 2], [3]], "encoding_format": "base64"}),
        (EMBEDDINGS, {"model": "a-model-of-somebody", "input": [1, 2, 3]}),
    ],
)
def test_a_body_that_openai_takes_is_answered_in_the_vendors_own_shape(
    tmp_path: Path, endpoint: str, changes: dict[str, Any]
) -> None:
    assert body_of(tmp_path, endpoint, **changes)["model"] == changes.get("model", BODIES[endpoint]["model"])


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [(CHAT, "model"), (CHAT, "messages"), (RESPONSES, "model"), (EMBEDDINGS, "model"), (EMBEDDINGS, "input")],
)
def test_a_body_without_a_key_it_must_have_fails_the_whole_batch(tmp_path: Path, endpoint: str, name: str) -> None:
    """As a public report shows OpenAI's answer: validation fails, with the line and `body.messages` in errors.data."""
    body = {key: value for key, value in BODIES[endpoint].items() if key != name}
    with a_gateway(tmp_path) as gateway:
        sound = a_line("sound", url=endpoint, body=BODIES[endpoint])
        batch = ended(gateway, [sound, a_line("bad", url=endpoint, body=body)], endpoint=endpoint)

    message = f"Missing required parameter: '{name}'."
    error = {"code": "missing_required_parameter", "line": 2, "message": message, "param": f"body.{name}"}
    assert (batch["status"], batch["errors"]["data"]) == ("failed", [error])


def test_a_response_has_its_text_and_its_usage(tmp_path: Path) -> None:
    body = body_of(tmp_path, RESPONSES, instructions="Be brief.")
    response = types.responses.Response.model_validate(body)

    assert response.output_text == "[simulated] What is the capital of France?"
    assert (response.status, response.incomplete_details) == ("completed", None)
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (10, 7, 17)


def test_a_response_that_is_cut_is_incomplete(tmp_path: Path) -> None:
    wanted = {"format": {"type": "json_schema", "name": "x", "schema": wide_schema(20)}}
    response = types.responses.Response.model_validate(body_of(tmp_path, RESPONSES, max_output_tokens=16, text=wanted))

    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert len(response.output_text.split()) == 16


def wide_schema(count: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"field{number}": {"type": "string"} for number in range(count)}}


def test_a_response_fits_the_schema_it_was_asked_for(tmp_path: Path) -> None:
    wanted = {"format": {"type": "json_schema", "name": "mood", "schema": SCHEMA}}
    response = types.responses.Response.model_validate(body_of(tmp_path, RESPONSES, text=wanted))

    assert json.loads(response.output_text) == {"mood": "good"}


@pytest.mark.parametrize("key", ["max_tokens", "max_completion_tokens"])
def test_a_chat_answer_is_cut_at_either_bound(tmp_path: Path, key: str) -> None:
    [choice] = body_of(tmp_path, CHAT, **{key: 3})["choices"]

    assert (choice["message"]["content"], choice["finish_reason"]) == ("[simulated] What is", "length")


def test_embeddings_are_vectors_of_length_one_in_the_order_of_the_inputs(tmp_path: Path) -> None:
    both = body_of(tmp_path, EMBEDDINGS, input=["one", "two"], dimensions=16)
    [again] = body_of(tmp_path / "again", EMBEDDINGS, input="two", dimensions=16)["data"]
    first, second = both["data"]

    assert [first["index"], second["index"]] == [0, 1]
    assert len(first["embedding"]) == 16
    assert math.isclose(math.hypot(*first["embedding"]), 1.0, rel_tol=1e-6)
    assert second["embedding"] == again["embedding"] != first["embedding"]
    assert both["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


def test_embeddings_in_base64_are_the_same_numbers_as_little_endian_floats(tmp_path: Path) -> None:
    [plain] = body_of(tmp_path, EMBEDDINGS)["data"]
    [packed] = body_of(tmp_path / "packed", EMBEDDINGS, encoding_format="base64")["data"]

    assert floats_of(packed["embedding"]) == pytest.approx(plain["embedding"], abs=1e-7)


def test_a_batch_has_the_endpoint_it_was_created_with(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        line = a_line(url=EMBEDDINGS, body=BODIES[EMBEDDINGS])
        batch = ended(gateway, [line], endpoint=EMBEDDINGS)
        mixed = ended(gateway, [line, a_line("other")], endpoint=EMBEDDINGS)

    assert (batch["endpoint"], batch["status"]) == (EMBEDDINGS, "completed")
    assert (mixed["status"], mixed["errors"]["data"][0]["code"]) == ("failed", "url_mismatch")
