"""The processes at work on a ledger. For people, and for refusals at start; no guarantee depends on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orchestrator.domain.queues import Queue


class Kind(StrEnum):
    """What a process does."""

    WORKER = "worker"
    BEAT = "beat"
    RUNNER = "runner"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProcess:
    """A process at work on the ledger."""

    id: str
    host: str
    pid: int
    kind: Kind
    queues: tuple[Queue, ...] = ()
    version: str = ""
    started_at: datetime
    seen_at: datetime
