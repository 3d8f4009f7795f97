"""Parameters of messages: refused and answered as the vendor does, by the vendor's own types."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from pydantic import TypeAdapter, ValidationError

from orchestrator.gateway.anthropic_bodies import OLD_VERSION, VERSION, refusal_of
from orchestrator.gateway.anthropic_service import FORM
from orchestrator.gateway.openai_bodies import Refusal
from orchestrator.gateway.simulated import answer_anthropic
from tests.adapters.test_anthropic import body as our_body
from tests.gateway.vendor_bodies import ANTHROPIC_PATH, anthropic_schemas, message_params, without_order
from tests.lazily import Lazily

anthropic = Lazily("anthropic")

MODEL: Final = "claude-haiku-5-5"
USER: Final = [{"role": "user", "content": "What is the capital of France?"}]
PARAMS: Final[dict[str, Any]] = {"model": MODEL, "max_tokens": 64, "messages": USER}
PDF: Final = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "eA=="}}
CITED: Final = {"type": "text", "text": "x", "citations": [{"type": "char_location"}]}


def words(version: str = VERSION, **changes: Any) -> str:
    """Return the vendor's words for parameters with these changes; "" where they are taken."""
    params = {key: value for key, value in (PARAMS | changes).items() if value is not ...}
    refusal = refusal_of(params, version)
    return "" if refusal is None else refusal.message


def test_the_schema_is_that_of_the_installed_client() -> None:
    """If the vendor's types have changed: .venv/bin/python -m tests.gateway.vendor_bodies, and read the diff."""
    kept = json.loads(ANTHROPIC_PATH.read_text(encoding="utf-8"))
    assert without_order(kept) == without_order(anthropic_schemas()), anthropic.__version__


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": ...}, "max_tokens: Field required"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
        ({"messages": []}, "messages: at least 1 item is required"),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
        ({"seed": 7}, "seed: Extra inputs are not permitted"),
        ({"temperature": 1.0}, "temperature: Extra inputs are not permitted"),
        ({"stop": ["x"]}, "stop: Extra inputs are not permitted"),
        (
            {"tool_choice": {"type": "required"}},
            "tool_choice.type: Input should be 'auto' or 'any' or 'tool' or 'none'",
        ),
        ({"output_config": {"effort": "none"}}, "output_config.effort: Input should be 'low'"),
        ({"stream": False}, "stream: not supported in batches"),
        (
            {"messages": [*USER, {"role": "assistant", "content": [PDF]}]},
            "messages.1.content.0: document blocks are not",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages.0.content"),
    ],
)
def test_what_the_vendor_refuses_is_refused_in_its_words(changes: dict[str, Any], message: str) -> None:
    assert words(**changes).startswith(message)


@pytest.mark.parametrize(
    ("model", "message"),
    [("claude-opus-4-6", ""), ("claude-3-5-haiku-20241022", ""), ("claude-opus-4-7", "`top_k` is deprecated")],
)
def test_the_old_version_takes_sampling_for_models_up_to_4_6(model: str, message: str) -> None:
    assert words(OLD_VERSION, model=model, top_k=3).startswith(message)
    assert bool(words(OLD_VERSION, model=model, top_k=3)) == bool(message)
    assert words(OLD_VERSION, messages=[*USER, {"role": "assistant", "content": [PDF]}]) == ""


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"messages": [{"role": "system", "content": "Be brief."}, *USER], "stop": "END"},
        {"tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]},
        {"tools": [{"name": "look", "input_schema": {"type": "object"}}], "tool_choice": "required"},
        {"tool_choice": {"type": "function", "function": {"name": "look"}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "m", "schema": {"type": "object"}}}},
        {"reasoning_effort": "high", "thinking": {"type": "adaptive"}, "metadata": {"user_id": "u"}},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.example/b"}}]}
            ]
        },
        {"messages": [{"role": "user", "content": [PDF, {"type": "text", "text": "What is it?"}]}]},
    ],
)
def test_what_our_dialect_sends_is_what_the_vendors_types_take(request_: dict[str, Any]) -> None:
    made = PARAMS | our_body({"messages": USER} | request_)

    assert refusal_of(made, VERSION) is None
    try:
        TypeAdapter(message_params()).validate_python(made)
    except ValidationError as error:  # pragma: no cover - only for its message
        pytest.fail(str(error))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_tokens": 2},
        {
            "output_config": {
                "format": {
                    "type": "json_schema",
                    "schema": {"type": "object", "properties": {"mood": {"enum": ["good"]}}},
                }
            }
        },
    ],
)
def test_an_answer_is_a_message_by_the_vendors_type(changes: dict[str, Any]) -> None:
    answer = answer_anthropic(VERSION, json.dumps(PARAMS | changes).encode())
    assert not isinstance(answer, Refusal)
    line = FORM.answer("row-0", answer, "r")

    message = anthropic.types.Message.model_validate(line["result"]["message"], strict=True)
    assert message.stop_reason == ("max_tokens" if "max_tokens" in changes else "end_turn")
    assert not message.model_extra
