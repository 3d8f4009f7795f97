"""What commands about one job say to a program, beside how it stands: its plan, rows, batches, events, decisions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrator.api.documents.document import Count, Document, Part, Time, Usd
from orchestrator.api.documents.status import AtProvider, Money, Rows, at_provider, money, rows

if TYPE_CHECKING:
    from orchestrator.domain.look import Look
    from orchestrator.domain.progress import Totals
    from orchestrator.domain.timeline import Batch as LedgerBatch
    from orchestrator.domain.timeline import LedgerEvent


class Column(Part, frozen=True, kw_only=True):
    """What was seen of a column."""

    name: str
    type: str
    empty: Count  # null, or text without a letter, among the rows that were looked at
    example: str


class Init(Document, frozen=True, kw_only=True, tag="orchestrator.init/1"):
    """A job file that was written for a table."""

    job_file: str
    dataset: str
    rows: Count | None
    rows_seen: Count
    columns: tuple[Column, ...]
    prompt: str
    model: str
    provider: str
    commands: tuple[str, ...]


class RetryPlan(Document, frozen=True, kw_only=True, tag="orchestrator.retry_plan/1"):
    """What `retry` would send again."""

    job_id: str
    rows: Count
    kinds: dict[str, Count]  # of the rows: failed, invalid, truncated, empty, refused, whole
    never_sent: Count  # rows that are meant and were never a request
    unreadable: Count  # rows that are meant, and whose answer is kept and cannot be read
    cost_usd_expected: Usd | None
    cost_usd_max: Usd | None
    confirm_usd: Usd


class LongPrompt(Part, frozen=True, kw_only=True):
    """The price of a prompt that is longer than `over_tokens`: of all of it."""

    over_tokens: Count
    input_usd: Usd
    output_usd: Usd
    cached_usd: Usd | None = None


class Price(Part, frozen=True, kw_only=True):
    """USD per million tokens."""

    input_usd: Usd
    output_usd: Usd
    cached_usd: Usd | None = None
    long: LongPrompt | None = None
    source: str
    read: str
    until: str


class Plan(Document, frozen=True, kw_only=True, tag="orchestrator.plan/1"):
    """What a job would send and cost. Unless `exact`, numbers are scaled up from the rows that were read."""

    job_id: str
    model: str
    rows: Count | None
    requests: Count  # to be sent
    refused: Count
    chunks: Count
    request_bytes: Count
    tokens_in: Count
    tokens_out_max: Count
    cost_usd_max: Usd | None
    cost_usd_expected: Usd | None
    budget_usd: Usd | None
    judged_by: Count  # answers whose cost the expected one is judged by; 0: by half of `max_tokens`
    price: Price | None
    notes: tuple[str, ...]
    exact: bool
    rows_read: Count
    reused: Count
    reused_from: dict[str, int]
    duplicates: Count
    canary_rows: Count
    answer_columns: dict[str, str]
    samples: tuple[str, ...]  # request lines: they hold the prompt and rows


class Results(Document, frozen=True, kw_only=True, tag="orchestrator.results/1"):
    """Rows with their answers: a page of them, in source order."""

    job_id: str
    state: str
    has_ended: bool
    output: str | None  # the folder of the output; None where the job has none yet
    total: Count  # rows of the job, planned so far
    answered: Count
    failed: Count
    truncated: Count
    empty: Count
    refused: Count
    rows: tuple[dict[str, Any], ...]  # by column
    after: Count  # rows of the wanted kind before these
    next: Count | None  # `--after` of the next page; None: these are the last


class Export(Document, frozen=True, kw_only=True, tag="orchestrator.export/1"):
    """A file that was written."""

    job_id: str
    path: str
    rows: Count


class Sent(Part, frozen=True, kw_only=True):
    """One create of a chunk."""

    attempt: Count
    state: str
    batch_id: str | None
    sent_at: Time
    cost_usd: Usd | None  # of the whole batch


class Try(Part, frozen=True, kw_only=True):
    """A chunk that the row was in: what was sent, and what came back for the row."""

    chunk: str
    round: Count
    state: str
    reason: str
    request_file: str
    batches: tuple[Sent, ...]
    outcome: dict[str, Any] | None
    lines: dict[str, str]
    revision: Count
    stands: bool
    request: Any


class Show(Document, frozen=True, kw_only=True, tag="orchestrator.show/1"):
    """One row, from the source to its answer."""

    job_id: str
    custom_id: str
    shard: Count
    row: Count
    price: Price | None
    source: dict[str, Any] | None
    source_note: str
    request: Any
    tries: tuple[Try, ...]
    answer: dict[str, Any] | None


class Batch(Part, frozen=True, kw_only=True):
    """One batch, or the chunk that will be one."""

    chunk: str
    group: str  # how far it is, in a person's words
    state: str
    rows: Count
    batch_id: str | None
    word: str  # the provider's, for its status
    answered: Count
    failed: Count
    to_send_again: Count
    sent_at: Time | None
    looked_at: Time | None
    next_at: Time | None
    ended_at: Time | None
    reason: str


class Batches(Document, frozen=True, kw_only=True, tag="orchestrator.batches/1"):
    """All batches of a job: those that need a person first, then by how far they are, the oldest first."""

    job_id: str
    at: Time
    batches: tuple[Batch, ...]


class Position(Part, frozen=True, kw_only=True):
    """How a job stands at an event."""

    activity: str
    reason: str
    decision: str
    rows: Rows
    at_provider: AtProvider
    money: Money


class Event(Document, frozen=True, kw_only=True, tag="orchestrator.event/1"):
    """One line of what happens to a job.

    Events of the ledger are named `job.…`, `shard.…`, `chunk.…`, `canary.…`, `account.…`, `batch.…`, `results.…` and
    `step.…`; those of the process that runs it `run.started`, `run.activity` (it does something else than before) and
    `run.progress`, of which only the last two have a `position`.
    """

    at: Time
    job_id: str
    event: str
    unit: str  # a chunk's name, a shard's number; "" for the job
    details: dict[str, str | int]
    told: str  # the same in words
    position: Position | None


class Unresolved(Part, frozen=True, kw_only=True):
    """A chunk whose last create may or may not have made a batch."""

    chunk: str
    requests: Count
    sent_at: Time
    attempt: Count
    cost_usd_max: Usd
    reason: str
    ids: tuple[str, ...]  # what may be the id of its batch


class Resolve(Document, frozen=True, kw_only=True, tag="orchestrator.resolve/1"):
    """What was decided now, and the chunks that are unresolved."""

    job_id: str
    decided: str  # what was recorded now; "" for nothing
    unresolved: tuple[Unresolved, ...]
    commands: tuple[str, ...]


class Reread(Document, frozen=True, kw_only=True, tag="orchestrator.reread/1"):
    """What became of rows by reading archived results again."""

    job_id: str
    read: Count
    failed: Count
    unreadable: Count
    is_released: bool
    is_reopened: bool
    commands: tuple[str, ...]


class FailedRow(Part, frozen=True, kw_only=True):
    """A row that has failed."""

    custom_id: str
    message: str  # why, cut to a few hundred characters


class Failure(Part, frozen=True, kw_only=True):
    """One cause of failures."""

    cause: str
    rows: Count
    examples: tuple[FailedRow, ...]


class Failures(Document, frozen=True, kw_only=True, tag="orchestrator.failures/1"):
    """Why rows of a job have failed: the causes of the most rows first; `rows` of all causes add up to `failed`."""

    job_id: str
    failed: Count
    causes: tuple[Failure, ...]


def batches(job_id: str, found: Sequence[LedgerBatch], at: datetime) -> Batches:
    """Return the batches of a job."""
    return Batches(job_id=job_id, at=at, batches=tuple(map(_batch, found)))


def _batch(one: LedgerBatch) -> Batch:
    return Batch(
        chunk=one.chunk,
        group=one.group.value,
        state=one.state.value,
        rows=one.rows,
        batch_id=one.batch_id,
        word=one.word,
        answered=one.answered,
        failed=one.failed,
        to_send_again=one.to_send_again,
        sent_at=one.sent_at,
        looked_at=one.looked_at,
        next_at=one.next_at,
        ended_at=one.ended_at,
        reason=one.reason,
    )


def event(job_id: str, one: LedgerEvent, told: str) -> Event:
    """Return an event of the ledger."""
    return Event(
        at=one.at, job_id=job_id, event=one.name, unit=one.unit, details=dict(one.details), told=told, position=None
    )


def started(job_id: str, work: str) -> Event:
    """Return that a process begins to run a job, or to wait for it."""
    return Event(
        at=datetime.now(UTC),
        job_id=job_id,
        event="run.started",
        unit="",
        details={"work": work},
        told="begun here",
        position=None,
    )


def run_event(name: str, look: Look, totals: Totals) -> Event:
    """Return how a job that runs here stands, as an event."""
    told = f"{look.activity.value}{f': {look.reason}' if look.reason else ''}"
    position = Position(
        activity=look.activity.value,
        reason=look.reason,
        decision=look.decision,
        rows=rows(look),
        at_provider=at_provider(look, totals),
        money=money(look, totals),
    )
    return Event(at=look.at, job_id=look.job_id, event=f"run.{name}", unit="", details={}, told=told, position=position)
