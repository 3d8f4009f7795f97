"""A job as a whole: its totals, and its next job-wide step.

Rule: rows in = succeeded + failed before a job is sealed; until then some rows are under way, waiting to be retried
together with others, or waiting for a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from orchestrator.domain.model import IN_FLIGHT, TERMINAL, ChunkState, Job, JobState, Step
from orchestrator.domain.money import exact


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why chunks get nowhere at present: one reason, and the chunks that have it."""

    reason: str
    chunks: int
    is_unresolved: bool = False  # they wait for a person
    since: datetime | None = None
    next_at: datetime | None = None  # when the next of them is tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The totals of a job, from the ledger."""

    shards: int
    shards_planning: int
    rows: int  # planned so far
    settled: int
    refused: int  # failed while planning; never sent
    chunks: Mapping[ChunkState, int] = field(default_factory=dict)
    succeeded: int = 0
    reused: int = 0  # of the succeeded: answers of other jobs, or to equal requests of this one
    failed: int = 0  # of rows that were sent, and are not being sent again
    waiting: int = 0
    waiting_since: datetime | None = None
    missing: int = 0
    lines: int = 0
    duplicates: int = 0
    foreign: int = 0
    unreadable: int = 0
    truncated_answers: int = 0  # of the succeeded
    empty_answers: int = 0
    refused_answers: int = 0
    unpriced: int = 0  # rows whose cost is not known: `cost_usd` is without theirs
    unreadable_rows: int = 0  # of the failed: kept, and to be read again by `reread`
    unread_answers: int = 0  # the same, of rows whose earlier answer stands
    overdue: int = 0  # batches that should have ended long ago
    overdue_batch: str = ""  # one of them
    waits_for_canary: bool = False  # nothing but the rows of its canary may be sent yet
    batches: int = 0  # creates that made one
    cost_usd: Decimal = Decimal(0)  # settled
    reserved_usd: Decimal = Decimal(0)  # of batches not settled yet, at most
    unsent_usd_min: Decimal | None = None  # what the cheapest of the unsent chunks may cost; None: there is none
    possibly_double_paid_usd: Decimal = Decimal(0)  # of attempts abandoned under on_ambiguous = "resubmit"
    troubles: tuple[Trouble, ...] = ()  # those of most chunks first; a few

    @property
    def trouble(self) -> Trouble | None:
        """The commonest reason for which something is tried again."""
        return next((trouble for trouble in self.troubles if not trouble.is_unresolved), None)

    @property
    def flaws(self) -> dict[str, int]:
        """How many answers are of each kind that is not whole, by the kind's name."""
        return {"truncated": self.truncated_answers, "empty": self.empty_answers, "refused": self.refused_answers}

    @property
    def known_cost_usd(self) -> Decimal | None:
        """What the settled batches cost, at least; None where nothing of it is known."""
        return None if self.unpriced and not self.cost_usd else self.cost_usd

    @property
    def live_chunks(self) -> int:
        """Chunks that are not in a final state."""
        return sum(count for state, count in self.chunks.items() if state not in TERMINAL)

    def budget_wait(self, budget_usd: Decimal | None) -> str:
        """Return what a job waits for whose next chunk does not fit its budget now; "" where one does."""
        if budget_usd is None or self.unsent_usd_min is None:
            return ""
        taken = self.cost_usd + self.reserved_usd + self.possibly_double_paid_usd
        if taken + self.unsent_usd_min <= budget_usd or not self.in_flight_chunks:
            return ""
        batches = "1 batch" if self.in_flight_chunks == 1 else f"{self.in_flight_chunks:,} batches"
        return (
            f"{exact(taken)} of {exact(budget_usd)} is spent or reserved, by {batches} in flight. More is sent as they "
            "settle; raise policy.budget_usd to go faster"
        )

    @property
    def in_flight_chunks(self) -> int:
        """Chunks whose create may cost what is not settled yet."""
        return sum(self.chunks.get(state, 0) for state in (*IN_FLIGHT, ChunkState.ENDED))

    @property
    def unresolved_chunks(self) -> int:
        """Chunks that wait for a person."""
        return self.chunks.get(ChunkState.UNRESOLVED, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The counts that a job's next step depends on."""

    waiting: int  # rows to be sent again, in chunks of their own
    waiting_since: datetime | None
    moving: bool  # a shard is being planned, or a chunk is under way without waiting for a person
    finished: bool  # every shard has its output
    canary_ended: bool = False  # the job's canary has chunks, and each has ended
    copying: bool = False  # there are duplicates, and no chunk that they could still get an answer of is under way


def next_step(job: Job, outlook: Outlook, *, now: datetime) -> Step | None:
    """Return the job-wide step that is due, or None while shards and chunks have steps of their own."""
    if outlook.waiting and _waited_enough(job, outlook, now):
        return Step.RETRY
    if may_copy(job, outlook):
        return Step.RETRY
    if outlook.finished:
        return Step.SEAL
    return None


def may_copy(job: Job, outlook: Outlook) -> bool:
    """Return whether duplicates get what their requests came to: nothing more is sent, or can be."""
    is_planned = not outlook.moving or job.state is JobState.CANCELLING
    return outlook.copying and not outlook.waiting and is_planned


def _waited_enough(job: Job, outlook: Outlook, now: datetime) -> bool:
    if job.state is JobState.CANCELLING or not outlook.moving:
        return True
    return outlook.waiting >= job.policy.chunk_requests_max or (
        outlook.waiting_since is not None
        and now >= outlook.waiting_since + timedelta(seconds=job.policy.retry_gather_s)
    )
