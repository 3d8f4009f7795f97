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

    name: str  # as prompts name it in braces
    type: str  # of its values, such as string or int64
    empty: Count  # null, or text without a letter, among the rows that were looked at
    example: str  # a value, shortened


class Init(Document, frozen=True, kw_only=True, tag="orchestrator.init/1"):
    """A job file that was written for a table."""

    job_file: str  # the path of the file that was written
    dataset: str  # the path or URL of the table
    rows: Count | None  # in the table; null where they were not counted
    rows_seen: Count  # that were looked at
    columns: tuple[Column, ...]  # of the table, in order
    prompt: str  # as it was written into the file
    model: str  # that is written there
    provider: str  # that is written there
    commands: tuple[str, ...]  # what can be typed next


class RetryPlan(Document, frozen=True, kw_only=True, tag="orchestrator.retry_plan/1"):
    """What `retry` would send again."""

    job_id: str  # whose rows they are
    rows: Count  # that would be sent
    kinds: dict[str, Count]  # of the rows: failed, invalid, truncated, empty, refused, whole
    never_sent: Count  # rows that are meant and were never a request
    unreadable: Count  # rows that are meant, and whose answer is kept and cannot be read
    cost_usd_expected: Usd | None  # by what they cost before; null where that is not known
    cost_usd_max: Usd | None  # at most; null where no price is known
    confirm_usd: Usd  # policy.confirm_usd: above it a person is asked


class LongPrompt(Part, frozen=True, kw_only=True):
    """The price of a prompt that is longer than `over_tokens`: of all of it."""

    over_tokens: Count  # tokens of a prompt
    input_usd: Usd  # per million tokens of the prompt
    output_usd: Usd  # per million tokens of the answer
    cached_usd: Usd | None = None  # per million tokens read from a cache; null: as input


class Price(Part, frozen=True, kw_only=True):
    """USD per million tokens."""

    input_usd: Usd  # of the prompt
    output_usd: Usd  # of the answer
    cached_usd: Usd | None = None  # of a prompt read from a cache; null: as input
    long: LongPrompt | None = None  # of long prompts; null where it is the same
    source: str  # the page that says so, or the job file
    read: str  # the day on which it was read there
    until: str  # the day on which it ends; "" where none is known


class Plan(Document, frozen=True, kw_only=True, tag="orchestrator.plan/1"):
    """What a job would send and cost. Unless `exact`, numbers are scaled up from the rows that were read."""

    job_id: str  # that a run of it would have
    model: str  # as requests name it
    rows: Count | None  # in the dataset; null where they are not counted
    requests: Count  # to be sent
    refused: Count  # rows that cannot be sent, and fail
    chunks: Count  # batches to be sent
    request_bytes: Count  # of all requests, uncompressed
    tokens_in: Count  # estimated, of all prompts
    tokens_out_max: Count  # of all answers, by `max_tokens`
    cost_usd_max: Usd | None  # at most; null where no price is known
    cost_usd_expected: Usd | None  # about; null where no price is known
    budget_usd: Usd | None  # policy.budget_usd; null where there is none
    judged_by: Count  # answers whose cost the expected one is judged by; 0: by half of `max_tokens`
    price: Price | None  # that amounts are made from; null where none is known
    notes: tuple[str, ...]  # what to look at before it is run
    exact: bool  # all rows were read
    rows_read: Count  # that numbers are made from
    reused: Count  # requests that other jobs have answers to
    reused_from: dict[str, int]  # of these, by the job that paid
    duplicates: Count  # requests that equal an earlier one and get its answer
    canary_rows: Count  # sent first, alone; 0: no canary
    answer_columns: dict[str, str]  # of typed answers: a column's name and its type
    samples: tuple[str, ...]  # request lines: they hold the prompt and rows


class Results(Document, frozen=True, kw_only=True, tag="orchestrator.results/1"):
    """Rows with their answers: a page of them, in source order."""

    job_id: str  # whose rows they are
    state: str  # of the job: running, stopped, cancelling, finished, cancelled
    has_ended: bool  # its output is whole
    output: str | None  # the folder of the output; None where the job has none yet
    total: Count  # rows of the job, planned so far
    answered: Count  # rows of the job
    failed: Count  # rows of the job
    truncated: Count  # of the answered: cut off at the length limit
    empty: Count  # of the answered: without text
    refused: Count  # of the answered: the model refused
    rows: tuple[dict[str, Any], ...]  # by column
    after: Count  # rows of the wanted kind before these
    next: Count | None  # `--after` of the next page; None: these are the last


class Export(Document, frozen=True, kw_only=True, tag="orchestrator.export/1"):
    """A file that was written."""

    job_id: str  # whose rows they are
    path: str  # of the file, or its URL
    rows: Count  # in the file


class Sent(Part, frozen=True, kw_only=True):
    """One create of a chunk."""

    attempt: Count  # its number, from 1
    state: str  # open, created, refused, absent or abandoned
    batch_id: str | None  # null where none is known
    sent_at: Time  # when it was sent
    cost_usd: Usd | None  # of the whole batch


class Try(Part, frozen=True, kw_only=True):
    """A chunk that the row was in: what was sent, and what came back for the row."""

    chunk: str  # its name
    round: Count  # how often the row had been sent by then, this time included
    state: str  # of the chunk
    reason: str  # why it got nowhere; "" for nothing
    request_file: str  # in the job's folder; "" where there is none
    batches: tuple[Sent, ...]  # its creates, in order
    outcome: dict[str, Any] | None  # the row's record in the part; null: nothing is read yet
    lines: dict[str, str]  # the provider's own, by file and number of the line
    revision: Count  # of the output, for which it was planned
    stands: bool  # the row's answer, or its error, is from here
    request: Any  # where it differs from that of the try that stands; else null


class Show(Document, frozen=True, kw_only=True, tag="orchestrator.show/1"):
    """One row, from the source to its answer."""

    job_id: str  # whose row it is
    custom_id: str  # the row's id in requests and results
    shard: Count  # the part of the dataset that it is in
    row: Count  # its number in the shard, from 0
    price: Price | None  # per million tokens; null where none is known
    source: dict[str, Any] | None  # the row of the dataset, by column; null where it cannot be read
    source_note: str  # what to know of it; "" for nothing
    request: Any  # as it was sent in the try that stands; null before it is planned
    tries: tuple[Try, ...]  # in the order of rounds
    answer: dict[str, Any] | None  # the columns of the output; null: not answered yet


class Batch(Part, frozen=True, kw_only=True):
    """One batch, or the chunk that will be one."""

    chunk: str  # its name, as `resolve` takes it
    group: str  # how far it is, in a person's words
    state: str  # of the chunk in the ledger
    rows: Count  # in it
    batch_id: str | None  # the provider's; null where none is known
    word: str  # the provider's, for its status
    answered: Count  # rows: by the provider's count while it runs, then by ours
    failed: Count  # rows
    to_send_again: Count  # rows
    sent_at: Time | None  # when its last create was sent
    looked_at: Time | None  # when the provider last said how it is
    next_at: Time | None  # when its next step is due; null: none is
    ended_at: Time | None  # when it was seen to have ended; null: it has not, or that is not known
    reason: str  # why it gets nowhere; "" for nothing


class Batches(Document, frozen=True, kw_only=True, tag="orchestrator.batches/1"):
    """All batches of a job: those that need a person first, then by how far they are, the oldest first."""

    job_id: str  # whose batches they are
    at: Time  # when this was read
    batches: tuple[Batch, ...]  # all of them


class Position(Part, frozen=True, kw_only=True):
    """How a job stands at an event."""

    activity: str  # what the job does, in a person's words
    reason: str  # why it is stopped, or waits; "" for nothing
    decision: str  # what a person must approve; "" for nothing
    rows: Rows  # where they are
    at_provider: AtProvider  # the batches that the provider has
    money: Money  # spent, reserved, left


class Event(Document, frozen=True, kw_only=True, tag="orchestrator.event/1"):
    """One line of what happens to a job.

    Events of the ledger are named `job.…`, `shard.…`, `chunk.…`, `canary.…`, `account.…`, `batch.…`, `results.…` and
    `step.…`; those of the process that runs it `run.started`, `run.activity` (it does something else than before) and
    `run.progress`, of which only the last two have a `position`.
    """

    at: Time  # when it happened
    job_id: str  # whose event it is
    event: str  # its name; see above
    unit: str  # a chunk's name, a shard's number; "" for the job
    details: dict[str, str | int]  # by the event: counts, ids, reasons
    told: str  # the same in words
    position: Position | None  # how the job stood; null of events of the ledger


class Unresolved(Part, frozen=True, kw_only=True):
    """A chunk whose last create may or may not have made a batch."""

    chunk: str  # as `resolve` takes it
    requests: Count  # in its create
    sent_at: Time  # when that was sent
    attempt: Count  # its number, from 1
    cost_usd_max: Usd  # what it may have cost
    reason: str  # why it is not known
    ids: tuple[str, ...]  # what may be the id of its batch


class Resolve(Document, frozen=True, kw_only=True, tag="orchestrator.resolve/1"):
    """What was decided now, and the chunks that are unresolved."""

    job_id: str  # whose creates they are
    decided: str  # what was recorded now; "" for nothing
    unresolved: tuple[Unresolved, ...]  # that are left
    commands: tuple[str, ...]  # what can be typed next


class Reread(Document, frozen=True, kw_only=True, tag="orchestrator.reread/1"):
    """What became of rows by reading archived results again."""

    job_id: str  # whose results they are
    read: Count  # rows that can be read now, and succeed
    failed: Count  # rows that turned out to have no answer
    unreadable: Count  # rows that still cannot be read
    is_released: bool  # the job was stopped for them, and goes on when it is run
    is_reopened: bool  # its output is written again, as a new revision
    commands: tuple[str, ...]  # what can be typed next


class FailedRow(Part, frozen=True, kw_only=True):
    """A row that has failed."""

    custom_id: str  # the row's id, as `show` takes it
    message: str  # why, cut to a few hundred characters


class Failure(Part, frozen=True, kw_only=True):
    """One cause of failures."""

    cause: str  # the error code in the output
    rows: Count  # that have failed for it
    examples: tuple[FailedRow, ...]  # the first few


class Failures(Document, frozen=True, kw_only=True, tag="orchestrator.failures/1"):
    """Why rows of a job have failed: the causes of the most rows first; `rows` of all causes add up to `failed`."""

    job_id: str  # whose rows they are
    failed: Count  # rows of the job
    causes: tuple[Failure, ...]  # that of the most rows first


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
