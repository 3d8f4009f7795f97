"""What a person reads of a job's batches, and of what has happened to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from orchestrator.domain.model import ChunkState

S = ChunkState


class Group(StrEnum):
    """How far a batch is, in the words that a person reads, in the order in which they are listed."""

    NEEDS_YOU = "needs you"
    AT_PROVIDER = "at the provider"
    WAITING = "waiting"
    COLLECTED = "collected"
    GIVEN_UP = "given up"


GROUP_OF: Final[Mapping[ChunkState, Group]] = {
    S.UNRESOLVED: Group.NEEDS_YOU,
    **dict.fromkeys((S.SUBMITTING, S.AMBIGUOUS, S.SUBMITTED, S.ENDED), Group.AT_PROVIDER),
    **dict.fromkeys((S.PLANNED, S.UPLOADED, S.SPLITTING), Group.WAITING),
    S.COLLECTED: Group.COLLECTED,
    **dict.fromkeys((S.FAILED, S.CANCELLED), Group.GIVEN_UP),
}  # a SPLIT chunk is in the two that it became


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch of a job, or the chunk that will be one."""

    chunk: str
    group: Group
    state: ChunkState
    rows: int
    batch_id: str | None
    word: str  # the provider's, for its status
    answered: int  # rows, by the provider's count while it runs, by ours once it is collected
    failed: int  # rows, by ours
    to_send_again: int
    sent_at: datetime | None
    looked_at: datetime | None
    next_at: datetime | None  # of the next step
    ended_at: datetime | None
    reason: str  # why it gets nowhere


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEvent:
    """What happened to a job, or to one of its shards and chunks."""

    at: datetime
    name: str
    unit: str  # a chunk's name, a shard's number; "" for the job
    details: Mapping[str, str | int]
