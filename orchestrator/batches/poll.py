"""The step that asks once for the status of a batch. It is idempotent: a second delivery finds nothing to do.

Rule: a batch whose status the provider does not give becomes unresolved after a limited time, and is never sent again
automatically; an overdue batch is reported, and polled further.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from orchestrator.batches import refusals
from orchestrator.batches.recover import UNRESOLVED_LOOK_S
from orchestrator.domain import lifecycle, results_at, retry
from orchestrator.domain.batch import BatchStatus
from orchestrator.domain.changes import AttemptClosed, Change, ChunkMoved, Noted, PollsPaused
from orchestrator.domain.errors import Gone, NotAuthorized, ProviderError, RateLimited
from orchestrator.domain.lifecycle import BatchEnded, BatchRejected, BecameUnresolved, SubmissionRefused
from orchestrator.domain.model import OVERDUE, AttemptState, Chunk, ChunkState, Claim, Job
from orchestrator.domain.recovery import OTHER_KEY, is_other, other_key_message
from orchestrator.domain.refusal import Refusal, account_paused
from orchestrator.domain.required import required

if TYPE_CHECKING:
    from orchestrator.ports import Clock, JobFiles, Ledger, Provider

# A new batch may be unknown for a while (OpenRouter answered 404 for seconds); an old one must not be.
UNKNOWN_S_MAX: Final = 3_600.0
OVERDUE_WINDOWS: Final = 2  # beyond the time within which the provider ends a batch
REFUSED: Final = "refused"  # the error code while the provider refuses to give a status


def poll(claim: Claim, *, ledger: Ledger, job_files: JobFiles, provider: Provider, clock: Clock) -> None:
    """Record the batch's progress or outcome, and when to ask again."""
    chunk = ledger.chunk(required(claim.unit.chunk_id, "chunk"))
    if chunk.state is not ChunkState.SUBMITTED:
        return
    job = ledger.job(chunk.job_id)
    changes: list[Change]
    try:
        status = provider.status(required(chunk.batch_id, "batch id"))
    except ProviderError as error:
        is_strange = isinstance(error, Gone) and is_other(chunk.key_mark, provider.traits.key_mark)
        if is_strange and _age_s(chunk, clock) > UNKNOWN_S_MAX:
            changes = [_wait_for_key(chunk, job, clock=clock)]
        else:
            changes = _failed(chunk, job, error, clock=clock)
    else:
        if status.rejected is None:
            changes = _known(chunk, job, status, window_s=provider.traits.window_s, clock=clock)
        else:
            changes = _rejected(chunk, Refusal.of_status(status), ledger=ledger, clock=clock)
    refusals.keep_given_up(changes, job_files)
    ledger.record(claim, *changes, now=clock.now())


def _known(chunk: Chunk, job: Job, status: BatchStatus, *, window_s: float, clock: Clock) -> list[Change]:
    now, token = clock.now(), required(chunk.token, "token")
    overdue = status.outcome is None and _age_s(chunk, clock) > OVERDUE_WINDOWS * window_s
    counted = replace(chunk, done_count=status.done_count, failed_count=status.failed_count)
    counted = replace(counted, looked_at=now, provider_status=status.word)
    code = OVERDUE if overdue else ""
    seen = replace(counted, fees_usd=status.fees_usd, tries=0, error_code=code, error="", failing_since=None)
    if status.outcome is None:
        wait = timedelta(seconds=retry.poll_s(_age_s(chunk, clock), job.policy, draw=clock.draw()))
        late = [Noted(name="batch.overdue", details={"chunk": chunk.name, "batch": str(chunk.batch_id)})]
        reports = late if overdue and chunk.error_code != OVERDUE else []
        return [ChunkMoved(before=chunk, after=seen, due_at=now + wait), *reports]
    ended = lifecycle.advance(seen, BatchEnded(status.outcome, results_at.to_text(status.results), status.error))
    closed = AttemptClosed(token=token, state=AttemptState.CREATED, cost_usd=status.fees_usd)
    return [ChunkMoved(before=chunk, after=ended, due_at=now), closed]


def _rejected(chunk: Chunk, refusal: Refusal, *, ledger: Ledger, clock: Clock) -> list[Change]:
    """Handle a batch of which no request ran like a refused create."""
    # Every attempt so far was refused.
    after = refusals.decide(chunk, refusal, tries=chunk.attempt, ledger=ledger, clock=clock)
    again = after.event if isinstance(after.event, SubmissionRefused) else None
    event = after.event if again is None else BatchRejected(again.error, again.setbacks)
    now = clock.now()
    moved = lifecycle.failing(lifecycle.advance(chunk, event), refusal.error, now=now)
    return [
        ChunkMoved(before=chunk, after=moved, due_at=now + timedelta(seconds=after.delay_s)),
        AttemptClosed(token=required(chunk.token, "token"), state=AttemptState.REFUSED),
        *refusals.beyond_the_chunk(chunk, after, refusal, ledger=ledger, now=now),
    ]


def _failed(chunk: Chunk, job: Job, error: ProviderError, *, clock: Clock) -> list[Change]:
    now = clock.now()
    if isinstance(error, Gone) and _age_s(chunk, clock) > UNKNOWN_S_MAX:
        # It may have run and been charged: a person decides before anything is sent again.
        unresolved = lifecycle.advance(
            chunk, BecameUnresolved(f"the provider no longer knows batch {chunk.batch_id}: {error}")
        )
        return [ChunkMoved(before=chunk, after=unresolved, due_at=None)]
    tries, refused = retry.refused_tries(error, tries=chunk.tries, were_refusals=chunk.error_code == REFUSED)
    if refused and tries >= retry.REFUSALS_MAX:
        unresolved = lifecycle.advance(
            chunk, BecameUnresolved(f"the provider does not say how batch {chunk.batch_id} is: {error}")
        )
        return [ChunkMoved(before=chunk, after=unresolved, due_at=None)]
    counted = replace(chunk, tries=tries, error_code=REFUSED if refused else "")
    later = lifecycle.failing(counted, str(error), now=now)
    floor_s = error.retry_after_s
    if isinstance(error, RateLimited) and floor_s is None:
        floor_s = retry.POLLS_PAUSE_S
    wait_s = retry.backoff_s(later.tries, draw=clock.draw(), floor_s=floor_s)
    changes: list[Change] = [ChunkMoved(before=chunk, after=later, due_at=now + timedelta(seconds=wait_s))]
    if isinstance(error, RateLimited):
        # The limit holds for the account: postpone the polls of its other batches too, instead of a refusal for each.
        changes.append(PollsPaused(account=job.account, until=now + timedelta(seconds=retry.polls_pause_s(wait_s))))
    if isinstance(error, NotAuthorized):
        changes.append(account_paused(job.account, str(error), error.status, now=now))
    return changes


def _wait_for_key(chunk: Chunk, job: Job, *, clock: Clock) -> ChunkMoved:
    """Mark a batch that the present key's account does not know as unresolved, until the right key is set again."""
    words = other_key_message(f"batch {chunk.batch_id} was made", job.account)
    due_at = clock.now() + timedelta(seconds=UNRESOLVED_LOOK_S)
    return ChunkMoved(before=chunk, after=lifecycle.advance(chunk, BecameUnresolved(words, OTHER_KEY)), due_at=due_at)


def _age_s(chunk: Chunk, clock: Clock) -> float:
    return (clock.now() - required(chunk.sent_at, "time of its create")).total_seconds()
