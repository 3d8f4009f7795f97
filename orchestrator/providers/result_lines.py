"""Parsers of result lines, for dialects to choose from: bytes in, the `custom_id` and the row's answer out.

A dialect makes one `ResultReader` of the shapes that its provider documents. A reader tries no other shapes.

Rule 1: every field accepts any JSON, so that a wrong type invalidates that field and never the line.
Rule 2: `UnreadableLine` is the only exception raised, and it quotes nothing.

    {"custom_id", "response": {"status_code", "request_id", "body"}, "error"}     OpenAI and many others
    {"custom_id", "result": {"type", "message" | "error"}}                        Anthropic: `result_lines`
    body: `chat` {"choices"} | `responses` {"output"} | `messages` {"content"} | `embedding` {"data"}
"""

from __future__ import annotations

import binascii
import json
import math
import re
from array import array
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import xxhash

from orchestrator.domain.reconcile import Answer
from orchestrator.domain.retry import is_retryable

MESSAGE_LENGTH_MAX: Final = 500
CODE_LENGTH_MAX: Final = 100
TOKENS_MAX: Final = 2**40
FLOAT_BYTES: Final = 4
TEXT_PARTS: Final = (None, "text", "output_text")
SURROGATE: Final = re.compile("[\ud800-\udfff]")


class UnreadableLine(ValueError):
    """The line names no row, or no shape is known for it; the message says which."""


# For fields that should be objects and may be anything else. Structs have gc=False: they are trees, without cycles.
_Plain = list[Any] | str | int | float | bool | None
_PlainOrObject = dict[str, Any] | str | int | float | bool | None


class _Part(msgspec.Struct, gc=False):
    type: Any = None
    text: Any = None
    refusal: Any = None


class _Message(msgspec.Struct, gc=False):
    content: list[_Part | _Plain] | _PlainOrObject = None
    refusal: Any = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message | _Plain = None
    text: Any = None
    finish_reason: Any = None
    error: Any = None


class _OutputItem(msgspec.Struct, gc=False):
    type: Any = None
    content: list[_Part | _Plain] | _PlainOrObject = None


class _Embedding(msgspec.Struct, gc=False):
    embedding: Any = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: Any = None
    completion_tokens: Any = None
    input_tokens: Any = None
    output_tokens: Any = None


class _Body(msgspec.Struct, gc=False):
    choices: list[_Choice | _Plain] | _PlainOrObject = None
    output: list[_OutputItem | _Plain] | _PlainOrObject = None
    content: list[_Part | _Plain] | _PlainOrObject = None
    data: list[_Embedding | _Plain] | _PlainOrObject = None
    usage: _Usage | _Plain = None
    id: Any = None
    status: Any = None
    incomplete_details: Any = None
    stop_reason: Any = None
    error: Any = None
    code: Any = None
    message: Any = None


class _Response(msgspec.Struct, gc=False):
    status_code: Any = None
    status: Any = None  # SIRAYA's name for it
    request_id: Any = None
    body: _Body | _Plain = None


class _Result(msgspec.Struct, gc=False):
    type: Any = None
    message: _Body | _Plain = None
    error: Any = None


class _Line(msgspec.Struct, gc=False):
    custom_id: Any = None
    response: _Response | _Plain | msgspec.UnsetType = msgspec.UNSET
    result: _Result | _Plain | msgspec.UnsetType = msgspec.UNSET
    error: Any = None


class _RawResponse(msgspec.Struct, gc=False):
    body: msgspec.Raw = msgspec.Raw()


class _RawLine(msgspec.Struct, gc=False):
    response: _RawResponse | _Plain = None
    result: msgspec.Raw = msgspec.Raw()


_LINE: Final = msgspec.json.Decoder(_Line)
_RAW_LINE: Final = msgspec.json.Decoder(_RawLine)


class _Exchange(msgspec.Struct, gc=False):
    """A line, whatever its dialect."""

    status: int | None
    body: _Body | _Plain
    error: Any
    request_id: Any


_Content = tuple[str | None, str | None, bytes | None]  # text, finish reason, vector
BodyShape = Callable[[_Body], _Content | None]


@dataclass(frozen=True, slots=True)
class ResultReader:
    """Reads the result lines of one dialect.

    `bodies` are the shapes that a body may have, in the order in which they are tried; with `result_lines`, lines may
    have Anthropic's form, too.
    """

    bodies: tuple[BodyShape, ...]
    result_lines: bool = False

    def __call__(self, line: bytes, *, keep_raw: bool) -> tuple[str, Answer]:
        """Return the `custom_id` in the line, and the answer for that row. Raises UnreadableLine."""
        sound, decoded = _decoded(line)
        name = decoded.custom_id
        if type(name) is not str:
            raise UnreadableLine("no custom_id")
        exchange = _exchange(decoded, result_lines=self.result_lines)
        content = None if _has_failed(exchange) else self._content(exchange.body)
        text, finish_reason, embedding = content or (None, None, None)
        code, message, retryable = (None, None, False) if content else _failure(exchange)
        input_tokens, output_tokens = _tokens(exchange.body)
        return name, Answer(
            succeeded=content is not None,
            text=text,
            finish_reason=finish_reason,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            request_id=_request_id(exchange),
            error_code=code,
            error_message=message,
            retryable=retryable,
            digest=xxhash.xxh3_64_intdigest(line),
            raw=_raw(sound) if keep_raw else None,
            embedding=embedding,
        )

    def _content(self, body: _Body | _Plain) -> _Content | None:
        if type(body) is not _Body:
            return None
        for shape in self.bodies:
            content = shape(body)
            if content is not None:
                return content
        return None


def _decoded(line: bytes) -> tuple[bytes, _Line]:
    """Return the line, repaired where it had to be, and its fields."""
    try:
        if not line.isascii():
            line.decode()  # msgspec does not look into the strings it skips
        # Which of two names is meant cannot be known. An escaped quote, as in an answer's text, does not match this.
        if line.count(b'"custom_id"') > 1 and _has_two_names(line):
            raise UnreadableLine("two custom_ids")
        try:
            return line, _LINE.decode(line)
        except msgspec.MsgspecError:
            line = _repaired(line)
            return line, _LINE.decode(line)
    except UnreadableLine:
        raise
    except UnicodeDecodeError:
        raise UnreadableLine("not UTF-8") from None
    except RecursionError:
        raise UnreadableLine("nested too deep") from None
    except ValueError:
        raise UnreadableLine("not a JSON object") from None


def _has_two_names(line: bytes) -> bool:
    pairs = json.loads(line.decode(), object_pairs_hook=list)
    names = [pair[1] for pair in pairs if type(pair) is tuple and pair[0] == "custom_id"]
    return any(name != names[0] for name in names)


def _repaired(line: bytes) -> bytes:
    """Return the line with U+FFFD for lone surrogates, and null for NaN and for huge numbers.

    Python's parser accepts those, msgspec and Arrow do not. Raises ValueError where it is still no JSON.
    """
    value = json.loads(line.decode(), parse_int=_whole, parse_float=_finite, parse_constant=lambda _: None)
    return SURROGATE.sub("\ufffd", json.dumps(value, ensure_ascii=False)).encode()


def _whole(digits: str) -> int | None:
    return int(digits) if len(digits) < 20 else None


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _exchange(decoded: _Line, *, result_lines: bool) -> _Exchange:
    response, error = decoded.response, decoded.error
    result = decoded.result if result_lines else msgspec.UNSET
    if type(response) is _Response:
        status = _status(response.status if response.status_code is None else response.status_code)
        return _Exchange(status, response.body, error, response.request_id)
    if type(result) is _Result:
        if result.type == "succeeded":
            return _Exchange(None, result.message, error, None)
        if result.type in ("errored", "canceled", "expired"):
            request_id = result.error.get("request_id") if type(result.error) is dict else None
            return _Exchange(None, None, result.error or {"type": result.type}, request_id)
    elif response is msgspec.UNSET and result is msgspec.UNSET and not error:
        raise UnreadableLine("unknown shape")
    return _Exchange(None, None, error, None)


def _status(value: Any) -> int | None:
    if type(value) is str and value.isdecimal() and len(value) == 3:
        return int(value)
    return int(value) if type(value) in (int, float) else None


def _has_failed(exchange: _Exchange) -> bool:
    """Return whether the line is a failure; a request that was never answered has status 0."""
    status = exchange.status
    return bool(exchange.error) or (status is not None and (status >= 400 or status <= 0)) or bool(_inner(exchange))


def _inner(exchange: _Exchange) -> Any:
    """Return the error inside the body: some gateways put errors in a 200."""
    body = exchange.body
    if type(body) is not _Body:
        return None
    if not body.error and type(body.choices) is list and body.choices and type(body.choices[0]) is _Choice:
        return body.choices[0].error
    return body.error


def _failure(exchange: _Exchange) -> tuple[str, str, bool]:
    """Return (code, message, retryable) of an exchange without an answer."""
    status, body = exchange.status, exchange.body
    error = exchange.error or _inner(exchange)
    if not error and type(body) is _Body:
        error = {"code": body.code, "message": body.message}
    code, message = _details(error or (body if type(body) is str else None))
    if not code and status is not None and (status >= 400 or status <= 0):
        code = str(status)
    if not code and not message:
        return "unreadable_body", "the line holds no answer that could be read, and no error", True
    if status is None or 0 < status < 400:
        status = int(code) if code.isdecimal() and len(code) == 3 else None
    elif status <= 0:  # never answered: treated as unavailable
        status = 503
    return code or "error", message, is_retryable(status, code)


def _details(error: Any) -> tuple[str, str]:
    """Return (code, message); Anthropic and vLLM wrap the error in another."""
    for _ in range(3):
        if type(error) is dict and error.get("error"):
            error = error["error"]
    if type(error) is not dict:
        return ("", _clipped(error, MESSAGE_LENGTH_MAX)) if type(error) is str else (_clipped(error), "")
    code = _clipped(error.get("code")) or _clipped(error.get("type"))
    message = error.get("message")
    return code, _clipped(message, MESSAGE_LENGTH_MAX) if type(message) is str else ""


def _clipped(value: Any, length_max: int = CODE_LENGTH_MAX) -> str:
    """Return a string or a whole number as text, for use as a code; None for anything else."""
    return str(value)[:length_max] if type(value) in (str, int) else ""


def chat(body: _Body) -> _Content | None:
    """Read a chat completion: `{"choices": [{"message", "finish_reason"}]}`; or an older one with a `text`."""
    if type(body.choices) is not list or not body.choices:
        return None
    choice = body.choices[0]
    if type(choice) is not _Choice:
        return None
    message = choice.message
    if type(message) is _Message:
        return _text_of(message.content, message.refusal, choice.finish_reason)
    return _text_of(choice.text, None, choice.finish_reason) if type(choice.text) is str else None


def responses(body: _Body) -> _Content | None:
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


def messages(body: _Body) -> _Content | None:
    """Read an answer of the Messages API: `{"content": [blocks], "stop_reason"}`."""
    return None if body.content is None else _text_of(body.content, None, body.stop_reason)


def embedding(body: _Body) -> _Content | None:
    """Read `{"data": [{"embedding": numbers or base64}]}`; the vector is returned as little-endian 32-bit floats."""
    if type(body.data) is not list or len(body.data) != 1 or type(body.data[0]) is not _Embedding:
        return None
    vector = body.data[0].embedding
    try:
        content = b64decode(vector, validate=True) if type(vector) is str else array("f", vector).tobytes()
    except (binascii.Error, TypeError, ValueError, OverflowError):
        return None
    return (None, None, content) if content and len(content) % FLOAT_BYTES == 0 else None


def _text_of(content: Any, refusal: Any, finish_reason: Any) -> _Content | None:
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


def _tokens(body: _Body | _Plain) -> tuple[int | None, int | None]:
    if type(body) is not _Body or type(body.usage) is not _Usage:
        return None, None
    usage = body.usage
    given = usage.input_tokens if usage.prompt_tokens is None else usage.prompt_tokens
    taken = usage.output_tokens if usage.completion_tokens is None else usage.completion_tokens
    return _count(given), _count(taken)


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= TOKENS_MAX else None


def _request_id(exchange: _Exchange) -> str | None:
    """Return the request id, for support; OpenAI often leaves `request_id` empty, then the body's id is used."""
    if type(exchange.request_id) is str and exchange.request_id:
        return exchange.request_id[:CODE_LENGTH_MAX]
    body = exchange.body
    return body.id[:CODE_LENGTH_MAX] if type(body) is _Body and type(body.id) is str and body.id else None


def _raw(line: bytes) -> str | None:
    """Return the JSON of the body (or of Anthropic's result) as it stands in the line; None where that is null."""
    decoded = _RAW_LINE.decode(line)
    raw = bytes(decoded.response.body if type(decoded.response) is _RawResponse else decoded.result)
    return raw.decode() if raw not in (b"", b"null") else None
