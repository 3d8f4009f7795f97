"""The step that finds out what became of a create whose answer nobody has. It never sends another.

In class A it may send the same one again, under the same token: the provider answers with the batch that is there.

Rule: asking comes before deciding, deciding is `domain.recovery`, and each run does at most one thing that changes
anything at the provider.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from orchestrator import records
from orchestrator.batches.submit import POLL_FIRST_S, read_journal, submission_of, write_journal
from orchestrator.domain import lifecycle, recovery, retry
from orchestrator.domain.changes import AttemptClosed, Change, ChunkMoved, Noted
from orchestrator.domain.errors import BadRequest, CreateInDoubt, CreateRefused, ProviderError, TooLarge, TransientError
from orchestrator.domain.lifecycle import AnswerLost, BatchCreated, Fenced, ProvedAbsent, PutOnHold
from orchestrator.domain.model import AttemptState, BatchId, Chunk, ChunkState, Claim, Job
from orchestrator.domain.policy import OnAmbiguous
from orchestrator.domain.recovery import (
    Absent,
    Adopt,
    Bounds,
    Decision,
    Doubt,
    Evidence,
    Fence,
    Hold,
    LookAgain,
    Recovery,
    Repeat,
    Wait,
)

if TYPE_CHECKING:
    from orchestrator.ports import Clock, Ledger, Overview, Provider, Spool

# How far our clock may have been ahead of the provider's when the create was begun: whoever looks back too little finds
# nothing, and sends again. A clock that is a day off is one whose date is wrong; to list a day more costs a few calls.
LOOK_BACK_S: Final = 26 * 3_600.0
TOLD_S_MAX: Final = 900.0  # of what a provider may want us to wait before the next look
LISTING: Final = frozenset({Recovery.FENCED, Recovery.SETTLED})
RECOVERABLE: Final = frozenset({ChunkState.SUBMITTING, ChunkState.IN_DOUBT, ChunkState.HELD})


def recover(
    claim: Claim, *, ledger: Ledger, overview: Overview, spool: Spool, provider: Provider, clock: Clock
) -> None:
    """Move a chunk in doubt one step nearer to knowing."""
    assert claim.unit.chunk_id is not None
    chunk = ledger.chunk(claim.unit.chunk_id)
    if chunk.state not in RECOVERABLE:
        return
    assert chunk.token is not None
    job = ledger.job(chunk.job_id)
    decision: Decision | None = None
    try:
        decision = _decide(chunk, job, overview=overview, spool=spool, provider=provider, clock=clock)
        changes = _act(chunk, decision, spool=spool, provider=provider, clock=clock)
        if isinstance(decision, Adopt):  # known from now on, whatever becomes of the ledger
            write_journal(spool, chunk.token, decision.batch_id)
    except (ProviderError, CreateRefused, CreateInDoubt) as error:  # of a repeated create, too: nothing of the first
        decision = None
        wait = timedelta(seconds=retry.backoff_s(5, draw=clock.draw(), floor_s=_told_to_wait_s(error)))
        changes = [ChunkMoved(before=chunk, after=chunk, due_at=clock.now() + wait)]
    ledger.record(claim, *changes, now=clock.now())
    if isinstance(decision, Absent) and not decision.abandoned:  # only now: another may have found the batch meanwhile
        records.drop_intent(spool, chunk.token)


def _told_to_wait_s(error: Exception) -> float | None:
    """Return how long the provider wants to be left alone; a doubt waits for it, but not for a day."""
    cause = error.error if isinstance(error, CreateRefused) else error
    asked_s = cause.retry_after_s if isinstance(cause, TransientError) else None
    return None if asked_s is None else min(asked_s, TOLD_S_MAX)


def _decide(chunk: Chunk, job: Job, *, overview: Overview, spool: Spool, provider: Provider, clock: Clock) -> Decision:
    assert chunk.token is not None and chunk.sent_at is not None
    traits, listed = provider.traits, list[BatchId]()
    asked_at = clock.now()  # before asking: what a list does not show proves nothing about what came after it
    journal = read_journal(spool, chunk.token)
    if journal is None and traits.recovery in LISTING and chunk.state is ChunkState.IN_DOUBT:
        found = provider.find(chunk.token, chunk.sent_at - timedelta(seconds=LOOK_BACK_S), chunk.file_id)
        listed = [batch.batch_id for batch in sorted(found, key=lambda batch: (batch.created_at, batch.batch_id))]
    wagers = traits.recovery is Recovery.UNKNOWABLE and job.policy.on_ambiguous is OnAmbiguous.RESUBMIT
    wagered_usd = overview.totals(job.id).wagered_usd if wagers else Decimal(0)  # reads all of the job's chunks
    evidence = Evidence(now=asked_at, journal=journal, listed=listed, wagered_usd=wagered_usd)
    return recovery.decide(
        chunk,
        evidence,
        recovery=traits.recovery,
        policy=job.policy,
        bounds=Bounds(settle_s=traits.settle_s, lag_s=traits.lag_s, late_s=traits.late_s, key_s=traits.key_s),
    )


def _act(chunk: Chunk, decision: Decision, *, spool: Spool, provider: Provider, clock: Clock) -> list[Change]:
    assert chunk.token is not None
    now = clock.now()
    match decision:
        case Adopt(batch_id, twins):
            return _adopt(chunk, batch_id, twins, provider=provider, clock=clock)
        case Doubt():
            lost = AnswerLost("no answer to the create was recorded in time")
            return [ChunkMoved(before=chunk, after=lifecycle.advance(chunk, lost), due_at=now)]
        case Wait(until):
            return [ChunkMoved(before=chunk, after=chunk, due_at=until)]
        case Fence():
            assert chunk.file_id is not None
            provider.fence(chunk.file_id)
            return [ChunkMoved(before=chunk, after=lifecycle.advance(chunk, Fenced(clock.now())), due_at=clock.now())]
        case LookAgain():
            looked = replace(lifecycle.advance(chunk, Fenced(now)), tries=chunk.tries + 1)
            return [ChunkMoved(before=chunk, after=looked, due_at=now)]
        case Repeat():
            return _repeat(chunk, spool=spool, provider=provider, clock=clock)
        case Absent(abandoned):
            state = AttemptState.ABANDONED if abandoned else AttemptState.ABSENT
            absent = lifecycle.advance(chunk, ProvedAbsent())
            return [ChunkMoved(before=chunk, after=absent, due_at=now), AttemptClosed(token=chunk.token, state=state)]
        case Hold(reason):
            return [_hold(chunk, reason, clock)]


def _hold(chunk: Chunk, reason: str, clock: Clock) -> ChunkMoved:
    # Looked at again from time to time: the answer may yet turn up in the journal.
    due_at = clock.now() + timedelta(seconds=60)
    return ChunkMoved(before=chunk, after=lifecycle.advance(chunk, PutOnHold(reason)), due_at=due_at)


def _repeat(chunk: Chunk, *, spool: Spool, provider: Provider, clock: Clock) -> list[Change]:
    """Send the same create again. One that will never be taken leaves the first for a person to look up."""
    assert chunk.token is not None
    try:
        batch_id = provider.create(submission_of(chunk, chunk.token, spool))
    except CreateRefused as refusal:
        if isinstance(refusal.error, BadRequest | TooLarge):
            reason = f"the answer to the create was lost, and the same one is refused now: {refusal.error}"
            return [_hold(chunk, reason, clock)]
        raise
    write_journal(spool, chunk.token, batch_id)
    return _adopt(chunk, batch_id, (), provider=provider, clock=clock)


def _adopt(
    chunk: Chunk, batch_id: BatchId, twins: tuple[BatchId, ...], *, provider: Provider, clock: Clock
) -> list[Change]:
    assert chunk.token is not None
    for twin in twins:
        provider.cancel(twin)
    adopted = lifecycle.advance(chunk, BatchCreated(batch_id))
    due_at = clock.now() + timedelta(seconds=POLL_FIRST_S)
    changes: list[Change] = [
        ChunkMoved(before=chunk, after=adopted, due_at=due_at),
        AttemptClosed(token=chunk.token, state=AttemptState.CREATED, batch_id=batch_id),
    ]
    if twins:
        changes.append(Noted(name="batch.duplicated", details={"chunk": chunk.name, "twins": len(twins)}))
    return changes
