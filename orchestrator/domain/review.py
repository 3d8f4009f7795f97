"""What a job as a whole needs next, decided from its totals.

Rule: rows in = succeeded + dead before anything is sealed; until then something is always under way, waiting for
company, or waiting for a person.
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
    refused: int  # dead at planning
    chunks: Mapping[ChunkState, int] = field(default_factory=dict)
    succeeded: int = 0
    dead: int = 0  # of rows that were sent, and are not being sent again
    waiting: int = 0
    waiting_since: datetime | None = None
    missing: int = 0
    lines: int = 0
    duplicates: int = 0
    foreign: int = 0
    unreadable: int = 0
    in_flight_rows: int = 0
    in_flight_done: int = 0  # of those, answered, by the provider's own progress
    batches: int = 0  # creates that made one
    cost_usd: Decimal = Decimal(0)  # settled
    reserved_usd: Decimal = Decimal(0)  # of batches not settled yet, at most
    wagered_usd: Decimal = Decimal(0)  # of attempts abandoned under on_ambiguous = "resubmit"
    trouble: str = ""  # what a call to the provider last failed with that is being tried again

    @property
    def live_chunks(self) -> int:
        """Chunks that may still bring answers or failures."""
        return sum(count for state, count in self.chunks.items() if state not in TERMINAL)

    @property
    def held_chunks(self) -> int:
        """Chunks that wait for a person."""
        return self.chunks.get(ChunkState.HELD, 0)


def next_step(job: Job, totals: Totals, *, now: datetime) -> Step | None:
    """Return the job-wide step that is due, or None while shards and chunks have work of their own."""
    if totals.waiting and _waited_enough(job, totals, now):
        return Step.RETRY
    if totals.shards_finished == totals.shards:
        return Step.SEAL
    return None


def _waited_enough(job: Job, totals: Totals, now: datetime) -> bool:
    if job.state is JobState.CANCELLING:
        return True
    nothing_else = totals.live_chunks == totals.held_chunks and totals.shards_planning == 0
    return (
        nothing_else
        or totals.waiting >= job.policy.chunk_requests_max
        or (
            totals.waiting_since is not None
            and now >= totals.waiting_since + timedelta(seconds=job.policy.retry_gather_s)
        )
    )
