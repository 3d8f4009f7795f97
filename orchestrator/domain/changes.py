"""The changes that a step can ask the ledger to write; all changes of one call are written in one transaction.

Rule: a change names the version it was decided on. If that is no longer the present version, the ledger refuses the
change (LeaseLost): a decision based on stale data changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from orchestrator.domain.model import Attempt, AttemptState, AttemptToken, BatchId, Chunk, ChunkId, Job, Shard

Unit = TypeVar("Unit", Job, Shard, Chunk)


def written(unit: Unit) -> Unit:
    """Return `unit` as the ledger stores it: with the next version."""
    return replace(unit, version=unit.version + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkMoved:
    """`before` became `after`; its next step is due at `due_at` (None: never automatically)."""

    before: Chunk
    after: Chunk
    due_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardMoved:
    """`before` became `after`; its next step is due at `due_at` (None: when its rows are settled)."""

    before: Shard
    after: Shard
    due_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobMoved:
    """`before` became `after`; review it at `due_at`."""

    before: Job
    after: Job
    due_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkAdded:
    """A new chunk, and its number of rows by shard; one that has ended settles them."""

    chunk: Chunk
    rows_by_shard: Mapping[int, int]
    due_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptOpened:
    """The intent to create; refused (BudgetExhausted) where it could exceed `budget_usd`."""

    attempt: Attempt
    budget_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptClosed:
    """The outcome of a create; `cost_usd` replaces its reservation once it is known."""

    token: AttemptToken
    state: AttemptState
    batch_id: BatchId | None = None
    cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsSettled:
    """Rows of a chunk that have succeeded or failed permanently, by shard; `failed` counts the failed ones.

    A chunk that failed or was cancelled unsent needs none: the ledger settles all its rows with the move.
    """

    chunk_id: ChunkId
    by_shard: Mapping[int, int]
    failed: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountPaused:
    """No create on this account before `until`; later, where it was paused for the same a short while ago."""

    account: str
    until: datetime
    reason: str  # with the way out
    needs_person: bool = False  # it cannot go on by itself, with the key that it has


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountProved:
    """A create that was sent then has made a batch: the account is not refused any more."""

    account: str
    sent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLearned:
    """The account's queue at the provider is full with so many batches; more are tried later, one by one."""

    account: str
    in_flight_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PollsPaused:
    """No poll of this account is handed out before `until`: the provider limits the rate."""

    account: str
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """An event for the timeline without a change of state; ids and counts only."""

    name: str
    details: Mapping[str, str | int] = field(default_factory=dict)


Change = (
    ChunkMoved
    | ShardMoved
    | JobMoved
    | ChunkAdded
    | AttemptOpened
    | AttemptClosed
    | RowsSettled
    | AccountPaused
    | AccountProved
    | QueueLearned
    | PollsPaused
    | Noted
)
