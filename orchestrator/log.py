"""Logging: an event is a record of Python's `logging`, with a name (`noun.past_verb`) and its ids and counts as fields.

Event names are listed here once. The ledger's timeline also has the events of jobs, shards and chunks.

Rule 1: as a library, the package prints nothing: loggers are named after its modules ("orchestrator.engine…"), and the
        package's own logger has a NullHandler. `configure` is for our own commands.
Rule 2: one event is one line, with terminal control characters escaped. Under `configure` the same holds for the
        events of other libraries.
Rule 3: each key is registered here when it is read (`hide`). It is removed from every event before any handler gets
        the record, and so is anything that looks like a key or a password. This is a safety net: keys and rows
        should not be logged in the first place.
Rule 4: a traceback is printed without the values of its variables; rule 3 applies to it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import sys
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

from orchestrator.domain.errors import ConfigError

BATCH_PLANNED: Final = "batch.planned"
BATCH_SENT: Final = "batch.sent"
BATCH_ACCEPTED: Final = "batch.accepted"
BATCH_ENDED: Final = "batch.ended"
BATCH_COLLECTED: Final = "batch.collected"
BATCH_REFUSED: Final = "batch.refused"
ACCOUNT_PAUSED: Final = "account.paused"
PREFLIGHT_WARNED: Final = "preflight.warned"
NOTICE_SENT: Final = "notice.sent"
NOTICE_FAILED: Final = "notice.failed"
NOTICES_STUCK: Final = "notices.stuck"
STEP_ENDED: Final = "step.ended"
STEP_FAILED: Final = "step.failed"
LOOKUP_FAILED: Final = "lookup.failed"
STEP_YIELDED: Final = "step.yielded"
MESSAGE_REFUSED: Final = "message.refused"
LEDGER_LOST: Final = "ledger.lost"
PART_UNREADABLE: Final = "part.unreadable"
BROKER_LOST: Final = "broker.lost"
BROKER_SHARED: Final = "broker.shared"
WORKER_STARTED: Final = "worker.started"
WORKER_ENDED: Final = "worker.ended"
STOP_FORCED: Final = "stop.forced"

PACKAGE: Final = "orchestrator"
LEVELS: Final = ("debug", "info", "warning", "error")
HIDDEN_LENGTH_MIN: Final = 6  # removing a shorter value would garble every line, and it would be no real secret
FIELD_LENGTH_MAX: Final = 4_000
_hidden: set[str] = set()
_BEARER: Final = re.compile(r"(?i)\b(bearer\s+)(?=\S*\d)[^\s\"',;]{8,}")
_PASSWORD: Final = re.compile(r"(://[^/\s:@\"']{0,200}:)[^@/\s\"']{1,500}(?=@)")
# Characters that move the cursor, ring the bell, or reverse the order of letters. Joiners stay: scripts and emoji
# need them.
_MOVES: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
logging.getLogger(PACKAGE).addHandler(logging.NullHandler())  # else Python prints warnings itself


class EventLog:
    """The events of one module: `EventLog(__name__).info("batch.ended", job=…, batch=…)`.

    The record's message is the event's name and its fields as text. Handlers find both apart in `record.event` and
    `record.fields`.
    """

    def __init__(self, module: str) -> None:
        self._logger = logging.getLogger(module)

    @property
    def has_readers(self) -> bool:
        """Whether events at `info` are wanted by anyone: if not, they need not be made."""
        return self._logger.isEnabledFor(logging.INFO)

    def debug(self, event: str, **fields: object) -> None:
        """Log a detail for debugging."""
        self._record(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Log a normal event."""
        self._record(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Log a problem that the program handles by itself."""
        self._record(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Log a problem that a person should look at."""
        self._record(logging.ERROR, event, fields)

    def _record(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            safe = {name: _safe(value) for name, value in fields.items()}
            self._logger.log(level, _text(event, safe), extra={"event": event, "fields": safe}, stacklevel=3)


def configure(level: str, *, stream_is_terminal: bool) -> None:
    """Print events of `level` and above on standard error: text on a terminal, one JSON object a line elsewhere.

    Warnings and errors of other libraries are printed the same way. Raises ConfigError for an unknown level.
    """
    if level.lower() not in LEVELS:
        raise ConfigError(f"ORCHESTRATOR_LOG must be one of {', '.join(LEVELS)}, not {level!r}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_TextFormatter() if stream_is_terminal else _JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(PACKAGE).setLevel(level.upper())
    sys.excepthook = _print_crash
    threading.excepthook = lambda ended: _print_crash(ended.exc_type, ended.exc_value, ended.exc_traceback)


def say(text: str) -> None:
    """Print a line for people on standard error, with control characters escaped: it may quote untrusted text."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()


def hide(value: str) -> None:
    """Remove this value from everything that is logged from now on."""
    if len(value) >= HIDDEN_LENGTH_MIN:
        _hidden.add(value)


def without_secrets(text: str) -> str:
    """Remove the registered keys, and everything that looks like a key or a password, from a text."""
    for value in tuple(_hidden):
        text = text.replace(value, "***")
    return _PASSWORD.sub(r"\1***", _BEARER.sub(r"\1***", text))


def printable(text: str) -> str:
    r"""Escape the characters of a text that would control a terminal (`\u001b`).

    Line ends and tabs stay.
    """
    return _MOVES.sub(lambda found: json.dumps(found[0])[1:-1], text)


def _print_crash(kind: type[BaseException], error: BaseException | None, where: TracebackType | None) -> None:
    """Print an uncaught exception."""
    if not issubclass(kind, SystemExit):
        sys.stderr.write(printable(without_secrets("".join(traceback.format_exception(kind, error, where)))))


def _safe(value: object) -> Any:
    """Return a field's value as plain data: no secrets in it, and not too long."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [_safe(part) for part in value]
    text = without_secrets(value if isinstance(value, str) else repr(value))
    return text if len(text) <= FIELD_LENGTH_MAX else text[: FIELD_LENGTH_MAX - 1] + "…"


def _text(event: str, fields: Mapping[str, object]) -> str:
    """Return an event as one line; a value that is empty or has blanks in it is quoted."""
    parts = [event]
    for name, value in fields.items():
        shown = str(value)
        is_plain = shown and not any(map(str.isspace, shown))
        parts.append(f"{name}={shown if is_plain else json.dumps(shown, ensure_ascii=False)}")
    return _one_line(" ".join(parts))


def _one_line(text: str) -> str:
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def _entries(record: logging.LogRecord) -> dict[str, Any]:
    """Return a record's event and fields, ours or another library's."""
    if hasattr(record, "event") and hasattr(record, "fields"):
        found = {"event": record.event, **record.fields}
    else:
        found = {"event": _safe(record.getMessage())}
    if record.exc_info and record.exc_info[0] is not None:
        found["traceback"] = _safe("".join(traceback.format_exception(*record.exc_info)))
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return found | {"level": record.levelname.lower(), "timestamp": moment, "logger": record.name}


class _JsonFormatter(logging.Formatter):
    """One object a line, with the process that wrote it: a fleet's lines are read in one place."""

    def format(self, record: logging.LogRecord) -> str:
        place = {"host": socket.gethostname(), "pid": os.getpid()}
        return json.dumps(_entries(record) | place, default=str)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = _entries(record)
        event, level, moment = (fields.pop(name) for name in ("event", "level", "timestamp"))
        name = fields.pop("logger")
        if not hasattr(record, "event"):
            fields["logger"] = name
        return f"{moment} {level:<7} {_text(event, fields)}"
