"""Logging: event names, one line for each thing that happened, ids and counts as fields; never a key, never a row.

The names are listed here once. What happened to jobs, shards and chunks stands in the ledger's timeline as well.

Rule 1: one event is one line, ours and those of the libraries below us alike; no character of it moves the cursor.
Rule 2: a key is known here from the moment it is read (`hide`), and is blacked out of every line, as is whatever
        looks like one. It is a net: nothing of the kind should be logged in the first place.
Rule 3: a traceback is printed without the values of its variables, and under rule 2.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Final

import structlog

STEP_FAILED: Final = "step.failed"
STEP_YIELDED: Final = "step.yielded"
MESSAGE_REFUSED: Final = "hint.refused"
LEDGER_LOST: Final = "ledger.lost"
BROKER_LOST: Final = "broker.lost"
FLEET_MIXED: Final = "fleet.mixed"
WORKER_STARTED: Final = "member.joined"
WORKER_ENDED: Final = "member.ended"
STOP_FORCED: Final = "stop.forced"
JOB_STARTED: Final = "job.started"
JOB_ENDED: Final = "job.ended"
STOP_REQUESTED: Final = "stop.requested"

HIDDEN_LENGTH_MIN: Final = 6  # shorter ones would black out half of every line, and keep nobody out
FIELD_LENGTH_MAX: Final = 4_000
_hidden: set[str] = set()
_BEARER: Final = re.compile(r"(?i)\b(bearer\s+)(?=\S*\d)[^\s\"',;]{8,}")
_PASSWORD: Final = re.compile(r"(://[^/\s:@\"']{0,200}:)[^@/\s\"']{1,500}(?=@)")
# What moves the cursor, rings, or turns the order of the letters round; joiners stay: scripts and emoji need them.
_MOVES: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)


def configure(level: str, *, stream_is_terminal: bool) -> None:
    """Send events of `level` and above to standard error: readable on a terminal, one JSON object a line elsewhere.

    What libraries log by Python's own means goes the same way, from warnings on.
    """
    structlog.configure(
        processors=[*_BEFORE, *_rendered(stream_is_terminal=stream_is_terminal)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendered(stream_is_terminal=stream_is_terminal),
            ],
            foreign_pre_chain=[*_BEFORE, structlog.stdlib.add_logger_name],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    sys.excepthook = _crashed
    threading.excepthook = lambda ended: _crashed(ended.exc_type, ended.exc_value, ended.exc_traceback)


def logger() -> structlog.typing.FilteringBoundLogger:
    """Return the program's logger."""
    return structlog.get_logger()  # type: ignore[no-any-return]


def hide(value: str) -> None:
    """Black this out of whatever is logged from now on."""
    if len(value) >= HIDDEN_LENGTH_MIN:
        _hidden.add(value)


def without_secrets(text: str) -> str:
    """Return a text without the keys that are known, and without what looks like a key or a password."""
    for value in tuple(_hidden):
        text = text.replace(value, "***")
    return _PASSWORD.sub(r"\1***", _BEARER.sub(r"\1***", text))


def printable(text: str) -> str:
    r"""Return a text that a terminal only prints: what would move its cursor is spelt out, as JSON does (`\u001b`).

    Line ends and tabs stay.
    """
    return _MOVES.sub(lambda found: json.dumps(found[0])[1:-1], text)


def _crashed(kind: type[BaseException], error: BaseException | None, where: TracebackType | None) -> None:
    """Print what Python prints of an exception that nobody caught."""
    if not issubclass(kind, SystemExit):
        sys.stderr.write(printable(without_secrets("".join(traceback.format_exception(kind, error, where)))))


def _fit(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        event[name] = _fitted(value)
    return event


def _fitted(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [_fitted(part) for part in value]
    text = without_secrets(value if isinstance(value, str) else repr(value))
    return text if len(text) <= FIELD_LENGTH_MAX else text[: FIELD_LENGTH_MAX - 1] + "…"


def _on_one_line(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Spell out what a terminal would act on; JSON does so by itself."""
    if "exception" in event:  # a name that the renderer gives lines of its own
        event["traceback"] = event.pop("exception")
    for name, value in event.items():
        if not (value is None or isinstance(value, bool | int | float)):
            event[name] = printable(str(value)).replace("\n", "\\n").replace("\t", "\\t")
    return event


_BEFORE: Final[list[structlog.typing.Processor]] = [
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def _rendered(*, stream_is_terminal: bool) -> list[structlog.typing.Processor]:
    """Return what makes a line of an event."""
    common: list[structlog.typing.Processor] = [structlog.processors.format_exc_info, _fit]
    if not stream_is_terminal:
        return [*common, structlog.processors.JSONRenderer()]
    return [*common, _on_one_line, structlog.dev.ConsoleRenderer()]
