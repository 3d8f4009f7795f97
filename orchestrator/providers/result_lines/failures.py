"""The failures in result lines: the code, the message, and whose fault it is."""

from __future__ import annotations

from typing import Any, Final

from orchestrator.domain.faults import At, Fault, fault_of
from orchestrator.domain.reconcile import UNREADABLE, UNREADABLE_MESSAGE
from orchestrator.providers.result_lines.bodies import CODE_LENGTH_MAX, CONTENT_FILTER, Body, blocked
from orchestrator.providers.result_lines.envelopes import Exchange, inner_error, is_failure

MESSAGE_LENGTH_MAX: Final = 500
NO_FAILURE: Final = ("", "0", "200", "ok", "success")  # a body's `code` beside an answer


def failure(exchange: Exchange) -> tuple[str, str, Fault]:
    """Return (code, message, fault) of an exchange without an answer."""
    status, body = exchange.status, exchange.body
    is_refused = is_failure(status)
    error = exchange.error or inner_error(exchange)
    if not error and type(body) is Body and (is_refused or _clipped(body.code).lower() not in NO_FAILURE):
        error = {"code": body.code, "message": body.message}
    if not error and is_refused:
        error = body if type(body) is str else None
    words, message = _details(error)
    code = words[0] if words else ""
    if not code and is_refused:
        code = str(status)
    if not code and not message and type(body) is Body and (reason := blocked(body)):
        return CONTENT_FILTER, f"a filter of the provider left nothing of the answer ({reason})", Fault.ROW
    if not code and not message:
        return UNREADABLE, UNREADABLE_MESSAGE, Fault.UNREADABLE
    if status is None or 0 < status < 400:
        status = int(code) if code.isdecimal() and len(code) == 3 else None
    elif status <= 0:  # never answered: treated as unavailable
        status = 503
    return code or "error", message, fault_of(At.LINE, status=status, codes=words, message=message)


def _details(error: Any) -> tuple[tuple[str, ...], str]:
    """Return the error's machine-readable words, its code first, and its message.

    Anthropic and vLLM wrap the error in another.
    """
    for _ in range(3):
        if type(error) is dict and error.get("error"):
            error = error["error"]
    if type(error) is str:
        return (), _clipped(error, MESSAGE_LENGTH_MAX)
    if type(error) is not dict:
        word = _clipped(error)
        return (word,) if word else (), ""
    words = tuple(filter(None, (_clipped(error.get(name)) for name in ("code", "type", "status"))))
    message = error.get("message")
    return words, _clipped(message, MESSAGE_LENGTH_MAX) if type(message) is str else ""


def _clipped(value: Any, length_max: int = CODE_LENGTH_MAX) -> str:
    """Return a string or a whole number as text, for use as a code; None for anything else."""
    return str(value)[:length_max] if type(value) in (str, int) else ""
