"""The failures in result lines: the code, the message, and whether the row may be sent again."""

from __future__ import annotations

from typing import Any, Final

from orchestrator.domain.retry import is_retryable
from orchestrator.providers.result_lines.bodies import CODE_LENGTH_MAX, Body
from orchestrator.providers.result_lines.envelopes import Exchange, inner_error

MESSAGE_LENGTH_MAX: Final = 500


def failure(exchange: Exchange) -> tuple[str, str, bool]:
    """Return (code, message, retryable) of an exchange without an answer."""
    status, body = exchange.status, exchange.body
    error = exchange.error or inner_error(exchange)
    if not error and type(body) is Body:
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
