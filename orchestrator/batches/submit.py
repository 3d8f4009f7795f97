"""The step that sends a chunk: intent, one POST, record. See DESIGN §8.

Rule 1: the intent is committed before the POST, and at most one POST is ever issued for it: only the worker whose
        compare-and-set took the chunk to SUBMITTING sends, and it sends once.
Rule 2: intent and answer are also kept in the work folder, by the rules of `create_journal`.
Rule 3: an answer that is not known to be a refusal is ambiguous; so is a crash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from orchestrator.batches import refusals
from orchestrator.domain import input_file, lifecycle, recovery, retry
from orchestrator.domain.batch import Submission, Traits
from orchestrator.domain.budget import Verdict, judge, of_one_request, used_up
from orchestrator.domain.changes import (
    AccountPaused,
    AccountProved,
    AttemptClosed,
    AttemptOpened,
    Change,
    ChunkMoved,
    JobMoved,
    written,
)
from orchestrator.domain.errors import (
    BatchTaken,
    BudgetExhausted,
    CreateAmbiguous,
    CreateRefused,
    ProviderError,
    StorageError,
)
from orchestrator.domain.input_file import InputState
from orchestrator.domain.lifecycle import (
    AnswerLost,
    BatchCreated,
    BecameUnresolved,
    BeyondBudget,
    Event,
    InputDropped,
    InputKept,
    InputUploaded,
    SubmissionBegun,
    SubmissionRefused,
)
from orchestrator.domain.model import (
    UNSENT,
    Attempt,
    AttemptState,
    AttemptToken,
    Chunk,
    ChunkState,
    Claim,
    Job,
    JobState,
)
from orchestrator.domain.recovery import Recovery
from orchestrator.domain.refusal import Refusal
from orchestrator.domain.required import required
from orchestrator.job_files import create_journal, request_files
from orchestrator.providers.private_errors import keep_answer

if TYPE_CHECKING:
    from orchestrator.ports import Clock, HasFiles, JobFiles, Ledger, Provider

NOT_UNDERSTOOD_CREATE: Final = "create"  # the decision that a job waits for whose create's answer was not understood
LOOKUP_PAUSE_S: Final = 60.0


def submit(claim: Claim, *, ledger: Ledger, job_files: JobFiles, provider: Provider, clock: Clock) -> None:
    """Upload a planned chunk where the provider takes files, or send the one POST of a new attempt."""
    chunk = ledger.chunk(required(claim.unit.chunk_id, "chunk"))
    if chunk.state not in UNSENT:
        return
    if not ledger.may_send(chunk.job_id, now=clock.now()):  # since the claim, another create was refused
        ledger.record(claim, now=clock.now())
        return
    job = ledger.job(chunk.job_id)
    beyond = _beyond_budget(job, chunk, ledger=ledger, clock=clock)
    if beyond is not None:
        ledger.record(claim, *beyond, now=clock.now())
    elif chunk.state is ChunkState.PLANNED and provider.files is not None:
        _upload(claim, chunk, ledger=ledger, job_files=job_files, files=provider.files, clock=clock)
    elif _is_of_another_key(chunk, provider.traits):
        dropped = lifecycle.advance(chunk, InputDropped())
        ledger.record(claim, ChunkMoved(before=chunk, after=dropped, due_at=clock.now()), now=clock.now())
    else:
        begun = _intend(claim, job, chunk, ledger=ledger, traits=provider.traits, clock=clock)
        if begun is not None:
            _send(claim, begun, ledger=ledger, job_files=job_files, provider=provider, clock=clock)


def _is_of_another_key(chunk: Chunk, traits: Traits) -> bool:
    """Return whether a chunk's input file was kept after a create with another key, which may be another account's."""
    is_kept = chunk.state is ChunkState.UPLOADED and chunk.sent_at is not None
    return is_kept and recovery.is_other(chunk.key_mark, traits.key_mark)


def _beyond_budget(job: Job, chunk: Chunk, *, ledger: Ledger, clock: Clock) -> list[Change] | None:
    """Return what becomes of a chunk that does not fit the job's budget; None where it fits."""
    budget_usd, now = job.policy.budget_usd, clock.now()
    if budget_usd is None or chunk.cost_usd_max is None:
        return None
    spending = ledger.spending(chunk, now=now)
    match judge(budget_usd, spending, chunk.cost_usd_max, chunk.request_count):
        case Verdict.FITS:
            return None
        case Verdict.WAITS:
            return []  # it is handed out again once something has settled
        case Verdict.IS_CUT:
            return [ChunkMoved(before=chunk, after=lifecycle.advance(chunk, BeyondBudget()), due_at=now)]
        case Verdict.STOPS:
            one = of_one_request(chunk.cost_usd_max, chunk.request_count)
            stopped = replace(job, state=JobState.STOPPED, reason=used_up(budget_usd, spending, one))
            return [JobMoved(before=job, after=stopped, due_at=now)]


def submission_of(chunk: Chunk, token: AttemptToken, job_files: JobFiles) -> Submission:
    """Return the submission of a chunk under this token; it is the same every time."""
    return Submission(
        token=token,
        request_count=chunk.request_count,
        size_bytes=chunk.request_bytes,
        blocks=lambda: request_files.blocks(job_files, chunk.requests),
        file_id=chunk.file_id,
        label=chunk.id,
    )


def _upload(
    claim: Claim,
    chunk: Chunk,
    *,
    ledger: Ledger,
    job_files: JobFiles,
    files: HasFiles,
    clock: Clock,
) -> None:
    """Give the provider a new file for this attempt; it costs nothing, so a failure is never ambiguous."""
    token = AttemptToken(clock.token())
    try:
        file_id = files.upload(submission_of(chunk, token, job_files))
    except ProviderError as error:
        changes = _not_uploaded(chunk, error, ledger=ledger, clock=clock)
    else:
        uploaded = lifecycle.advance(chunk, InputUploaded(token, file_id))
        changes = [ChunkMoved(before=chunk, after=uploaded, due_at=clock.now())]
    refusals.keep_given_up(changes, job_files)
    ledger.record(claim, *changes, now=clock.now())


def _not_uploaded(chunk: Chunk, error: ProviderError, *, ledger: Ledger, clock: Clock) -> list[Change]:
    """Handle a refused file like a refused create; but no attempt has begun, so none is closed."""
    tries, refusal, now = chunk.tries + 1, Refusal.of_error(error), clock.now()
    after = refusals.decide(chunk, refusal, tries=tries, ledger=ledger, clock=clock)
    if isinstance(after.event, SubmissionRefused):
        counted = replace(chunk, tries=tries, setbacks=after.event.setbacks)
        moved = lifecycle.failing(counted, str(error), now=now)
    else:
        moved = lifecycle.advance(chunk, after.event)
    return [
        ChunkMoved(before=chunk, after=moved, due_at=now + timedelta(seconds=after.delay_s)),
        *refusals.beyond_the_chunk(chunk, after, refusal, ledger=ledger, now=now),
    ]


def _intend(claim: Claim, job: Job, chunk: Chunk, *, ledger: Ledger, traits: Traits, clock: Clock) -> Chunk | None:
    """Commit the intent and return the chunk in SUBMITTING; None where the budget forbids it."""
    now = clock.now()
    has_token = chunk.state is ChunkState.UPLOADED and chunk.sent_at is None  # the file was uploaded under it
    token = required(chunk.token, "token") if has_token else AttemptToken(clock.token())
    begun = lifecycle.advance(chunk, SubmissionBegun(token, now, traits.key_mark))
    attempt = Attempt(
        token=token,
        chunk_id=chunk.id,
        number=begun.attempt,
        state=AttemptState.OPEN,
        reserved_usd=chunk.cost_usd_max or Decimal(0),
        sent_at=now,
        digest=request_files.content_digest(chunk.requests),
        key_mark=traits.key_mark,
    )
    due_at = now + timedelta(seconds=traits.settle_s)
    intent = ChunkMoved(before=chunk, after=begun, due_at=due_at)
    opened = AttemptOpened(attempt=attempt, budget_usd=job.policy.budget_usd)
    try:
        ledger.record(claim, intent, opened, now=now, keep=True)
    except BudgetExhausted:  # another create took what was left
        ledger.record(claim, now=now)
        return None
    return written(begun)


def _send(
    claim: Claim,
    chunk: Chunk,
    *,
    ledger: Ledger,
    job_files: JobFiles,
    provider: Provider,
    clock: Clock,
) -> None:
    """Send the one POST of this attempt and record what is known of its effect."""
    token, job, is_refused = required(chunk.token, "token"), ledger.job(chunk.job_id), False
    _keep_intent(claim, chunk, ledger=ledger, job_files=job_files, clock=clock)
    try:
        batch_id = provider.create(submission_of(chunk, token, job_files))
    except CreateRefused as refusal:
        is_refused, changes = True, _refused(chunk, refusal.error, ledger=ledger, files=provider.files, clock=clock)
    except CreateAmbiguous as ambiguous:
        changes = _ambiguous(chunk, ambiguous, ledger=ledger, traits=provider.traits, clock=clock)
    else:
        create_journal.write_journal(job_files, token, batch_id)
        created = lifecycle.advance(chunk, BatchCreated(batch_id))
        due_at = clock.now() + timedelta(seconds=retry.first_poll_s(job.policy))
        closed = AttemptClosed(token=token, state=AttemptState.CREATED, batch_id=batch_id)
        proved = AccountProved(account=job.account, sent_at=required(chunk.sent_at, "time of its create"))
        changes = [ChunkMoved(before=chunk, after=created, due_at=due_at), closed, proved]
    refusals.keep_given_up(changes, job_files)
    record_create(claim, chunk, changes, ledger=ledger, job_files=job_files, traits=provider.traits, clock=clock)
    if is_refused:  # after the record: another worker may have sent the same create meanwhile, and made a batch
        create_journal.drop_intent(job_files, token)


def record_create(
    claim: Claim,
    chunk: Chunk,
    changes: Sequence[Change],
    *,
    ledger: Ledger,
    job_files: JobFiles,
    traits: Traits,
    clock: Clock,
) -> None:
    """Record what is known of a create; if the batch that it names is another create's, record that instead."""
    try:
        ledger.record(claim, *changes, now=clock.now())
    except BatchTaken as taken:
        others = _batch_of_another(chunk, taken, ledger=ledger, job_files=job_files, traits=traits, clock=clock)
        ledger.record(claim, *others, now=clock.now())


def _batch_of_another(
    chunk: Chunk, taken: BatchTaken, *, ledger: Ledger, job_files: JobFiles, traits: Traits, clock: Clock
) -> list[Change]:
    """Handle an answer that names the batch of another create like one that was not understood.

    It may hide a batch of this create's own. The results of the one that it names are the other create's.
    """
    token, why, now = required(chunk.token, "token"), str(taken), clock.now()
    keep_answer(job_files, token, why.encode())
    create_journal.drop_journal(job_files, token)
    if chunk.state is ChunkState.SUBMITTING:
        return _ambiguous(chunk, CreateAmbiguous(why, answer=why.encode()), ledger=ledger, traits=traits, clock=clock)
    left = replace(chunk, error=why, error_code=recovery.NOT_UNDERSTOOD)
    if chunk.state is ChunkState.AMBIGUOUS:
        left = lifecycle.advance(chunk, BecameUnresolved(why, recovery.NOT_UNDERSTOOD))
    due_at = now + timedelta(seconds=LOOKUP_PAUSE_S)
    return [ChunkMoved(before=chunk, after=left, due_at=due_at), *stop_creates(ledger.job(chunk.job_id), why, now)]


def _ambiguous(
    chunk: Chunk, ambiguous: CreateAmbiguous, *, ledger: Ledger, traits: Traits, clock: Clock
) -> list[Change]:
    """Leave a create to be looked up; where its answer was not understood, create nothing more before it is.

    Most likely there is a batch, and the next create would be answered alike. Where the provider has a list, that may
    tell (see `recover`), and the account is paused for it; elsewhere a person must say how to go on.
    """
    now, why = clock.now(), str(ambiguous)
    is_odd = ambiguous.answer is not None and not ambiguous.is_cut
    lost = lifecycle.advance(chunk, AnswerLost(why, recovery.NOT_UNDERSTOOD if is_odd else ""))
    lost = lifecycle.failing(lost, why, now=required(chunk.sent_at, "time of its create"))
    if not is_odd:
        return [ChunkMoved(before=chunk, after=lost, due_at=now)]
    job = ledger.job(chunk.job_id)
    if traits.recovery is Recovery.UNKNOWABLE:
        lost = lifecycle.advance(lost, BecameUnresolved(why, recovery.NOT_UNDERSTOOD))
        return [ChunkMoved(before=chunk, after=lost, due_at=now), *stop_creates(job, why, now)]
    until = now + timedelta(seconds=max(LOOKUP_PAUSE_S, 2 * traits.lag_s))
    reason = f"a create's answer was not understood, and its batch is looked up: {why}"
    return [
        ChunkMoved(before=chunk, after=lost, due_at=now),
        AccountPaused(account=job.account, until=until, reason=reason),
    ]


def stop_creates(job: Job, why: str, now: datetime) -> list[Change]:
    """Stop a job whose create was answered with what is not understood, until a person approves of further ones."""
    if job.state is not JobState.RUNNING:
        return []
    stopped = replace(job, state=JobState.STOPPED, reason=why, decision=NOT_UNDERSTOOD_CREATE)
    return [JobMoved(before=job, after=stopped, due_at=now)]


def intent_of(chunk: Chunk) -> create_journal.Intent:
    """Return what is kept of a chunk's last create before it is sent."""
    return create_journal.Intent(
        token=required(chunk.token, "token"),
        chunk=chunk.name,
        attempt=chunk.attempt,
        requests=chunk.requests,
        sent_at=required(chunk.sent_at, "time of its create"),
        reserved_usd=chunk.cost_usd_max or Decimal(0),
        file_id=chunk.file_id,
        key_mark=chunk.key_mark,
        setbacks=chunk.setbacks,
    )


def _keep_intent(claim: Claim, chunk: Chunk, *, ledger: Ledger, job_files: JobFiles, clock: Clock) -> None:
    """Write the intent to the work folder. Raises StorageError: nothing was sent, and the chunk is unchanged."""
    token = required(chunk.token, "token")
    try:
        create_journal.write_intent(job_files, intent_of(chunk))
    except StorageError as error:
        kept = SubmissionRefused if chunk.file_id is None else InputKept
        back = lifecycle.advance(chunk, kept("storage", str(error), chunk.setbacks))
        due_at = clock.now() + timedelta(seconds=retry.backoff_s(chunk.attempt, draw=clock.draw()))
        closed = AttemptClosed(token=token, state=AttemptState.REFUSED)
        ledger.record(claim, ChunkMoved(before=chunk, after=back, due_at=due_at), closed, now=clock.now())
        raise


def _keeping_input(event: Event, chunk: Chunk, refusal: Refusal, state: InputState) -> Event:
    if not isinstance(event, SubmissionRefused) or chunk.file_id is None:
        return event
    if not input_file.serves_again(refusal, state, setbacks=event.setbacks):
        return event
    return InputKept(event.error_code, event.error, event.setbacks)


def _refused(
    chunk: Chunk, error: ProviderError, *, ledger: Ledger, files: HasFiles | None, clock: Clock
) -> list[Change]:
    refusal, state = Refusal.of_error(error), InputState.UNKNOWN
    if files is not None and chunk.file_id is not None:
        state = files.state(chunk.file_id) if input_file.may_be_input(refusal) else state
        refusal = input_file.judged(refusal, state, chunk, now=clock.now())
    # Every attempt so far was refused.
    after = refusals.decide(chunk, refusal, tries=chunk.attempt, ledger=ledger, clock=clock)
    now, event = clock.now(), _keeping_input(after.event, chunk, refusal, state)
    moved = lifecycle.failing(lifecycle.advance(chunk, event), refusal.error, now=now)
    return [
        ChunkMoved(before=chunk, after=moved, due_at=now + timedelta(seconds=after.delay_s)),
        AttemptClosed(token=required(chunk.token, "token"), state=AttemptState.REFUSED),
        *refusals.beyond_the_chunk(chunk, after, refusal, ledger=ledger, now=now),
    ]
