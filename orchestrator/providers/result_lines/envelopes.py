"""The envelopes of result lines: which row a line names, and the status, the body and the error in it.

Known forms:

    {"custom_id", "response": {"status_code", "request_id", "body"}, "error"}     OpenAI and many others
    {"custom_id", "result": {"type", "message" | "error"}}                        Anthropic: `result_lines`
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

import msgspec

from orchestrator.providers.result_lines.bodies import CODE_LENGTH_MAX, Body, ChatChoice, Plain

SURROGATE: Final = re.compile("[\ud800-\udfff]")


class UnreadableLine(ValueError):
    """The line names no row, or no shape is known for it; the message says which."""


class BrokenLine(UnreadableLine):
    """The line is no JSON object."""


class _Response(msgspec.Struct, gc=False):
    status_code: Any = None
    status: Any = None  # SIRAYA's name for it
    request_id: Any = None
    body: Body | Plain = None


class _Result(msgspec.Struct, gc=False):
    type: Any = None
    message: Body | Plain = None
    error: Any = None


class _Line(msgspec.Struct, gc=False):
    custom_id: Any = None
    response: _Response | Plain | msgspec.UnsetType = msgspec.UNSET
    result: _Result | Plain | msgspec.UnsetType = msgspec.UNSET
    error: Any = None


class _RawResponse(msgspec.Struct, gc=False):
    body: msgspec.Raw = msgspec.Raw()


class _RawLine(msgspec.Struct, gc=False):
    response: _RawResponse | Plain = None
    result: msgspec.Raw = msgspec.Raw()


_LINE: Final = msgspec.json.Decoder(_Line)
_RAW_LINE: Final = msgspec.json.Decoder(_RawLine)


class Exchange(msgspec.Struct, gc=False):
    """A line, whatever its dialect."""

    status: int | None
    body: Body | Plain
    error: Any
    request_id: Any


def decoded_line(line: bytes) -> tuple[bytes, _Line]:
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
        raise BrokenLine("not UTF-8") from None
    except RecursionError:
        raise UnreadableLine("nested too deep") from None
    except ValueError:
        raise BrokenLine("not a JSON object") from None


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


def exchange_of(decoded: _Line, *, result_lines: bool) -> Exchange:
    """Return what the line holds; with `result_lines`, it may have Anthropic's form."""
    response, error = decoded.response, decoded.error
    result = decoded.result if result_lines else msgspec.UNSET
    if type(response) is _Response:
        status = status_in(response.status if response.status_code is None else response.status_code)
        return Exchange(status, response.body, error, response.request_id)
    if type(result) is _Result:
        if result.type == "succeeded":
            return Exchange(None, result.message, error, None)
        if result.type in ("errored", "canceled", "expired"):
            request_id = result.error.get("request_id") if type(result.error) is dict else None
            return Exchange(None, None, result.error or {"type": result.type}, request_id)
    return Exchange(None, None, error, None)


def status_in(value: Any) -> int | None:
    """Return an HTTP status, or None."""
    if type(value) is str and value.isdecimal() and len(value) == 3:
        return int(value)
    return int(value) if type(value) in (int, float) else None


def has_failed(exchange: Exchange) -> bool:
    """Return whether the line is a failure."""
    return is_failure(exchange.status) or says_something(exchange.error) or says_something(inner_error(exchange))


def says_something(error: Any) -> bool:
    """Return whether this is an error: beside an answer some gateways put an error whose fields are all empty."""
    return any(says_something(value) for value in error.values()) if type(error) is dict else bool(error)


def is_failure(status: int | None) -> bool:
    """Return whether a status is one of a failure; a request that was never answered has status 0."""
    return status is not None and (status >= 400 or status <= 0)


def inner_error(exchange: Exchange) -> Any:
    """Return the error inside the body: some gateways put errors in a 200."""
    body = exchange.body
    if type(body) is not Body:
        return None
    if not body.error and type(body.choices) is list and body.choices and type(body.choices[0]) is ChatChoice:
        return body.choices[0].error
    return body.error


def request_id(exchange: Exchange) -> str | None:
    """Return the request id, for support; OpenAI often leaves `request_id` empty, then the body's id is used."""
    if type(exchange.request_id) is str and exchange.request_id:
        return exchange.request_id[:CODE_LENGTH_MAX]
    body = exchange.body
    return body.id[:CODE_LENGTH_MAX] if type(body) is Body and type(body.id) is str and body.id else None


def raw_of(line: bytes) -> str | None:
    """Return the JSON of the body (or of Anthropic's result) as it stands in the line; None where that is null."""
    decoded = _RAW_LINE.decode(line)
    raw = bytes(decoded.response.body if type(decoded.response) is _RawResponse else decoded.result)
    return raw.decode() if raw not in (b"", b"null") else None
