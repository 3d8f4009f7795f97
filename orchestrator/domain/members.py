"""Who is at work on a ledger. For people, and for refusals at start: no promise hangs on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orchestrator.domain.lanes import Lane


class Kind(StrEnum):
    """What a member does."""

    WORKER = "worker"
    BEAT = "beat"
    RUNNER = "runner"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A process at work on the ledger."""

    id: str
    host: str
    pid: int
    kind: Kind
    lanes: tuple[Lane, ...] = ()
    version: str = ""
    started_at: datetime
    seen_at: datetime
