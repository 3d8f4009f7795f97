"""Result lines in other forms than the documented one: read where exactly one reading is possible, by their shape.

Rule 1: an id counts only in our own form (see `domain.custom_id`), in a field that is named like an id.
Rule 2: of all the places where a body may be, exactly one must hold exactly one known body. Otherwise nothing is read.
Rule 3: only a line that the fast reader could not read comes here.

    id     "customId", "CustomID", "key", "id" …, also in "metadata"
    body   "response": {"body": "…as JSON text"} | "response_body" | "response" itself | "body" | "result" | the line
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from orchestrator.domain.custom_id import respelled
from orchestrator.providers.result_lines.bodies import (
    Body,
    BodyShape,
    chat,
    cohere,
    embedding,
    gemini,
    messages,
    responses,
)
from orchestrator.providers.result_lines.envelopes import (
    Exchange,
    UnreadableLine,
    decoded_line,
    is_failure,
    says_something,
    status_in,
)

Fields = dict[str, Any]
ID_KEYS: Final = frozenset({"customid", "key", "id", "recordid", "requestid", "requestkey"})
ID_PLACES: Final = ("metadata", "request")
# The names of google.rpc.Code, but for those that other APIs use as the state of a row.
_RPC_CODE: Final = re.compile(
    r"(?P<code>INVALID_ARGUMENT|DEADLINE_EXCEEDED|NOT_FOUND|ALREADY_EXISTS|PERMISSION_DENIED|RESOURCE_EXHAUSTED"
    r"|FAILED_PRECONDITION|ABORTED|OUT_OF_RANGE|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS|UNAUTHENTICATED)\b[:\s]*"
    r"(?P<message>.*)",
    re.DOTALL,
)
_VERTEX: Final = frozenset({"status", "request", "processed_time"})  # a line of Vertex: "" is its status of an answer
BODY_PLACES: Final = ("response_body", "body", "result", "output", "data")


def row_name(line: bytes) -> str:
    """Return the one id in a line, in our own spelling; "" where there is none, more than one, or no JSON object."""
    try:
        return _name_in(fields_of(decoded_line(line)[0]))
    except UnreadableLine:
        return ""


def fields_of(sound: bytes) -> Fields:
    """Return the fields of a line that is known to be a JSON object. Raises UnreadableLine."""
    try:
        return msgspec.json.decode(sound, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        raise UnreadableLine("unknown shape") from None


def name_of(fields: Fields) -> str:
    """Return the id in a line without a `custom_id`. Raises UnreadableLine."""
    name = _name_in(fields)
    if not name:
        raise UnreadableLine("no custom_id")
    return name


def other_exchange(fields: Fields, *, vectors: bool) -> tuple[Exchange, BodyShape] | None:
    """Return what a line in another form holds, and the shape of its body; None where no one reading is possible.

    Args:
        vectors: whether answers are embeddings; then no text is read, and otherwise no vector.
    """
    found = [
        (body, shape)
        for body in _bodies(fields)
        for is_shape, shape in _SHAPES
        if (shape is embedding) is vectors and is_shape(body)
    ]
    response = fields.get("response")
    inner = response if type(response) is dict else {}
    status, request_id = _status(fields, inner), inner.get("request_id")
    if len(found) == 1:
        content, shape = found[0]
        body = msgspec.json.decode(msgspec.json.encode(content), type=Body)
        return Exchange(status, body, fields.get("error"), request_id), shape
    errors = [body["error"] for body in _bodies(fields) if body.get("error")]
    if not found and not errors and (told := _told_by_status(fields)):
        errors = [told]
    if found or not (errors or is_failure(status)):
        return None
    return Exchange(status, None, errors[0] if errors else None, request_id), chat


def _told_by_status(fields: Fields) -> Fields | None:
    """Return the error that stands in `status`, beside no response: google.rpc.Status, or Vertex's text."""
    status = fields.get("status")
    if says_something(fields.get("response")) or not status:
        return None
    if type(status) is dict:
        return status if status.get("code") else None
    if type(status) is not str:
        return None
    named = _RPC_CODE.match(status)
    if named is not None:
        return {"code": named["code"], "message": named["message"]}
    if not _VERTEX.issubset(fields):
        return None
    inner = _object(status[status.find("{") :]) if "{" in status else None
    return inner or {"message": status}


def _name_in(fields: Fields) -> str:
    places = [fields, *(place for name in ID_PLACES if type(place := fields.get(name)) is dict)]
    names = {
        name
        for place in places
        for key, value in place.items()
        if type(value) is str and _plain(key) in ID_KEYS and (name := respelled(value))
    }
    return names.pop() if len(names) == 1 else ""


def _plain(key: str) -> str:
    return key.replace("_", "").replace("-", "").lower() if len(key) < 20 else ""


def _status(fields: Fields, inner: Fields) -> int | None:
    names = ("status_code", "status", "response_status", "response_status_code")
    for place in (inner, fields):
        for name in names:
            if (status := status_in(place.get(name))) is not None:
                return status
    return None


def _bodies(fields: Fields) -> Iterator[Fields]:
    """Return every object that may be the body."""
    yield fields
    response = _object(fields.get("response"))
    if response is not None:
        yield response
        if (body := _object(response.get("body"))) is not None:
            yield body
    for name in BODY_PLACES:
        if (body := _object(fields.get(name))) is not None:
            yield body
            if (inner := _object(body.get("response"))) is not None:
                yield inner


def _object(value: Any) -> Fields | None:
    """Return an object, or one that is there as JSON text."""
    if type(value) is str and value.lstrip()[:1] == "{":
        try:
            value = msgspec.json.decode(value)
        except (msgspec.MsgspecError, RecursionError):
            return None
    return value if type(value) is dict else None


def _is_chat(body: Fields) -> bool:
    choices = body.get("choices")
    if type(choices) is not list or not choices or type(choices[0]) is not dict:
        return False
    return type(choices[0].get("message")) is dict or type(choices[0].get("text")) is str


def _is_response(body: Fields) -> bool:
    items = body.get("output")
    kinds = ("message", "function_call", "reasoning")
    return type(items) is list and any(type(item) is dict and item.get("type") in kinds for item in items)


def _is_message(body: Fields) -> bool:
    is_marked = body.get("type") == "message" or body.get("role") == "assistant"
    return is_marked and type(body.get("content")) is list


def _is_gemini(body: Fields) -> bool:
    candidates = body.get("candidates")
    if type(candidates) is not list or not candidates or type(candidates[0]) is not dict:
        return False
    return type(candidates[0].get("content")) is dict or type(candidates[0].get("finishReason")) is str


def _is_cohere(body: Fields) -> bool:
    message = body.get("message")
    return type(message) is dict and message.get("role") == "assistant" and type(body.get("finish_reason")) is str


def _is_embedding(body: Fields) -> bool:
    data = body.get("data")
    return type(data) is list and len(data) == 1 and type(data[0]) is dict and "embedding" in data[0]


_SHAPES: Final[tuple[tuple[Callable[[Fields], bool], BodyShape], ...]] = (
    (_is_chat, chat),
    (_is_response, responses),
    (_is_message, messages),
    (_is_gemini, gemini),
    (_is_cohere, cohere),
    (_is_embedding, embedding),
)
