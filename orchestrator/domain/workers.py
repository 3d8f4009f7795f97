"""The processes that work on a ledger: for reports, and for checks at the start; no guarantee depends on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from orchestrator.domain.model import Step
from orchestrator.domain.queues import Queue


class Kind(StrEnum):
    """The kind of a process."""

    WORKER = "worker"
    BEAT = "beat"
    RUN = "run"  # runs one job in this process, beside no fleet


FLEET: Final = frozenset({Kind.WORKER, Kind.BEAT})
SEEN_S: Final = 30.0  # a process that was not seen for longer counts as gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Doing:
    """A step that a process was at when it was last seen."""

    step: Step
    job_id: str
    unit: str  # a chunk's name, "shard 3"; "" for the job
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProcess:
    """A process that works on the ledger."""

    id: str
    host: str
    pid: int
    kind: Kind
    queues: tuple[Queue, ...] = ()
    job_id: str = ""  # of a RUN
    version: str = ""
    started_at: datetime
    seen_at: datetime
    doing: tuple[Doing, ...] = ()  # the longest first; a few
    memory_bytes: int | None = None  # that it occupies; None where its system does not tell
    is_stopping: bool = False  # it begins nothing more, and finishes what it has begun
