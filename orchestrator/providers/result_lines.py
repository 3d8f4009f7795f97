"""One result line, whatever its dialect: the row it names, and what it says of it.

Rule 1: every field admits any JSON, so that a wrong type costs that field and never the line.
Rule 2: the dialects are told apart by their keys, not by who was asked: gateways pass on what they are given.
Rule 3: `UnreadableLine` is the only thing raised, and it quotes nothing.

    {"custom_id", "response": {"status_code", "request_id", "body"}, "error"}     OpenAI and its many kin
    {"custom_id", "result": {"type", "message" | "error"}}                        Anthropic
    body: chat completion {"choices"} | Responses {"output"} | Messages {"content"}
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

import msgspec
import xxhash

from orchestrator.domain.reconcile import Answer
from orchestrator.domain.retry import is_retryable

MESSAGE_LENGTH_MAX: Final = 500
CODE_LENGTH_MAX: Final = 100
TOKENS_MAX: Final = 2**40
TEXT_PARTS: Final = (None, "text", "output_text")
SURROGATE: Final = re.compile("[\ud800-\udfff]")


class UnreadableLine(ValueError):
    """The line names no row, or no shape is known for it; the message says which."""


# What a field may be that should be an object and is not. Structs have gc=False: they are trees, and never cycles.
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


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: Any = None
    completion_tokens: Any = None
    input_tokens: Any = None
    output_tokens: Any = None


class _Body(msgspec.Struct, gc=False):
    choices: list[_Choice | _Plain] | _PlainOrObject = None
    output: list[_OutputItem | _Plain] | _PlainOrObject = None
    content: list[_Part | _Plain] | _PlainOrObject = None
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
    status: Any = None  # SIRAYA's word for it
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


def read_line(line: bytes, *, keep_raw: bool) -> tuple[str, Answer]:
    """Return the name in the line, and what it says of that row. Raises UnreadableLine."""
    sound, decoded = _decoded(line)
    name = decoded.custom_id
    if type(name) is not str:
        raise UnreadableLine("no custom_id")
    exchange = _exchange(decoded)
    provider_message = None if _has_failed(exchange) else _provider_message(exchange.body)
    text, finish_reason = provider_message or (None, None)
    code, message, retryable = (None, None, False) if provider_message else _failure(exchange)
    input_tokens, output_tokens = _tokens(exchange.body)
    return name, Answer(
        succeeded=provider_message is not None,
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
    )


def _decoded(line: bytes) -> tuple[bytes, _Line]:
    """Return the line, mended where it had to be, and its fields."""
    try:
        if not line.isascii():
            line.decode()  # msgspec does not look into the strings it skips
        # Which of two names is meant cannot be known. An escaped quote, as in an answer's text, does not match this.
        if line.count(b'"custom_id"') > 1 and _has_two_names(line):
            raise UnreadableLine("two custom_ids")
        try:
            return line, _LINE.decode(line)
        except msgspec.MsgspecError:
            line = _mended(line)
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


def _mended(line: bytes) -> bytes:
    """Return the line with U+FFFD for lone surrogates, and null for NaN and for numbers beyond any sense.

    Python's reader accepts those, msgspec and Arrow do not. Raises ValueError where it is no JSON even so.
    """
    value = json.loads(line.decode(), parse_int=_whole, parse_float=_finite, parse_constant=lambda _: None)
    return SURROGATE.sub("\ufffd", json.dumps(value, ensure_ascii=False)).encode()


def _whole(digits: str) -> int | None:
    return int(digits) if len(digits) < 20 else None


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _exchange(decoded: _Line) -> _Exchange:
    response, result, error = decoded.response, decoded.result, decoded.error
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
    """Say whether the line says so; status 0 is what a request gets that was never answered."""
    status = exchange.status
    return bool(exchange.error) or (status is not None and (status >= 400 or status <= 0)) or bool(_inner(exchange))


def _inner(exchange: _Exchange) -> Any:
    """Return the error inside the body: gateways answer 200 and then say it there."""
    body = exchange.body
    if type(body) is not _Body:
        return None
    if not body.error and type(body.choices) is list and body.choices and type(body.choices[0]) is _Choice:
        return body.choices[0].error
    return body.error


def _failure(exchange: _Exchange) -> tuple[str, str, bool]:
    """Return (code, message, retryable) of an exchange that gave no answer."""
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
    elif status <= 0:  # never answered, hence as good as unavailable
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
    """Return a string or a whole number as text; anything else is no code."""
    return str(value)[:length_max] if type(value) in (str, int) else ""


def _provider_message(body: _Body | _Plain) -> tuple[str, str | None] | None:
    """Return (text, finish reason), or None where no known form of an answer is found."""
    if type(body) is not _Body:
        return None
    if type(body.choices) is list and body.choices:
        choice = body.choices[0]
        if type(choice) is not _Choice:
            return None
        message = choice.message
        if type(message) is _Message:
            return _spoken(message.content, message.refusal, choice.finish_reason)
        return _spoken(choice.text, None, choice.finish_reason) if type(choice.text) is str else None
    if type(body.output) is list and body.status not in ("failed", "cancelled"):
        items = [item for item in body.output if type(item) is _OutputItem and item.type == "message"]
        parts = [part for item in items if type(item.content) is list for part in item.content]
        details = body.incomplete_details
        reason = details.get("reason") if type(details) is dict else None
        return _spoken(parts, None, reason or body.status)
    return None if body.content is None else _spoken(body.content, None, body.stop_reason)


def _spoken(content: Any, refusal: Any, finish_reason: Any) -> tuple[str, str | None] | None:
    """Return the text of a content, with its finish reason; a refusal is a text too, and then the reason."""
    if type(content) is list:
        parts = [part for part in content if type(part) is _Part]
        texts = [part.text for part in parts if part.type in TEXT_PARTS]
        refusal = refusal or next((part.refusal for part in parts if part.refusal), None)
        content = "".join(text for text in texts if type(text) is str)
    elif content is not None and type(content) is not str:
        return None
    if not content and type(refusal) is str and refusal:
        return refusal, "refusal"
    return content or "", finish_reason[:CODE_LENGTH_MAX] if type(finish_reason) is str else None


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
    """Return what support would ask for; OpenAI often leaves `request_id` empty, and then the body's id serves."""
    if type(exchange.request_id) is str and exchange.request_id:
        return exchange.request_id[:CODE_LENGTH_MAX]
    body = exchange.body
    return body.id[:CODE_LENGTH_MAX] if type(body) is _Body and type(body.id) is str and body.id else None


def _raw(line: bytes) -> str | None:
    """Return the JSON of the body (or of Anthropic's result) as it stands in the line; None where that is null."""
    decoded = _RAW_LINE.decode(line)
    raw = bytes(decoded.response.body if type(decoded.response) is _RawResponse else decoded.result)
    return raw.decode() if raw not in (b"", b"null") else None
