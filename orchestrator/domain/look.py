"""One look at a job: what a screen, a page, a metric or a program is told about it. They draw it and compute nothing.

Rule 1: it is made by `look_at` from what was read in one transaction, so that its numbers belong together.
Rule 2: every row is in exactly one of six places, and the six counts add up to the rows.
Rule 3: `answered` never falls, but where a person has rows sent again.
Rule 4: a job is `running` only where a process that works on it was seen within `workers.SEEN_S` seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from orchestrator.domain.causes import Cause
from orchestrator.domain.model import Canary, ChunkState, Job, JobState
from orchestrator.domain.money import quantize
from orchestrator.domain.notices import NONE_UNDELIVERED, Undelivered
from orchestrator.domain.progress import Totals, Trouble
from orchestrator.domain.timeline import GROUP_OF, Group
from orchestrator.domain.unit_costs import Batch, Planned, unit_costs
from orchestrator.domain.workers import Kind, WorkerProcess

S = ChunkState
AT_PROVIDER: Final = (S.SUBMITTING, S.AMBIGUOUS, S.SUBMITTED, S.ENDED)
UNSENT: Final = (S.PLANNED, S.UPLOADED, S.SPLITTING)
LOW, HIGH = 0.25, 0.75  # the quantiles of how long a batch takes that an estimate spans
BATCHES_MIN: Final = 3  # finished batches that an estimate needs


class Activity(StrEnum):
    """What a job does at present, in the words that a person reads."""

    NEEDS_YOU = "needs you"
    RUNNING = "running"
    PLANNING = "planning"
    CANARY = "waiting for its canary"
    BATCHES = "waiting for batches"
    ACCOUNT = "waiting for the account"
    BUDGET = "waiting for budget"
    PAUSED = "paused by you"
    WRITING = "writing its output"
    CANCELLING = "cancelling"
    STOPPING = "stopping"  # all who work on it were asked to end, and finish what they have begun
    UNATTENDED = "unattended"
    STOPPED = "stopped"
    FINISHED = "finished"
    CANCELLED = "cancelled"


ENDED: Final = frozenset({Activity.FINISHED, Activity.CANCELLED})


# A mark for each, beside its words: no state is told by colour alone.
MARKS: Final = {
    Activity.NEEDS_YOU: "!",
    Activity.STOPPED: "!",
    Activity.RUNNING: "●",
    Activity.PLANNING: "●",
    Activity.CANARY: "●",
    Activity.BATCHES: "●",
    Activity.WRITING: "●",
    Activity.CANCELLING: "●",
    Activity.STOPPING: "●",
    Activity.ACCOUNT: "◌",
    Activity.BUDGET: "◌",
    Activity.PAUSED: "◌",
    Activity.UNATTENDED: "○",
    Activity.FINISHED: "✓",
    Activity.CANCELLED: "–",  # noqa: RUF001 - the mark of a cancelled job
}
# The order of any list of jobs.
GROUPS: Final = tuple(
    (title, tuple(one for one, mark in MARKS.items() if mark in marks))
    for title, marks in (("need you", "!"), ("running", "●"), ("waiting", "◌"), ("unattended", "○"), ("ended", "✓–"))  # noqa: RUF001
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Where a job's rows are; the six counts add up to `total`."""

    total: int  # planned so far: all of them once `all_read`
    all_read: bool
    answered: int
    at_provider: int
    to_send_again: int
    waiting: int  # not sent yet, or waiting for the answer to an equal request
    failed: int
    needs_decision: int
    reused: int = 0  # of the answered: answers of other jobs, or to equal requests of this one

    @property
    def placed(self) -> int:
        """The sum of the six."""
        return self.answered + self.at_provider + self.to_send_again + self.waiting + self.failed + self.needs_decision


@dataclass(frozen=True, slots=True, kw_only=True)
class AtProvider:
    """The batches that the provider has, by its own word."""

    answered: int = 0  # rows, by the provider's count
    batches: int = 0
    oldest_sent_at: datetime | None = None
    looked_at: datetime | None = None  # when the provider was last asked about one of them
    next_look_at: datetime | None = None
    words: Mapping[str, int] = field(default_factory=dict)  # the provider's word for their status: how many


JUDGED_BY_MIN: Final = 1_000  # answers: where one in twenty is twenty times as long, they are a tenth off at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What a job costs, USD."""

    spent: Decimal | None  # settled; None where nothing of it is known
    unpriced: int  # answered rows whose cost is not known: `spent` is without theirs
    reserved: Decimal  # of batches that are not settled, at most
    budget: Decimal | None
    expected: Decimal | None  # at the end, by what batches have cost so far: see `unit_costs`; None before any has


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """When a job may end, by how long its batches have taken."""

    soonest: datetime
    latest: datetime
    batches: int  # finished ones that it is made from


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """An unresolved create: a person must find out whether it made a batch."""

    chunk: str
    rows: int
    usd_max: Decimal | None
    sent_at: datetime | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a look is made from, besides the job and its totals: read in the same transaction."""

    requests: Mapping[ChunkState, int]  # requests of the chunks in a state
    at_provider: AtProvider
    causes: tuple[Cause, ...]  # of failed rows; those without a code are added
    took: Sequence[timedelta]  # how long finished batches took
    settled: Sequence[Batch]  # the latest batches whose cost is known
    unsettled: Planned  # requests that cost something yet
    decisions: tuple[Decision, ...]  # the first few
    pause: str  # why the account may not send; "" where it may
    needs_person: bool  # the account cannot go on by itself
    workers: tuple[WorkerProcess, ...]  # that work on it, seen a short while ago
    has_beat: bool = False  # of a fleet, seen as lately
    began_at: datetime
    ended_at: datetime | None
    written: tuple[int, int]  # shards whose output is in place, of how many
    undelivered: Undelivered = NONE_UNDELIVERED


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A job at one moment."""

    job_id: str
    name: str
    at: datetime
    state: JobState
    activity: Activity
    reason: str  # why it is stopped or waits
    decision: str  # what a person must approve before it goes on
    budget_wait: str  # what it waits for whose next chunk does not fit its budget now
    began_at: datetime
    ended_at: datetime | None
    paused_at: datetime | None  # since when a person has had it send nothing
    worked_by: tuple[WorkerProcess, ...]
    account: str
    revision: int
    rows: Rows
    at_provider: AtProvider
    chunks: Mapping[ChunkState, int]
    in_flight_max: int  # batches of the account at a time
    written: tuple[int, int]
    money: Money
    estimate: Estimate | None
    causes: tuple[Cause, ...]  # of the failed rows, that of the most rows first; they add up to `rows.failed`
    flaws: Mapping[str, int]  # answers that are not whole, by kind
    troubles: tuple[Trouble, ...]
    decisions: tuple[Decision, ...]
    undelivered: Undelivered = NONE_UNDELIVERED  # notices that nobody has received
    lacks: str = ""  # the kind of process of its fleet that is missing: "worker" or "beat"

    @property
    def few_paid(self) -> int:
        """Answers that the expected cost is judged by, where they are so few that it may be far off; else 0."""
        paid = self.rows.answered - self.rows.reused - self.money.unpriced
        return paid if 0 < paid < JUDGED_BY_MIN else 0

    @property
    def unsent(self) -> int:
        """Batches that are planned and not sent."""
        return sum(self.chunks.get(state, 0) for state in UNSENT)

    @property
    def unresolved(self) -> int:
        """Batches that a person must decide about."""
        return self.chunks.get(S.UNRESOLVED, 0)

    @property
    def batches(self) -> dict[Group, int]:
        """How many batches are how far."""
        counts = dict.fromkeys(Group, 0)
        for state, count in self.chunks.items():
            if state in GROUP_OF:
                counts[GROUP_OF[state]] += count
        return counts

    @property
    def row_cost(self) -> Decimal | None:
        """What an answer has cost so far, USD; None where nothing is known."""
        paid = self.rows.answered - self.rows.reused - self.money.unpriced
        return self.money.spent / paid if self.money.spent is not None and paid > 0 else None

    @property
    def has_ended(self) -> bool:
        """Whether the job has ended and has its output."""
        return self.activity in ENDED


Progress = Look  # its name as the argument of a progress callback
OnLook = Callable[[Look], None]  # a progress callback, called about twice a second


def look_at(job: Job, totals: Totals, seen: Seen, *, now: datetime) -> Look:
    """Return what there is to say of a job."""
    rows = _rows(totals, seen)
    activity = _activity(job, totals, rows, seen)
    waits = totals.budget_wait(job.policy.budget_usd)
    return Look(
        job_id=job.id,
        name=job.name,
        at=now,
        state=job.state,
        activity=activity,
        reason=job.reason or ((seen.pause or waits) if activity not in ENDED else ""),
        decision=job.decision,
        budget_wait=waits if job.state is JobState.RUNNING else "",
        began_at=seen.began_at,
        ended_at=seen.ended_at,
        paused_at=job.paused_at,
        worked_by=seen.workers,
        lacks=_lacks(seen),
        account=job.account,
        revision=job.revision,
        rows=rows,
        at_provider=seen.at_provider,
        chunks=totals.chunks,
        in_flight_max=job.policy.batches_in_flight_max,
        written=seen.written,
        money=_money(job, totals, rows, seen),
        estimate=_estimate(job, totals, rows, seen, now=now) if activity in ON_ITS_WAY else None,
        causes=_causes(rows.failed, seen.causes),
        flaws=totals.flaws,
        # What pauses the account is its reason, and says when it is tried again: later than the chunk is due.
        troubles=tuple(one for one in totals.troubles if not seen.pause.startswith(f"{one.reason}. ")),
        decisions=seen.decisions,
        undelivered=seen.undelivered,
    )


def _rows(totals: Totals, seen: Seen) -> Rows:
    def of(*states: ChunkState) -> int:
        return sum(seen.requests.get(state, 0) for state in states)

    return Rows(
        total=totals.rows,
        all_read=totals.shards_planning == 0,
        answered=totals.succeeded,
        reused=totals.reused,
        at_provider=of(*AT_PROVIDER),
        to_send_again=totals.waiting,
        waiting=of(*UNSENT, S.DUPLICATE),
        failed=totals.failed + totals.refused,
        needs_decision=of(S.UNRESOLVED),
    )


_ENDED_AS: Final = {JobState.FINISHED: Activity.FINISHED, JobState.CANCELLED: Activity.CANCELLED}
ON_ITS_WAY: Final = frozenset({Activity.RUNNING, Activity.BATCHES})


def _activity(job: Job, totals: Totals, rows: Rows, seen: Seen) -> Activity:
    if job.state in _ENDED_AS:
        return _ENDED_AS[job.state]
    if job.decision or (seen.needs_person and not rows.at_provider):
        return Activity.NEEDS_YOU
    if job.state is JobState.STOPPED:
        return Activity.STOPPED
    moves = rows.at_provider + rows.waiting + rows.to_send_again > 0 or not rows.all_read
    if rows.needs_decision and not moves:
        return Activity.NEEDS_YOU
    if job.paused_at is not None and moves and (seen.workers or not rows.at_provider):
        return Activity.PAUSED
    if not seen.workers:
        return Activity.UNATTENDED
    if all(one.is_stopping for one in seen.workers):
        return Activity.STOPPING
    if job.state is JobState.CANCELLING:
        return Activity.CANCELLING
    return _at_work(job, totals, rows, seen)


def _lacks(seen: Seen) -> str:
    """Return which kind of process a fleet lacks for the job to go on; "" where it lacks none, or there is no fleet."""
    if not seen.workers:
        return Kind.WORKER.value if seen.has_beat else ""
    return "" if seen.has_beat or any(one.kind is Kind.RUN for one in seen.workers) else Kind.BEAT.value


def _at_work(job: Job, totals: Totals, rows: Rows, seen: Seen) -> Activity:
    """Return what a job does whose processes are alive."""
    if not rows.all_read and not rows.at_provider and not rows.answered:
        return Activity.PLANNING
    if job.canary is Canary.OPEN:
        return Activity.CANARY
    if seen.pause and rows.waiting and not rows.at_provider:
        return Activity.ACCOUNT
    if rows.all_read and not rows.at_provider and not rows.waiting and not rows.to_send_again:
        return Activity.WRITING
    if totals.budget_wait(job.policy.budget_usd):
        return Activity.BUDGET
    is_full = totals.chunks.get(S.SUBMITTED, 0) >= job.policy.batches_in_flight_max
    if rows.at_provider and (is_full or not rows.waiting):
        return Activity.BATCHES
    return Activity.RUNNING


def _money(job: Job, totals: Totals, rows: Rows, seen: Seen) -> Money:
    known, expected = totals.known_cost_usd, None
    each = unit_costs(seen.settled) if rows.all_read else None
    if known is not None and each is not None:
        planned, again = seen.unsettled, totals.waiting
        # Rows that wait to be sent again are in no batch: they are taken to be as the others.
        tokens = again * sum(one.tokens for one in seen.settled) // sum(one.requests for one in seen.settled)
        expected = quantize(known + each.of(planned) + each.of(Planned(requests=again, tokens=tokens)))
    return Money(
        spent=known,
        unpriced=totals.unpriced,
        reserved=totals.reserved_usd,
        budget=job.policy.budget_usd,
        expected=expected,
    )


def _estimate(job: Job, totals: Totals, rows: Rows, seen: Seen, *, now: datetime) -> Estimate | None:
    """Return when the job may end: the batches that wait take turns, and each takes as long as finished ones did."""
    took = sorted(seen.took)
    if len(took) < BATCHES_MIN or not rows.all_read:
        return None
    places = max(1, job.policy.batches_in_flight_max)
    unsent = sum(totals.chunks.get(state, 0) for state in UNSENT) + (rows.to_send_again > 0)
    turns, oldest = math.ceil(unsent / places), seen.at_provider.oldest_sent_at
    age = now - oldest if oldest is not None else timedelta(0)
    ends = []
    for share in (LOW, HIGH):
        each = took[min(len(took) - 1, int(share * len(took)))]
        in_flight = max(timedelta(0), each - age) if totals.chunks.get(S.SUBMITTED) else timedelta(0)
        ends.append(now + in_flight + turns * each)
    return Estimate(soonest=ends[0], latest=ends[1], batches=len(took))


def _causes(failed: int, known: tuple[Cause, ...]) -> tuple[Cause, ...]:
    """Return causes that add up to the failed rows: those of which no code is known have a cause of their own."""
    rest = failed - sum(one.rows for one in known)
    return (*known, Cause("not_sent_again", rest)) if rest > 0 else known
