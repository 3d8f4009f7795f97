"""The step that sends a chunk: intent, one POST, record. See DESIGN §8.

Rule 1: the intent is committed before the POST, and at most one POST is ever issued for it: only the worker whose
        compare-and-set took the chunk to SUBMITTING sends, and it sends once.
Rule 2: the provider's answer goes to the side journal, fsynced, before the ledger: from then on nobody can lose it.
Rule 3: what is not known to be a refusal is in doubt, and a crash looks the same.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from orchestrator import spooled
from orchestrator.domain import lifecycle, retry
from orchestrator.domain.batch import Submission
from orchestrator.domain.changes import (
    AccountPaused,
    AttemptClosed,
    AttemptOpened,
    Change,
    ChunkMoved,
    JobMoved,
    written,
)
from orchestrator.domain.errors import BudgetExhausted, CreateInDoubt, CreateRefused, ProviderError
from orchestrator.domain.lifecycle import AnswerLost, BatchCreated, InputUploaded, SubmissionBegun
from orchestrator.domain.model import (
    Attempt,
    AttemptState,
    AttemptToken,
    BatchId,
    Chunk,
    ChunkState,
    Claim,
    Job,
    JobState,
)

if TYPE_CHECKING:
    from orchestrator.ports import Clock, Ledger, Overview, Provider, Spool

POLL_FIRST_S: Final = 1.0  # a quick look, in case the batch is refused or done at once


def submit(claim: Claim, *, ledger: Ledger, overview: Overview, spool: Spool, provider: Provider, clock: Clock) -> None:
    """Upload a planned chunk where the provider takes files, or send the one POST of a new attempt."""
    assert claim.unit.chunk_id is not None
    chunk = ledger.chunk(claim.unit.chunk_id)
    if chunk.state is ChunkState.PLANNED and provider.traits.takes_files:
        _upload(claim, chunk, ledger=ledger, spool=spool, provider=provider, clock=clock)
    elif chunk.state in (ChunkState.PLANNED, ChunkState.UPLOADED):
        job = ledger.job(chunk.job_id)
        begun = _intend(claim, job, chunk, ledger=ledger, settle_s=provider.traits.settle_s, clock=clock)
        if begun is not None:
            _send(claim, begun, ledger=ledger, overview=overview, spool=spool, provider=provider, clock=clock)


def _submission(chunk: Chunk, token: AttemptToken, spool: Spool) -> Submission:
    return Submission(
        token=token,
        request_count=chunk.request_count,
        size_bytes=chunk.request_bytes,
        blocks=lambda: spooled.blocks(spool, chunk.requests),
        file_id=chunk.file_id,
    )


def _upload(claim: Claim, chunk: Chunk, *, ledger: Ledger, spool: Spool, provider: Provider, clock: Clock) -> None:
    """Give the provider a fresh file for this attempt; free, so a failure is simply tried again."""
    token = AttemptToken(clock.token())
    try:
        file_id = provider.upload(_submission(chunk, token, spool))
    except ProviderError as error:
        later = replace(chunk, tries=chunk.tries + 1, error=str(error))
        wait = timedelta(seconds=retry.backoff_s(later.tries, draw=clock.draw()))
        moved = ChunkMoved(before=chunk, after=later, due_at=clock.now() + wait)
    else:
        moved = ChunkMoved(
            before=chunk, after=lifecycle.advance(chunk, InputUploaded(token, file_id)), due_at=clock.now()
        )
    ledger.record(claim, moved, now=clock.now())


def _intend(claim: Claim, job: Job, chunk: Chunk, *, ledger: Ledger, settle_s: float, clock: Clock) -> Chunk | None:
    """Commit the intent and return the chunk in SUBMITTING; None where the budget forbids it."""
    now = clock.now()
    token = chunk.token if chunk.state is ChunkState.UPLOADED else AttemptToken(clock.token())
    assert token is not None
    begun = lifecycle.advance(chunk, SubmissionBegun(token, now))
    attempt = Attempt(
        token=token,
        chunk_id=chunk.id,
        number=begun.attempt,
        state=AttemptState.OPEN,
        reserved_usd=chunk.cost_usd_max or Decimal(0),
        sent_at=now,
        digest=spooled.content_digest(chunk.requests),
    )
    due_at = now + timedelta(seconds=settle_s)
    intent = ChunkMoved(before=chunk, after=begun, due_at=due_at)
    opened = AttemptOpened(attempt=attempt, budget_usd=job.policy.budget_usd)
    try:
        ledger.record(claim, intent, opened, now=now, keep=True)
    except BudgetExhausted as error:
        stopped = replace(job, state=JobState.STOPPED, reason=str(error))
        ledger.record(claim, JobMoved(before=job, after=stopped, due_at=now), now=now)
        return None
    return written(begun)


def _send(
    claim: Claim, chunk: Chunk, *, ledger: Ledger, overview: Overview, spool: Spool, provider: Provider, clock: Clock
) -> None:
    """Issue the one POST of this attempt and record what is known of its effect."""
    assert chunk.token is not None
    try:
        batch_id = provider.create(_submission(chunk, chunk.token, spool))
    except CreateRefused as refusal:
        changes = _refused(chunk, refusal.error, ledger=ledger, overview=overview, clock=clock)
    except CreateInDoubt as doubt:
        lost = lifecycle.advance(chunk, AnswerLost(str(doubt)))
        changes = [ChunkMoved(before=chunk, after=lost, due_at=clock.now())]
    else:
        write_journal(spool, chunk.token, batch_id)
        created = lifecycle.advance(chunk, BatchCreated(batch_id))
        due_at = clock.now() + timedelta(seconds=POLL_FIRST_S)
        closed = AttemptClosed(token=chunk.token, state=AttemptState.CREATED, batch_id=batch_id)
        changes = [ChunkMoved(before=chunk, after=created, due_at=due_at), closed]
    ledger.record(claim, *changes, now=clock.now())


def _refused(chunk: Chunk, error: ProviderError, *, ledger: Ledger, overview: Overview, clock: Clock) -> list[Change]:
    assert chunk.token is not None
    tries = chunk.attempt  # every refusal so far was of this chunk
    after = retry.after_refusal(
        error,
        tries=tries,
        request_count=chunk.request_count,
        ever_created=overview.ever_created(chunk.job_id),
        draw=clock.draw(),
    )
    now = clock.now()
    moved = lifecycle.advance(chunk, after.event)
    changes: list[Change] = [
        ChunkMoved(before=chunk, after=moved, due_at=now + timedelta(seconds=after.delay_s)),
        AttemptClosed(token=chunk.token, state=AttemptState.REFUSED),
    ]
    job = ledger.job(chunk.job_id)
    if after.pauses_account:
        until = now + timedelta(seconds=retry.ACCOUNT_PAUSE_S)
        changes.append(AccountPaused(account=job.account, until=until, reason=str(error)))
    if after.stops_job and job.state is JobState.RUNNING:
        stopped = replace(job, state=JobState.STOPPED, reason=f"the provider refused the first batch: {error}")
        changes.append(JobMoved(before=job, after=stopped, due_at=now))
    return changes


def write_journal(spool: Spool, token: AttemptToken, batch_id: BatchId) -> None:
    """Keep the provider's answer to a create, durably."""
    with spool.create(spooled.journal_name(token)) as file:
        file.write(json.dumps({"token": token, "batch_id": batch_id}).encode())


def read_journal(spool: Spool, token: AttemptToken) -> BatchId | None:
    """Return the batch that a create is known to have made; None where no answer was kept."""
    name = spooled.journal_name(token)
    if not spool.exists(name):
        return None
    with spool.open(name) as file:
        return BatchId(json.loads(file.read())["batch_id"])
