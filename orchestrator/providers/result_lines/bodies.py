"""The bodies of answers: text, finish reason, vector, tokens.

Each shape is a function that a dialect can choose:

    `chat` {"choices"} | `responses` {"output"} | `messages` {"content"} | `embedding` {"data"}
"""

from __future__ import annotations

import binascii
from array import array
from base64 import b64decode
from collections.abc import Callable
from typing import Any, Final

import msgspec

CODE_LENGTH_MAX: Final = 100
TOKENS_MAX: Final = 2**40
FLOAT_BYTES: Final = 4
TEXT_PARTS: Final = (None, "text", "output_text")


# For fields that should be objects and may be anything else. Structs have gc=False: they are trees, without cycles.
Plain = list[Any] | str | int | float | bool | None
_PlainOrObject = dict[str, Any] | str | int | float | bool | None


class _Part(msgspec.Struct, gc=False):
    type: Any = None
    text: Any = None
    refusal: Any = None


class _Message(msgspec.Struct, gc=False):
    content: list[_Part | Plain] | _PlainOrObject = None
    refusal: Any = None


class Choice(msgspec.Struct, gc=False):
    message: _Message | Plain = None
    text: Any = None
    finish_reason: Any = None
    error: Any = None


class _OutputItem(msgspec.Struct, gc=False):
    type: Any = None
    content: list[_Part | Plain] | _PlainOrObject = None


class _Embedding(msgspec.Struct, gc=False):
    embedding: Any = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: Any = None
    completion_tokens: Any = None
    input_tokens: Any = None
    output_tokens: Any = None


class Body(msgspec.Struct, gc=False):
    choices: list[Choice | Plain] | _PlainOrObject = None
    output: list[_OutputItem | Plain] | _PlainOrObject = None
    content: list[_Part | Plain] | _PlainOrObject = None
    data: list[_Embedding | Plain] | _PlainOrObject = None
    usage: _Usage | Plain = None
    id: Any = None
    status: Any = None
    incomplete_details: Any = None
    stop_reason: Any = None
    error: Any = None
    code: Any = None
    message: Any = None


Content = tuple[str | None, str | None, bytes | None]  # text, finish reason, vector
BodyShape = Callable[[Body], Content | None]


def chat(body: Body) -> Content | None:
    """Read a chat completion: `{"choices": [{"message", "finish_reason"}]}`; or an older one with a `text`."""
    if type(body.choices) is not list or not body.choices:
        return None
    choice = body.choices[0]
    if type(choice) is not Choice:
        return None
    message = choice.message
    if type(message) is _Message:
        return _text_of(message.content, message.refusal, choice.finish_reason)
    return _text_of(choice.text, None, choice.finish_reason) if type(choice.text) is str else None


def responses(body: Body) -> Content | None:
    """Read an answer of the Responses API: `{"output": [items], "status", "incomplete_details"}`.

    Only message items have text. One that only calls functions finishes with "tool_calls", one that was cut by
    `max_output_tokens` with "length", as in a chat completion.
    """
    if type(body.output) is not list or body.status in ("failed", "cancelled"):
        return None
    items = [item for item in body.output if type(item) is _OutputItem]
    messages = [item for item in items if item.type == "message"]
    parts = [part for item in messages if type(item.content) is list for part in item.content]
    details = body.incomplete_details
    reason = details.get("reason") if type(details) is dict else None
    if reason == "max_output_tokens":
        reason = "length"
    if not reason and not messages and any(item.type == "function_call" for item in items):
        reason = "tool_calls"
    return _text_of(parts, None, reason or ("length" if body.status == "incomplete" else body.status))


def messages(body: Body) -> Content | None:
    """Read an answer of the Messages API: `{"content": [blocks], "stop_reason"}`."""
    return None if body.content is None else _text_of(body.content, None, body.stop_reason)


def embedding(body: Body) -> Content | None:
    """Read `{"data": [{"embedding": numbers or base64}]}`; the vector is returned as little-endian 32-bit floats."""
    if type(body.data) is not list or len(body.data) != 1 or type(body.data[0]) is not _Embedding:
        return None
    vector = body.data[0].embedding
    try:
        content = b64decode(vector, validate=True) if type(vector) is str else array("f", vector).tobytes()
    except (binascii.Error, TypeError, ValueError, OverflowError):
        return None
    return (None, None, content) if content and len(content) % FLOAT_BYTES == 0 else None


def _text_of(content: Any, refusal: Any, finish_reason: Any) -> Content | None:
    """Return the text of a content, with its finish reason; a refusal is a text too, and then the reason."""
    if type(content) is list:
        parts = [part for part in content if type(part) is _Part]
        texts = [part.text for part in parts if part.type in TEXT_PARTS]
        refusal = refusal or next((part.refusal for part in parts if part.refusal), None)
        content = "".join(text for text in texts if type(text) is str)
    elif content is not None and type(content) is not str:
        return None
    if not content and type(refusal) is str and refusal:
        return refusal, "refusal", None
    return content or "", finish_reason[:CODE_LENGTH_MAX] if type(finish_reason) is str else None, None


def tokens(body: Body | Plain) -> tuple[int | None, int | None]:
    """Return the counts of input and of output tokens, as far as the body has them."""
    if type(body) is not Body or type(body.usage) is not _Usage:
        return None, None
    usage = body.usage
    given = usage.input_tokens if usage.prompt_tokens is None else usage.prompt_tokens
    taken = usage.output_tokens if usage.completion_tokens is None else usage.completion_tokens
    return _count(given), _count(taken)


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= TOKENS_MAX else None
