"""What OpenAI checks before a batch runs: the body of the create at once, the input file while it validates.

Rule: a bad body of a create is refused and creates nothing. A bad input file makes a batch that fails and lists the bad
lines in `errors`. Errors inside a row's body, other than a missing key, fail that row alone when it runs.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from orchestrator.gateway.intake import NonEmpty, RequestRefused, Row
from orchestrator.gateway.openai_bodies import ENDPOINTS, missing_parameter, required_of

BODY_BYTES_MAX: Final = 64 * 1024  # 16 pairs of metadata at their longest are 9 kB
WINDOWS: Final = ("24h",)
ERRORS_MAX: Final = 50

Key = Annotated[str, msgspec.Meta(max_length=64)]
Value = Annotated[str, msgspec.Meta(max_length=512)]
Metadata = Annotated[dict[Key, Value], msgspec.Meta(max_length=16)]


class OpenAIRefused(RequestRefused):
    """A refusal in OpenAI's envelope."""

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(status, message)
        self.code = code
        self.param = param


class ExpiresAfter(msgspec.Struct):
    """`output_expires_after`: how long result files are kept."""

    seconds: Annotated[int, msgspec.Meta(ge=3_600, le=2_592_000)]
    anchor: str = "created_at"


class CreateRequest(msgspec.Struct):
    """The body of a create in OpenAI's dialect."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = None


class InputLine(msgspec.Struct):
    """One line of an input file; its body stays as the bytes that were received."""

    custom_id: NonEmpty
    method: str
    url: str
    body: msgspec.Raw


@dataclass(slots=True)
class CheckedInput:
    """The result of checking an input file."""

    total: int = 0
    model: str = ""
    first_custom_id: str = ""
    last_custom_id: str = ""
    errors: list[dict[str, Any]] = field(default_factory=list)


class BodyHead(msgspec.Struct):
    """The keys of a row's body that are checked before its batch runs."""

    model: NonEmpty | msgspec.UnsetType = msgspec.UNSET
    messages: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    input: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Keys(msgspec.Struct):
    """The keys that tell the dialects apart."""

    requests: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    input_file_id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    endpoint: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    completion_window: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_line_decoder = msgspec.json.Decoder(InputLine)
_head_decoder = msgspec.json.Decoder(BodyHead)


def openai_create_in(path: Path) -> CreateRequest | None:
    """Return the create in a body, None if it is not in OpenAI's dialect; raise OpenAIRefused(400) if it is invalid."""
    if path.stat().st_size > BODY_BYTES_MAX:
        return None
    content = path.read_bytes()
    try:
        keys = msgspec.json.decode(content, type=_Keys)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    marks = (keys.input_file_id, keys.endpoint, keys.completion_window)
    if keys.requests is not msgspec.UNSET or all(mark is msgspec.UNSET for mark in marks):
        return None
    for name in ("input_file_id", "endpoint", "completion_window"):
        if getattr(keys, name) is msgspec.UNSET:
            missing = missing_parameter(name)
            raise OpenAIRefused(400, missing.message, code=missing.code, param=missing.param)
    try:
        create = msgspec.json.decode(content, type=CreateRequest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise OpenAIRefused(400, f"not a create request: {error}") from error
    for param, value, known in (
        ("endpoint", create.endpoint, ENDPOINTS),
        ("completion_window", create.completion_window, WINDOWS),
    ):
        if value not in known:
            raise OpenAIRefused(
                400, f"{param}: this server knows {', '.join(known)}", code="invalid_value", param=param
            )
    return create


def check_input(path: Path, *, endpoint: str, requests_max: int, accepts_duplicates: bool) -> CheckedInput:
    """Check an input file as the provider does while it validates; at most ERRORS_MAX errors are listed."""
    checked = CheckedInput()
    seen: set[str] = set()
    for line_no, line in _lines(path):
        checked.total += 1
        fault = _fault_of(line, endpoint, checked, seen, accepts_duplicates=accepts_duplicates)
        if fault is not None:
            code, message, param = fault
            checked.errors.append(error_entry(code, message, line=line_no, param=param))
            if len(checked.errors) == ERRORS_MAX:
                return checked
    if checked.total == 0:
        checked.errors.append(error_entry("empty_file", "The input file holds no requests."))
    if checked.total > requests_max:
        message = f"The input file holds {checked.total} requests, at most {requests_max} are allowed."
        checked.errors.append(error_entry("too_many_tasks", message))
    return checked


def read_input(path: Path) -> list[Row]:
    """Return the rows of a valid input file; their params point into the mapped file."""
    rows = []
    for _, line in _lines(path):
        decoded = _line_decoder.decode(line)
        rows.append(Row(custom_id=decoded.custom_id, params=decoded.body))
    return rows


def error_entry(code: str, message: str, *, line: int | None = None, param: str | None = None) -> dict[str, Any]:
    """Return one entry of a batch's `errors.data`."""
    return {"code": code, "line": line, "message": message, "param": param}


def _fault_of(
    line: memoryview, endpoint: str, checked: CheckedInput, seen: set[str], *, accepts_duplicates: bool
) -> tuple[str, str, str | None] | None:
    """Record what a line holds; return code, message and param of its error, without repeating its contents."""
    try:
        decoded = _line_decoder.decode(line)
        head = _head_decoder.decode(decoded.body)
    except msgspec.ValidationError as error:
        return "invalid_request", f"This line is not a request: {error}", None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "invalid_json_line", "This line is not parseable as valid JSON.", None
    checked.first_custom_id = checked.first_custom_id or decoded.custom_id
    checked.last_custom_id = decoded.custom_id
    is_duplicate = decoded.custom_id in seen and not accepts_duplicates
    seen.add(decoded.custom_id)
    if is_duplicate:
        return "duplicate_custom_id", "The custom_id of this line is that of an earlier one.", "custom_id"
    if decoded.method != "POST":
        return "invalid_request", "The method of this line is not POST.", "method"
    if decoded.url != endpoint:
        return "url_mismatch", "The url of this line is not the batch's endpoint.", "url"
    for name in required_of(endpoint):
        if getattr(head, name) is msgspec.UNSET:
            return "missing_required_parameter", missing_parameter(name).message, f"body.{name}"
    model = "" if head.model is msgspec.UNSET else head.model
    checked.model = checked.model or model
    if model != checked.model:
        return "model_mismatch", "The model of this line is not that of the first one.", "body.model"
    return None


def _lines(path: Path) -> Iterator[tuple[int, memoryview]]:
    """Yield the lines that are not blank, numbered from 1, as pieces of the mapped file."""
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    view = memoryview(content)
    start, line_no = 0, 0
    while start < len(content):
        end = content.find(b"\n", start)
        end = len(content) if end < 0 else end
        line_no += 1
        if end - start > 2 or content[start:end].strip():
            yield line_no, view[start:end]
        start = end + 1
