"""The step that finds out whether an ambiguous create made a batch. It never sends another create.

To an idempotent provider it may send the same create again, with the same token: the answer is the existing batch.

Rule 1: it asks the provider, decides (`domain.recovery`), then acts; one run makes at most one change at the provider.
Rule 2: no question is asked for ever in silence. A question that fails is kept with the chunk as its error; where it
        has failed for too long, the chunk is unresolved, and it is reopened once the question is answered.
Rule 3: a chunk whose creates make nothing is sent again at ever longer intervals; after hours of that, the job stops.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from orchestrator.batches.submit import intent_of, record_create, stop_creates, submission_of
from orchestrator.domain import lifecycle, recovery, retry
from orchestrator.domain.batch import LostCreate
from orchestrator.domain.changes import AttemptClosed, Change, ChunkMoved, JobMoved, Noted
from orchestrator.domain.created_batch import created_batch
from orchestrator.domain.errors import (
    BadRequest,
    CreateAmbiguous,
    CreateRefused,
    PermanentError,
    ProviderError,
    TooLarge,
    Unidentified,
)
from orchestrator.domain.lifecycle import AnswerLost, BatchCreated, BecameUnresolved, Fenced, ProvedAbsent, Reopened
from orchestrator.domain.model import RECOVERABLE, AttemptState, BatchId, Chunk, ChunkState, Claim, Job, JobState
from orchestrator.domain.policy import OnAmbiguous
from orchestrator.domain.recovery import (
    Absent,
    Adopt,
    Ambiguous,
    Bounds,
    Decision,
    Evidence,
    Fence,
    LookAgain,
    NeedsKey,
    NeedsPerson,
    Recovery,
    Reopen,
    Repeat,
    Wait,
)
from orchestrator.domain.required import required
from orchestrator.job_files import request_files
from orchestrator.job_files.create_journal import (
    drop_intent,
    intent_name,
    read_journal,
    write_intent,
    write_journal,
)
from orchestrator.log import LOOKUP_FAILED, EventLog
from orchestrator.providers.private_errors import answer_before

if TYPE_CHECKING:
    from orchestrator.ports import Clock, JobFiles, Ledger, Provider

# How far our clock may have been from the provider's at the create. If the list starts too late, the batch is not
# found and its chunk is sent again. A clock may be a day off (a wrong date); listing a day more costs few calls.
CLOCK_ERROR_S_MAX: Final = 26 * 3_600.0
RETRY_AFTER_S_MAX: Final = 900.0  # the upper bound on a provider's Retry-After
AGE_PER_WAIT: Final = 16  # a create that has been ambiguous for an hour is looked up every four minutes
AGED_WAIT_S_MAX: Final = 300.0
UNRESOLVED_LOOK_S: Final = 60.0
PAUSED_LOOK_S: Final = 60.0
REFUSED_S_MAX: Final = 900.0  # a key gets a missing permission from a person, not from waiting
FAILING_S_MAX: Final = 172_800.0  # of any other failure: longer than a batch takes to end
ABSENT_S_MAX: Final = 10_800.0  # after which creates that make nothing stop the job
ABSENT_WAIT_S_MAX: Final = 1_800.0
_LOOKUP: Final = "; whether it made a batch cannot be found out: "  # after what the create was answered with
_log: Final = EventLog(__name__)
LISTING: Final = frozenset({Recovery.FENCED, Recovery.SETTLED})


def recover(claim: Claim, *, ledger: Ledger, job_files: JobFiles, provider: Provider, clock: Clock) -> None:
    """Look up an ambiguous or unresolved create, and record the finding."""
    chunk = ledger.chunk(required(claim.unit.chunk_id, "chunk"))
    if chunk.state not in RECOVERABLE:
        return
    token, job = required(chunk.token, "token"), ledger.job(chunk.job_id)
    decision: Decision | None = None
    asked = replace(chunk, error=_answered(chunk))
    if chunk.state is ChunkState.UNRESOLVED and chunk.error_code == recovery.LOOKUP_FAILED:
        reopened = lifecycle.advance(chunk, Reopened())  # recorded only if the question is answered now
        asked = replace(reopened, error=asked.error)
    try:
        decision = _decide(asked, job, ledger=ledger, job_files=job_files, provider=provider, clock=clock)
        changes = _act(asked, decision, job, job_files=job_files, provider=provider, clock=clock)
        if isinstance(decision, Adopt):  # kept durably, even if the ledger is lost
            write_journal(job_files, token, decision.batch_id)
    except (ProviderError, CreateRefused, CreateAmbiguous) as error:  # a refused repeat proves nothing about the first
        decision = None
        failed = _not_found_out(chunk, error, provider=provider, clock=clock)
        if failed.after.error != chunk.error:
            _log.info(LOOKUP_FAILED, **claim.fields, error=str(error))
        changes = [failed]
        if failed.after.state is ChunkState.UNRESOLVED and chunk.error_code == recovery.NOT_UNDERSTOOD:
            changes += stop_creates(job, failed.after.error, clock.now())
    record_create(claim, chunk, changes, ledger=ledger, job_files=job_files, traits=provider.traits, clock=clock)
    if isinstance(decision, Absent) and not decision.abandoned:  # after the record: another may have found it
        drop_intent(job_files, token)


def _not_found_out(chunk: Chunk, error: Exception, *, provider: Provider, clock: Clock) -> ChunkMoved:
    """Ask again later, and leave it to a person where that has not helped for long.

    A person is needed sooner where the provider refuses the question, or cannot show what it made.
    """
    now = clock.now()
    wait = _wait_after(error, chunk, clock)
    failed = lifecycle.failing(chunk, f"{_answered(chunk)}{_LOOKUP}{error}", now=now)
    since = required(failed.failing_since, "time of the first failure")
    if isinstance(error, Unidentified):
        is_hopeless = now >= required(chunk.sent_at, "time of its create") + timedelta(seconds=provider.traits.late_s)
    else:
        limit_s = REFUSED_S_MAX if isinstance(error, PermanentError) else FAILING_S_MAX
        is_hopeless = now >= since + timedelta(seconds=limit_s)
    if is_hopeless and chunk.state is ChunkState.AMBIGUOUS:
        event = BecameUnresolved(failed.error, recovery.LOOKUP_FAILED)
        return _leave_unresolved(failed, event, clock)
    return ChunkMoved(before=chunk, after=failed, due_at=now + wait)


def _answered(chunk: Chunk) -> str:
    """Return what is known of the answer to the create, without what came of looking for its batch."""
    return chunk.error.partition(_LOOKUP)[0]


def _wait_after(error: Exception, chunk: Chunk, clock: Clock) -> timedelta:
    """Return how long to wait after a lookup without a result.

    The older the create, the longer the wait: some providers show a batch only once it has ended. The provider's
    Retry-After is respected, up to a quarter of an hour.
    """
    cause = error.error if isinstance(error, CreateRefused) else error
    retry_after_s = cause.retry_after_s if isinstance(cause, ProviderError) else None
    old_s = (clock.now() - required(chunk.sent_at, "time of its create")).total_seconds()
    floor_s = max(min(retry_after_s or 0.0, RETRY_AFTER_S_MAX), min(old_s / AGE_PER_WAIT, AGED_WAIT_S_MAX))
    return timedelta(seconds=retry.backoff_s(5, draw=clock.draw(), floor_s=floor_s))


def _decide(
    chunk: Chunk, job: Job, *, ledger: Ledger, job_files: JobFiles, provider: Provider, clock: Clock
) -> Decision:
    token = required(chunk.token, "token")
    traits, listed = provider.traits, list[BatchId]()
    asked_at = clock.now()  # before asking: a list proves nothing about batches made after it was read
    journal = read_journal(job_files, token)
    if journal is None and chunk.error_code == recovery.NOT_UNDERSTOOD:  # this version may understand it
        journal = created_batch(answer_before(job_files, token))
    is_other_key = recovery.is_other(chunk.key_mark, traits.key_mark)
    batch_list = provider.batch_list if traits.recovery in LISTING else None
    if batch_list is not None and _is_to_be_listed(chunk, journal, is_other_key=is_other_key):
        found = batch_list.find(_lost(chunk, ledger=ledger, job_files=job_files, is_other_key=is_other_key))
        is_other_key = found is None or (is_other_key and journal is not None)
        listed = [batch.batch_id for batch in sorted(found or (), key=lambda one: (one.created_at, one.batch_id))]
    resubmits = traits.recovery is Recovery.UNKNOWABLE and job.policy.on_ambiguous is OnAmbiguous.RESUBMIT
    possibly_double_paid_usd = (
        ledger.totals(job.id).possibly_double_paid_usd if resubmits else Decimal(0)
    )  # reads all of the job's chunks
    evidence = Evidence(
        now=asked_at,
        journal=journal,
        listed=listed,
        possibly_double_paid_usd=possibly_double_paid_usd,
        is_other_key=is_other_key,
    )
    decision = recovery.decide(
        chunk,
        evidence,
        recovery=traits.recovery,
        policy=job.policy,
        bounds=Bounds(settle_s=traits.settle_s, lag_s=traits.lag_s, late_s=traits.late_s, key_s=traits.key_s),
    )
    if isinstance(decision, Repeat) and job.paused_at is not None:  # it may be the one that makes a batch
        return Wait(asked_at + timedelta(seconds=PAUSED_LOOK_S))
    return decision


def _lost(chunk: Chunk, *, ledger: Ledger, job_files: JobFiles, is_other_key: bool) -> LostCreate:
    sent_at, clock_error = required(chunk.sent_at, "time of its create"), timedelta(seconds=CLOCK_ERROR_S_MAX)
    return LostCreate(
        token=required(chunk.token, "token"),
        since=sent_at - clock_error,
        until=sent_at + clock_error,
        file_id=chunk.file_id,
        is_other_key=is_other_key,
        request_count=chunk.request_count,
        custom_ids=lambda: request_files.custom_ids(job_files, chunk.requests),
        known=lambda: ledger.batches_since(sent_at - 2 * clock_error),
    )


def _is_to_be_listed(chunk: Chunk, journal: BatchId | None, *, is_other_key: bool) -> bool:
    """Return whether a list can help: for an ambiguous create, and for one that waits for another key."""
    if chunk.state is ChunkState.AMBIGUOUS:
        return journal is None
    return chunk.state is ChunkState.UNRESOLVED and chunk.error_code == recovery.OTHER_KEY and is_other_key


def _act(
    chunk: Chunk, decision: Decision, job: Job, *, job_files: JobFiles, provider: Provider, clock: Clock
) -> list[Change]:
    now = clock.now()
    match decision:
        case Adopt(batch_id, duplicate_batches):
            return _adopt(chunk, job, batch_id, duplicate_batches, provider=provider, clock=clock)
        case Ambiguous():
            lost = AnswerLost("no answer to the create was recorded in time")
            return [ChunkMoved(before=chunk, after=lifecycle.advance(chunk, lost), due_at=now)]
        case Wait(until):
            return [ChunkMoved(before=chunk, after=chunk, due_at=until)]
        case Fence():
            files = required(provider.files, "way to delete an input file")
            files.delete(required(chunk.file_id, "input file"))
            return [ChunkMoved(before=chunk, after=lifecycle.advance(chunk, Fenced(clock.now())), due_at=clock.now())]
        case LookAgain():
            looked = replace(lifecycle.advance(chunk, Fenced(now)), tries=chunk.tries + 1)
            return [ChunkMoved(before=chunk, after=looked, due_at=now)]
        case Repeat():
            return _repeat(chunk, job, job_files=job_files, provider=provider, clock=clock)
        case Absent(abandoned=True):
            absent = lifecycle.advance(chunk, ProvedAbsent())
            closed = AttemptClosed(token=required(chunk.token, "token"), state=AttemptState.ABANDONED)
            return [ChunkMoved(before=chunk, after=absent, due_at=now), closed]
        case Absent():
            return _send_again(chunk, job, clock=clock)
        case NeedsPerson(reason):
            why = f"{reason}: {chunk.error}" if chunk.error else reason
            code = chunk.error_code if chunk.error_code == recovery.NOT_UNDERSTOOD else ""
            return [_leave_unresolved(chunk, BecameUnresolved(why, code), clock)]
        case NeedsKey():
            words = recovery.other_key_message("the create whose answer was lost was sent", job.account)
            return [_leave_unresolved(chunk, BecameUnresolved(words, recovery.OTHER_KEY), clock)]
        case Reopen():
            return [ChunkMoved(before=chunk, after=lifecycle.advance(chunk, Reopened()), due_at=now)]


def _send_again(chunk: Chunk, job: Job, *, clock: Clock) -> list[Change]:
    """Plan a chunk again whose create made nothing: at once after the first one, then as late as it has got nowhere."""
    now = clock.now()
    failed = lifecycle.failing(chunk, chunk.error, now=required(chunk.sent_at, "time of its create"))
    since = required(failed.failing_since, "time of the first failure")
    age_s = (now - since).total_seconds()
    wait_s = 0.0 if chunk.attempt == 1 else min(age_s, ABSENT_WAIT_S_MAX) * (0.8 + 0.4 * clock.draw())
    error = f"{chunk.error}; the create made no batch" if chunk.error else ""
    absent = lifecycle.advance(failed, ProvedAbsent(error))
    changes: list[Change] = [
        ChunkMoved(before=chunk, after=absent, due_at=now + timedelta(seconds=wait_s)),
        AttemptClosed(token=required(chunk.token, "token"), state=AttemptState.ABSENT),
    ]
    if chunk.error_code == recovery.NOT_UNDERSTOOD:
        return [*changes, *stop_creates(job, error, now)]
    if age_s > ABSENT_S_MAX and job.state is JobState.RUNNING:
        reason = (
            f"the creates of chunk {chunk.name} have made nothing since {since:%Y-%m-%d %H:%M} UTC: {chunk.error}. "
            "Look at the model and the provider's status page, then run the job again"
        )
        changes.append(JobMoved(before=job, after=replace(job, state=JobState.STOPPED, reason=reason), due_at=now))
    return changes


def _leave_unresolved(chunk: Chunk, event: BecameUnresolved, clock: Clock) -> ChunkMoved:
    # It is looked up again from time to time: the journal may get the answer, or the right key may be set again.
    due_at = clock.now() + timedelta(seconds=UNRESOLVED_LOOK_S)
    return ChunkMoved(before=chunk, after=lifecycle.advance(chunk, event), due_at=due_at)


def _repeat(chunk: Chunk, job: Job, *, job_files: JobFiles, provider: Provider, clock: Clock) -> list[Change]:
    """Send the same create again. Where it is refused for good, a person must look up the first one."""
    token = required(chunk.token, "token")
    if not job_files.exists(intent_name(token)):  # whoever was to send the first one did not come so far
        write_intent(job_files, intent_of(chunk))
    try:
        batch_id = provider.create(submission_of(chunk, token, job_files))
    except CreateRefused as refusal:
        if isinstance(refusal.error, BadRequest | TooLarge):
            reason = f"the answer to the create was lost, and the same one is refused now: {refusal.error}"
            return [_leave_unresolved(chunk, BecameUnresolved(reason), clock)]
        raise
    write_journal(job_files, token, batch_id)
    return _adopt(chunk, job, batch_id, (), provider=provider, clock=clock)


def _adopt(
    chunk: Chunk,
    job: Job,
    batch_id: BatchId,
    duplicate_batches: tuple[BatchId, ...],
    *,
    provider: Provider,
    clock: Clock,
) -> list[Change]:
    for duplicate_batch in duplicate_batches:
        provider.cancel(duplicate_batch)
    adopted = lifecycle.advance(chunk, BatchCreated(batch_id))
    due_at = clock.now() + timedelta(seconds=retry.first_poll_s(job.policy))
    changes: list[Change] = [
        ChunkMoved(before=chunk, after=adopted, due_at=due_at),
        AttemptClosed(token=required(chunk.token, "token"), state=AttemptState.CREATED, batch_id=batch_id),
    ]
    if duplicate_batches:
        changes.append(
            Noted(name="batch.duplicated", details={"chunk": chunk.name, "duplicate_batches": len(duplicate_batches)})
        )
    return changes
