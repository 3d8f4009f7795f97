"""Maps HTTP answers to our errors.

Rule 1: a create counts as refused only if that is certain, otherwise as ambiguous: decided here for all dialects.
Rule 2: an error may come in a 200: `{"error": {"code", "message"}}`, or `{"code": 4xx, "message"}`.
Rule 3: a message has the status and the machine-readable part of the provider's error: code, type, parameter. Its text
    for people may quote our request, and goes into `provider_message`, shortened and cleaned. Of a failure that the
    table knows as the account's, the known phrase stays in the message: it is about the key or money, and quotes no
    row. So does the text of a 401 or 402.
Rule 4: whose fault an error is, `domain.faults` says.

Source: DESIGN §8; docs.onerouter.pro/api-reference/errors for the envelope.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from typing import Any, Final

import orjson

from orchestrator.domain.errors import (
    BadRequest,
    CreateAmbiguous,
    CreateRefused,
    Gone,
    NotAuthorized,
    PermanentError,
    ProviderError,
    RateLimited,
    TooLarge,
    Unavailable,
)
from orchestrator.domain.faults import At, Fault, fault_of, known_phrase, names_no_file, places_in, tokens_max_in
from orchestrator.providers.http.secret import Secret, redacted

RETRY_AFTER_S_MAX: Final = 86_400.0
BOM: Final = b"\xef\xbb\xbf"
QUOTES_NO_ROW: Final = frozenset({401, 402})
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}|[0-9]{1,6}")
_PARAMETER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]-]{0,63}")
_ENDED_ALREADY: Final = re.compile(
    r"\b(already|ended|finished|completed|terminal|cancelled|canceled|expired|not cancell?able|cannot be cancell?ed)\b",
    re.IGNORECASE,
)
_ID_HEADERS: Final = ("x-request-id", "request-id", "x-oneapi-request-id", "apim-request-id", "cf-ray")
# Bounded: otherwise a page of only opening tags would take seconds.
_TITLE: Final = re.compile(r"<title[^>]{0,200}>(.{0,500}?)</title>", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer; `body` may be only its beginning, and is not in the repr: it can hold results."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # names in lower case
    body: bytes = field(default=b"", repr=False)
    is_whole: bool = True
    asked: str = ""  # method and URL, without the query

    @property
    def is_success(self) -> bool:
        """Whether the status is a 2xx."""
        return 200 <= self.status < 300

    @property
    def is_web_page(self) -> bool:
        """Whether the body is HTML or XML."""
        return self.body.removeprefix(BOM).lstrip().startswith(b"<")

    def json(self) -> object:
        """Return the body's value; None where it is not JSON, or not all there."""
        try:
            return orjson.loads(self.body.removeprefix(BOM))
        except orjson.JSONDecodeError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An answer that is an error. `status` is the HTTP status, or in a 200 the error's own code, if it has one."""

    http_status: int
    status: int | None
    in_envelope: bool  # it comes from the provider itself, not from a proxy
    message: str  # fit for a log
    provider_message: str = field(repr=False)  # status and the provider's text for people: for a private file
    text: str = field(default="", repr=False)  # the same text, alone
    code: int | None = None  # the envelope's
    words: tuple[str, ...] = ()  # its code, type and status, where they are words
    retry_after_s: float | None = None
    request_id: str = ""

    @property
    def fault(self) -> Fault:
        """Whose fault it is, where it is the answer to a call."""
        return fault_of(At.CALL, status=self.status, codes=self.words, message=self.text)


def problem_of(answer: Answer, key: Secret) -> Problem | None:
    """Return the error in an answer; None where there is none."""
    content = answer.json()
    envelope = _envelope(content, is_success=answer.is_success)
    if answer.is_success and envelope is None:
        return None
    code, words, text = envelope or (None, (), _loose_words(answer, content))
    status = code if answer.is_success else answer.status
    label = f"HTTP {answer.status}" + (f", error {code}" if answer.is_success and code is not None else "")
    named = text if status in QUOTES_NO_ROW else known_phrase(text) or for_machines(_fields(content), status=status)
    return Problem(
        http_status=answer.status,
        status=status,
        in_envelope=envelope is not None,
        message=redacted(f"{label}: {named}" if named else label, key),
        provider_message=redacted(f"{label}: {text}", key) if text else "",
        text=redacted(text, key),
        code=code,
        words=words,
        retry_after_s=retry_after_s(answer.headers, datetime.now(UTC)),
        request_id=next((redacted(answer.headers[name], key) for name in _ID_HEADERS if name in answer.headers), ""),
    )


def error_of(problem: Problem, *, gone: Collection[int] = ()) -> ProviderError:
    """Return the error to raise.

    Args:
        gone: statuses that mean here that an object existed and no longer does.
    """
    fault, message, status = problem.fault, problem.message, problem.status
    request_id, provider_message = problem.request_id, problem.provider_message
    permanent = _permanent_class(problem, fault, gone)
    if permanent is not None:
        told = None if permanent is Gone else fault
        return permanent(message, status=status, request_id=request_id, provider_message=provider_message, fault=told)
    transient = RateLimited if status == 429 or fault is Fault.QUEUE else Unavailable
    return transient(
        message,
        status=status,
        request_id=request_id,
        provider_message=provider_message,
        fault=fault,
        retry_after_s=problem.retry_after_s,
    )


def _permanent_class(problem: Problem, fault: Fault, gone: Collection[int]) -> type[PermanentError] | None:
    if problem.status in gone:
        return Gone
    if fault is Fault.ACCOUNT:
        return NotAuthorized
    if not _is_refusal(problem.status):
        return None
    if problem.status == 413:
        return TooLarge
    return BadRequest if fault in (Fault.ROW, Fault.JOB, Fault.SIZE) else None


def create_failure(problem: Problem, *, proves_absence: bool = False) -> CreateRefused | CreateAmbiguous:
    """Classify an error in answer to a create: refused where that is certain, ambiguous otherwise.

    Args:
        proves_absence: the dialect documents, beyond the plain refusals, that this answer means nothing was created.
    """
    # A refusal whose envelope mentions a timeout or an upstream error proves nothing.
    contradicts = problem.code is not None and 400 <= problem.code < 600 and not _is_refusal(problem.code)
    # A conflict proves nothing, unless it says that the input file cannot be used: no batch is made without one.
    has_no_file = problem.status == 409 and problem.fault is Fault.PLATFORM and problem.code in (None, 409)
    if not (proves_absence or has_no_file) and (contradicts or not _is_refusal(problem.status)):
        return CreateAmbiguous(problem.message, provider_message=problem.provider_message)
    error = error_of(problem)
    if error.fault is Fault.ROW:
        error.places = places_in(problem.text)
    if error.fault is Fault.PLATFORM:
        error.names_no_file = names_no_file(problem.text)
    if error.fault is Fault.QUEUE:
        error.tokens_max = tokens_max_in(problem.text)
    if error.fault is Fault.SIZE:
        error = TooLarge(
            problem.message,
            status=problem.status,
            request_id=problem.request_id,
            provider_message=problem.provider_message,
        )
    return CreateRefused(error)


def is_ended_already(problem: Problem) -> bool:
    """Whether an error in answer to a cancel means that nothing is left to cancel."""
    return problem.status == 409 or (problem.status == 400 and _ENDED_ALREADY.search(problem.text) is not None)


def _is_refusal(status: int | None) -> bool:
    """A 4xx, except 408 (the request may have been carried out) and 409 (something already exists)."""
    return status is not None and 400 <= status < 500 and status not in (408, 409)


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Read Retry-After, seconds or an HTTP date; within 0 and a day. None where there is none that can be read."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{0,9})?", text):
        return min(float(text), RETRY_AFTER_S_MAX)
    until, sent_at = _date(text), _date(headers.get("date", ""))
    if until is None:
        return None
    # By the server's Date header, if there is one: our clock may be off.
    return min(max((until - (sent_at or now)).total_seconds(), 0.0), RETRY_AFTER_S_MAX)


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


def for_machines(error: Mapping[str, Any], *, status: int | None = None) -> str:
    """Return an error's code, type and parameter, each only if it looks like a name.

    Args:
        status: of the HTTP answer, which some repeat as the code.
    """
    names = dict.fromkeys(_text(error.get(name)) for name in ("code", "type"))
    parts = [name for name in names if name != str(status) and _NAME.fullmatch(name) is not None]
    parameter = _text(error.get("param"))
    if _PARAMETER.fullmatch(parameter) is not None:
        parts.append(f"parameter {parameter}")
    return ", ".join(parts)


def _fields(content: object) -> Mapping[str, Any]:
    """Return the object in an error's answer that says which error it is."""
    match content:
        case {"error": dict() as error}:
            return _with_code(error)
        case dict():
            return content
    return {}


def _with_code(error: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an error object with its code in its place: Anthropic's stands in `details`."""
    match error:
        case {"details": {"error_code": str() as code}} if "code" not in error:
            return {**error, "code": code}
    return error


def _envelope(content: object, *, is_success: bool) -> tuple[int | None, tuple[str, ...], str] | None:
    """Return the error's number, its words for machines, its text for people; None where there is no envelope."""
    if not isinstance(content, dict):
        return None
    match content:
        case {"error": dict() as given} if given:
            error = _with_code(given)
            provider_message = error.get("message") or error.get("detail") or error.get("code") or error.get("type")
            return (
                number(error.get("code")),
                tuple(filter(None, (_text(error.get(name)) for name in ("code", "type", "status")))),
                _text(provider_message),
            )
        case {"error": str() as provider_message} if provider_message and not is_success:
            return None, (), provider_message
        case {"code": code} if (number(code) or 0) >= 400:
            return number(code), (), _text(content.get("message") or content.get("msg"))
    return None


def number(value: object) -> int | None:
    """Read a count or a code, given as a number or as digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value) else None


def _loose_words(answer: Answer, content: object) -> str:
    """Find a text in an error that is no envelope: a framework's, a proxy's, a web page's title."""
    match content:
        case {"message": str() as provider_message} | {"detail": str() as provider_message}:
            return provider_message
        case {"detail": [{"msg": str() as provider_message}, *_]}:
            return provider_message
        case dict() | list():
            return ""
    text = answer.body[:20_000].decode("utf-8", "replace")
    title = _TITLE.search(text)
    if title is not None:
        return unescape(title[1])
    return "" if text.lstrip().startswith(("<", "{", "[")) else text


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None or isinstance(value, dict | list) else str(value)
