"""The processes that work on a ledger: for reports, and for checks at the start; no guarantee depends on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orchestrator.domain.queues import Queue


class Kind(StrEnum):
    """The kind of a process."""

    WORKER = "worker"
    BEAT = "beat"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProcess:
    """A process that works on the ledger."""

    id: str
    host: str
    pid: int
    kind: Kind
    queues: tuple[Queue, ...] = ()
    version: str = ""
    started_at: datetime
    seen_at: datetime
