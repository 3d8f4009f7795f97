"""How a job stands, as a document: what `status`, `submit`, `cancel`, `approve`, `run` and `retry` say to a program.

Rule: it is drawn from a Look and the ledger's totals, and computes nothing but sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from orchestrator.api.documents.document import Count, Document, Part, Time, Usd, usd, usd_or_none
from orchestrator.domain.look import UNSENT
from orchestrator.domain.model import NEVER_SENT, ChunkState
from orchestrator.domain.timeline import Group

if TYPE_CHECKING:
    from orchestrator.domain.look import Look
    from orchestrator.domain.progress import Totals

_NO_BATCH: Final = NEVER_SENT | {ChunkState.SPLIT}  # others have, or get, their answers


class Process(Part, frozen=True, kw_only=True):
    """A process that works on the job."""

    kind: str  # "worker" of a fleet, or "run"
    host: str  # the name of its machine
    pid: int  # its number there
    seen_at: Time  # when it last said that it is alive
    stopping: bool  # it was asked to stop, and finishes what it has begun


class Job(Part, frozen=True, kw_only=True):
    """The job."""

    id: str  # its name and eight digits
    name: str  # as its job file has it
    state: str  # of the ledger: running, stopped, cancelling, finished, cancelled
    activity: str  # what it does at present, in a person's words
    reason: str  # why it is stopped, or what it waits for; "" for nothing
    decision: str  # what a person must approve before it goes on; "" for nothing
    account: str  # provider and the variable of its key
    paused_at: Time | None  # since when a person has sending paused
    account_paused: str  # why the account may not send at present; "" where it may
    model: str  # as requests name it
    revision: int  # of its output
    work: str  # the work folder
    began_at: Time  # when it was first run or submitted
    ended_at: Time | None  # when it ended or stopped; null while it goes on
    worked_by: tuple[Process, ...]  # seen within 30 seconds; none: nothing works on it


class Rows(Part, frozen=True, kw_only=True):
    """Where the rows are: the six counts from `answered` to `needs_decision` add up to `total`."""

    total: Count  # planned so far; all of them once `all_read`
    all_read: bool  # the dataset has been planned to its end
    answered: Count  # with an answer that is here
    failed: Count  # given up: refused, filtered, or failed too often
    to_send_again: Count  # failed, and sent once more by itself
    at_provider: Count  # in batches under way
    waiting: Count  # planned and not sent
    needs_decision: Count  # in creates of which a person must say what became
    reused: Count  # of the answered: answers of other jobs, or to equal requests of this one
    truncated: Count  # of the answered
    empty: Count  # of the answered
    refused: Count  # of the answered


class AtProvider(Part, frozen=True, kw_only=True):
    """The batches that the provider has."""

    batches: Count  # under way, or ended and not yet fetched
    answered: Count  # rows, by the provider's count
    overdue: Count  # batches that should have ended long ago
    overdue_batch: str  # one of them; "" where there is none
    oldest_sent_at: Time | None  # when the oldest of them was sent
    looked_at: Time | None  # when the provider was last asked
    next_look_at: Time | None  # when it is asked next
    words: dict[str, int]  # the provider's word for their status: how many


class Progress(Part, frozen=True, kw_only=True):
    """How much of a phase is done."""

    done: Count  # so many
    of: Count  # of so many known by now


class Phases(Part, frozen=True, kw_only=True):
    """How far the job is."""

    planned: Progress  # shards
    sent: Progress  # batches: those that no longer wait
    collected: Progress  # batches
    written: Progress  # shards
    waits_for_canary: bool  # nothing but the rows of its canary may be sent yet


class Money(Part, frozen=True, kw_only=True):
    """What the job costs: spent + reserved + possibly_double_paid + left = budget."""

    currency: str  # always USD
    spent: Usd | None  # for answers that are here; null where nothing is known
    unpriced: Count  # answered rows whose cost is not known: `spent` is without theirs
    reserved: Usd  # at most, for batches under way
    possibly_double_paid: Usd  # at most, by creates that were sent again at a person's word
    left: Usd | None  # of the budget; null without one
    budget: Usd | None  # policy.budget_usd; null where there is none
    expected: Usd | None  # at the end
    waits_for: str  # where the next batch does not fit the budget now; "" where it does


class Estimate(Part, frozen=True, kw_only=True):
    """When the job may end."""

    soonest: Time  # by the quicker of finished batches
    latest: Time  # by the slower of them
    batches: Count  # finished ones that it is made from


class Cause(Part, frozen=True, kw_only=True):
    """Why rows have failed; the first of them is named by its shard and its row there."""

    cause: str  # the provider's error code, or ours
    rows: Count  # that have failed for it
    shard: int | None  # of the first of them; null where that is not known
    row: int | None  # its number in the shard, from 0; null as well


class Trouble(Part, frozen=True, kw_only=True):
    """Why chunks get nowhere at present."""

    reason: str  # what happened last
    chunks: Count  # that get nowhere for it
    needs_decision: bool  # they are unresolved: a person must act
    since: Time | None  # when it began; null where that is not known
    next_at: Time | None  # when it is tried again; null: not by itself


class Decision(Part, frozen=True, kw_only=True):
    """A create of which a person must find out whether it made a batch."""

    chunk: str  # as `resolve` takes it
    rows: Count  # in its create
    usd_max: Usd | None  # what it may cost; null where no price is known
    sent_at: Time | None  # when the create was sent
    reason: str  # why it is not known


class Lines(Part, frozen=True, kw_only=True):
    """Lines of results, as they were read."""

    read: Count  # in all
    missing: Count  # rows of ended batches without one
    duplicates: Count  # that name a row a second time
    foreign: Count  # that name no row of their batch
    unreadable: Count  # that could not be read


class Notices(Part, frozen=True, kw_only=True):
    """Notices of the job that nobody has received."""

    undelivered: Count  # so many
    error: str  # of the last of them; "" for none


class Standing(Document, frozen=True, kw_only=True):
    """What the documents about one job have in common."""

    at: Time  # when this was read
    job: Job  # who it is, and what it does
    rows: Rows  # where its rows are
    at_provider: AtProvider  # the batches that the provider has
    batches: dict[str, int]  # how many are how far, in a person's words
    chunks: dict[str, int]  # the same by the states of the ledger
    created: Count  # creates that made a batch
    phases: Phases  # how far it is
    lines: Lines  # of results, as they were read
    money: Money  # spent, reserved, left
    estimate: Estimate | None  # when it may end; null before three batches have ended
    causes: tuple[Cause, ...]  # of the failed rows; they add up to `rows.failed`
    troubles: tuple[Trouble, ...]  # what is tried again, and why
    decisions: tuple[Decision, ...]  # the first few
    notices: Notices  # that nobody has received
    workers: Count  # processes of a fleet that are alive
    beats: Count  # processes that hand out a fleet's work, alive
    commands: tuple[str, ...]  # what a person can type next


class JobStatus(Standing, frozen=True, kw_only=True, tag="orchestrator.status/1"):
    """How one job stands."""


class Jobs(Document, frozen=True, kw_only=True, tag="orchestrator.jobs/1"):
    """All jobs of a work folder, the newest first."""

    work: str  # the work folder
    jobs: tuple[JobStatus, ...]  # each as `status` of it alone


class Report(Standing, frozen=True, kw_only=True, tag="orchestrator.report/1"):
    """The end of a job that has an output."""

    output: str  # a folder, or the URL of one
    errors: dict[str, int]  # failed rows by the error code in the output
    cost_shares: dict[str, Usd]  # rows + replaced + nothing = spent; empty where part of the cost is not known


def standing(
    look: Look, totals: Totals, *, model: str, work: str, paused: str, fleet: tuple[int, int], commands: Sequence[str]
) -> dict[str, object]:
    """Return the fields of a Standing."""
    return {
        "at": look.at,
        "job": _job(look, model, work, paused),
        "rows": rows(look),
        "at_provider": at_provider(look, totals),
        "batches": {group.value: count for group, count in look.batches.items()},
        "chunks": {state.value: count for state, count in sorted(totals.chunks.items())},
        "created": totals.batches,
        "phases": _phases(look, totals),
        "lines": Lines(
            read=totals.lines,
            missing=totals.missing,
            duplicates=totals.duplicates,
            foreign=totals.foreign,
            unreadable=totals.unreadable,
        ),
        "money": money(look, totals),
        "estimate": look.estimate
        and Estimate(soonest=look.estimate.soonest, latest=look.estimate.latest, batches=look.estimate.batches),
        "causes": tuple(Cause(cause=one.code, rows=one.rows, shard=one.shard, row=one.row) for one in look.causes),
        "troubles": tuple(
            Trouble(
                reason=one.reason,
                chunks=one.chunks,
                needs_decision=one.is_unresolved,
                since=one.since,
                next_at=one.next_at,
            )
            for one in look.troubles
        ),
        "decisions": tuple(
            Decision(
                chunk=one.chunk,
                rows=one.rows,
                usd_max=usd_or_none(one.usd_max),
                sent_at=one.sent_at,
                reason=one.reason,
            )
            for one in look.decisions
        ),
        "notices": Notices(undelivered=look.undelivered.count, error=look.undelivered.error),
        "workers": fleet[0],
        "beats": fleet[1],
        "commands": tuple(commands),
    }


def _job(look: Look, model: str, work: str, paused: str) -> Job:
    return Job(
        id=look.job_id,
        name=look.name,
        state=look.state.value,
        activity=look.activity.value,
        reason=look.reason,
        decision=look.decision,
        account=look.account,
        paused_at=look.paused_at,
        account_paused=paused,
        model=model,
        revision=look.revision,
        work=work,
        began_at=look.began_at,
        ended_at=look.ended_at,
        worked_by=tuple(
            Process(kind=one.kind.value, host=one.host, pid=one.pid, seen_at=one.seen_at, stopping=one.is_stopping)
            for one in look.worked_by
        ),
    )


def rows(look: Look) -> Rows:
    """Return where a job's rows are."""
    of, flaws = look.rows, look.flaws
    return Rows(
        total=of.total,
        all_read=of.all_read,
        answered=of.answered,
        failed=of.failed,
        to_send_again=of.to_send_again,
        at_provider=of.at_provider,
        waiting=of.waiting,
        needs_decision=of.needs_decision,
        reused=of.reused,
        truncated=flaws.get("truncated", 0),
        empty=flaws.get("empty", 0),
        refused=flaws.get("refused", 0),
    )


def at_provider(look: Look, totals: Totals) -> AtProvider:
    """Return what the provider has."""
    of = look.at_provider
    return AtProvider(
        batches=of.batches,
        answered=of.answered,
        overdue=totals.overdue,
        overdue_batch=totals.overdue_batch,
        oldest_sent_at=of.oldest_sent_at,
        looked_at=of.looked_at,
        next_look_at=of.next_look_at,
        words=dict(of.words),
    )


def money(look: Look, totals: Totals) -> Money:
    """Return what a job costs."""
    of, perhaps = look.money, totals.possibly_double_paid_usd
    taken = None if of.spent is None else of.spent + of.reserved + perhaps
    return Money(
        currency="USD",
        spent=usd_or_none(of.spent),
        unpriced=of.unpriced,
        reserved=usd(of.reserved),
        possibly_double_paid=usd(perhaps),
        left=None if of.budget is None or taken is None else usd(of.budget - taken),
        budget=usd_or_none(of.budget),
        expected=usd_or_none(of.expected),
        waits_for=look.budget_wait,
    )


def _phases(look: Look, totals: Totals) -> Phases:
    chunks: Mapping[ChunkState, int] = {state: n for state, n in totals.chunks.items() if state not in _NO_BATCH}
    every, unsent = sum(chunks.values()), sum(chunks.get(state, 0) for state in UNSENT)
    written, shards = look.written
    return Phases(
        planned=Progress(done=totals.shards - totals.shards_planning, of=totals.shards),
        sent=Progress(done=every - unsent, of=every),
        collected=Progress(done=look.batches[Group.COLLECTED], of=every),
        written=Progress(done=written, of=shards),
        waits_for_canary=totals.waits_for_canary,
    )
