"""The state of a batch at a given time, in each dialect: a pure function of the stored batch and the time.

OneRouter   NOT_START --10%--> QUEUED --25%--> IN_PROGRESS --100% of the duration--> SUCCESS | FAILURE | expired word
                                                    '--cancel--> IN_PROGRESS, canceling --> cancelled word
OpenAI      validating --10%--> in_progress --90%--> finalizing --100%--> completed | expired
                '--> failed         '--cancel--> cancelling --> cancelled
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from orchestrator.gateway.faults import FaultPlan, next_fault
from orchestrator.gateway.openai_store import Extras
from orchestrator.gateway.store import NEVER_RUN, Batch, Fate

QUEUED_FROM: Final = 0.10  # shares of the duration
RUNNING_FROM: Final = 0.25
VALIDATED_AT: Final = 0.10  # OpenAI's dialect
FINALIZING_AT: Final = 0.90
CANCELLING_SHARE: Final = 0.10  # of the duration: how long a cancel takes
FAULTY_FATES: Final = (Fate.FAIL, Fate.TOKEN_LIMIT, Fate.FAIL_PARTIAL, Fate.EXPIRE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The state of a batch at one moment."""

    word: str
    percent: int
    is_ended: bool
    processing_status: str | None = None  # only of a batch that was cancelled


NEW: Final = Standing(word="NOT_START", percent=0, is_ended=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The terminal words that OneRouter does not document."""

    cancelled: str
    expired: str

    def of(self, fate: str) -> str:
        """Return the terminal word of a fate."""
        words = {Fate.SUCCEED: "SUCCESS", Fate.EXPIRE: self.expired, Fate.CANCEL: self.cancelled}
        return words.get(Fate(fate), "FAILURE")


def standing(batch: Batch, now: float, words: Words) -> Standing:
    """Return the state of `batch` at `now`."""
    is_cancelled = batch.cancelled_at is not None
    if now >= batch.ends_at:
        return Standing(
            word=words.of(batch.fate),
            percent=100,
            is_ended=True,
            processing_status="ended" if is_cancelled else None,
        )
    if is_cancelled:
        return Standing(
            word="IN_PROGRESS",
            percent=int(100 * batch.done_share),
            is_ended=False,
            processing_status="canceling",
        )
    share = elapsed_share(batch, now)
    if share < QUEUED_FROM:
        return NEW
    word = "QUEUED" if share < RUNNING_FROM else "IN_PROGRESS"
    return Standing(word=word, percent=int(100 * share), is_ended=False)


def elapsed_share(batch: Batch, now: float) -> float:
    """Return the elapsed share of a batch's duration, in [0, 1]."""
    duration_s = batch.ends_at - batch.submitted_at
    return min(1.0, max(0.0, (now - batch.submitted_at) / duration_s)) if duration_s > 0 else 1.0


def share_run(batch: Batch, now: float) -> float:
    """Return the share of its rows that has run: none while it is queued."""
    return max(0.0, (elapsed_share(batch, now) - RUNNING_FROM) / (1 - RUNNING_FROM))


def end_of_cancel(batch: Batch, now: float) -> float:
    """Return when a cancel requested at `now` will be complete."""
    return min(batch.ends_at, now + CANCELLING_SHARE * (batch.ends_at - batch.submitted_at))


def fate_of(plan: FaultPlan, number: int) -> tuple[Fate, float]:
    """Return the fate of batch number `number` under a plan, and the share of its rows that will run."""
    fault = next_fault(plan.batch, FAULTY_FATES, plan.seed, index=number, key=str(number))
    if fault is None:
        return Fate.SUCCEED, 1.0
    fate = Fate(fault.name)
    return fate, 0.0 if fate in NEVER_RUN else plan.batch.done_share


class OpenAIStatus(StrEnum):
    """OpenAI's statuses; the last four are terminal."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    CANCELLING = "cancelling"
    FAILED = "failed"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


OPENAI_ENDS: Final = {
    Fate.SUCCEED: OpenAIStatus.COMPLETED,
    Fate.FAIL: OpenAIStatus.FAILED,
    Fate.FAIL_PARTIAL: OpenAIStatus.FAILED,
    Fate.TOKEN_LIMIT: OpenAIStatus.FAILED,
    Fate.EXPIRE: OpenAIStatus.EXPIRED,
    Fate.CANCEL: OpenAIStatus.CANCELLED,
}


def openai_status(batch: Batch, extras: Extras, now: float) -> OpenAIStatus:
    """Return the status of a batch of OpenAI's dialect at `now`."""
    if now >= batch.ends_at:
        return OPENAI_ENDS[Fate(batch.fate)]
    if batch.cancelled_at is not None:
        return OpenAIStatus.CANCELLING
    if now < extras.validated_at:
        return OpenAIStatus.VALIDATING
    return OpenAIStatus.IN_PROGRESS if now < extras.finalizing_at else OpenAIStatus.FINALIZING


def openai_share_run(extras: Extras, now: float) -> float:
    """Return the share of its rows that has run: none while it is validating."""
    running_s = extras.finalizing_at - extras.validated_at
    return min(1.0, max(0.0, (now - extras.validated_at) / running_s)) if running_s > 0 else 1.0
