"""A job as a whole: its numbers, and what it needs next.

Rule: rows in = succeeded + failed before anything is sealed; until then something is under way, or waits for more
failed rows to be sent with, or waits for a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from orchestrator.domain.model import TERMINAL, ChunkState, Job, JobState, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """A job in numbers, as the ledger has them."""

    shards: int
    shards_planning: int
    shards_finished: int
    rows: int  # planned so far
    settled: int
    refused: int  # failed at planning: no request could be made
    chunks: Mapping[ChunkState, int] = field(default_factory=dict)
    succeeded: int = 0
    failed: int = 0  # of rows that were sent, and are not being sent again
    waiting: int = 0
    waiting_since: datetime | None = None
    missing: int = 0
    lines: int = 0
    duplicates: int = 0
    foreign: int = 0
    unreadable: int = 0
    in_flight_rows: int = 0
    in_flight_done: int = 0  # of those, answered, by the provider's own progress
    overdue: int = 0  # batches that should have ended long ago
    overdue_batch: str = ""  # one of them
    batches: int = 0  # creates that made one
    cost_usd: Decimal = Decimal(0)  # settled
    reserved_usd: Decimal = Decimal(0)  # of batches not settled yet, at most
    possibly_double_paid_usd: Decimal = Decimal(0)  # of attempts abandoned under on_ambiguous = "resubmit"
    trouble: str = ""  # the last error of a call to the provider that is being tried again

    @property
    def live_chunks(self) -> int:
        """Chunks that may still bring answers or failures."""
        return sum(count for state, count in self.chunks.items() if state not in TERMINAL)

    @property
    def unresolved_chunks(self) -> int:
        """Chunks that wait for a person."""
        return self.chunks.get(ChunkState.UNRESOLVED, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What decides about a job's next step."""

    waiting: int  # rows to be sent again, in chunks of their own
    waiting_since: datetime | None
    moving: bool  # a shard is being planned, or a chunk is under way that does not wait for a person
    finished: bool  # every shard has its output


def next_step(job: Job, outlook: Outlook, *, now: datetime) -> Step | None:
    """Return the job-wide step that is due, or None while shards and chunks have work of their own."""
    if outlook.waiting and _waited_enough(job, outlook, now):
        return Step.RETRY
    if outlook.finished:
        return Step.SEAL
    return None


def _waited_enough(job: Job, outlook: Outlook, now: datetime) -> bool:
    if job.state is JobState.CANCELLING or not outlook.moving:
        return True
    return outlook.waiting >= job.policy.chunk_requests_max or (
        outlook.waiting_since is not None
        and now >= outlook.waiting_since + timedelta(seconds=job.policy.retry_gather_s)
    )
