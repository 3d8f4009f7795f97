"""Logging: event names, one line for each thing that happened, ids and counts as fields; never a key, never a row.

The names are listed here once. What happened to jobs, shards and chunks stands in the ledger's timeline as well.
"""

from __future__ import annotations

import logging
import sys
from typing import Final

import structlog

STEP_FAILED: Final = "step.failed"
STEP_YIELDED: Final = "step.yielded"
HINT_REFUSED: Final = "hint.refused"
LEDGER_LOST: Final = "ledger.lost"
BROKER_LOST: Final = "broker.lost"
FLEET_MIXED: Final = "fleet.mixed"
MEMBER_JOINED: Final = "member.joined"
MEMBER_ENDED: Final = "member.ended"
STOP_FORCED: Final = "stop.forced"
JOB_STARTED: Final = "job.started"
JOB_ENDED: Final = "job.ended"
STOP_REQUESTED: Final = "stop.requested"


def configure(level: str, *, stream_is_terminal: bool) -> None:
    """Send events of `level` and above to standard error: readable on a terminal, one JSON object a line elsewhere."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=stream_is_terminal)
        if stream_is_terminal
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def logger() -> structlog.typing.FilteringBoundLogger:
    """Return the program's logger."""
    return structlog.get_logger()  # type: ignore[no-any-return]
