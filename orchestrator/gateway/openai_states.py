"""Where a batch of OpenAI's dialect stands at a given time: a pure function of what is stored and the clock.

validating --10%--> in_progress --90%--> finalizing --100% of the duration--> completed | expired
    '--> failed                '--cancel--> cancelling --> cancelled
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from orchestrator.gateway.openai_store import Extras
from orchestrator.gateway.states import Fate
from orchestrator.gateway.store import Batch

VALIDATED_AT: Final = 0.10  # shares of the duration
FINALIZING_AT: Final = 0.90


class Status(StrEnum):
    """The vendor's words; the last four are final."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    CANCELLING = "cancelling"
    FAILED = "failed"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


ENDS: Final = {
    Fate.SUCCEED: Status.COMPLETED,
    Fate.FAIL: Status.FAILED,
    Fate.FAIL_PARTIAL: Status.FAILED,
    Fate.TOKEN_LIMIT: Status.FAILED,
    Fate.EXPIRE: Status.EXPIRED,
    Fate.CANCEL: Status.CANCELLED,
}


def status_of(batch: Batch, extras: Extras, now: float) -> Status:
    """Return the status of a batch at `now`."""
    if now >= batch.ends_at:
        return ENDS[Fate(batch.fate)]
    if batch.cancelled_at is not None:
        return Status.CANCELLING
    if now < extras.validated_at:
        return Status.VALIDATING
    return Status.IN_PROGRESS if now < extras.finalizing_at else Status.FINALIZING


def share_run(extras: Extras, now: float) -> float:
    """Return which share of its rows has run: none while it is validated."""
    running_s = extras.finalizing_at - extras.validated_at
    return min(1.0, max(0.0, (now - extras.validated_at) / running_s)) if running_s > 0 else 1.0
