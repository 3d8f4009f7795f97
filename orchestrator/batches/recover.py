"""The step that finds out what became of a create whose answer nobody has. It never sends one.

Rule: asking comes before deciding, deciding is `domain.recovery`, and each run does at most one thing that changes
anything at the provider.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from orchestrator.batches.submit import POLL_FIRST_S, read_journal
from orchestrator.domain import lifecycle, recovery, retry
from orchestrator.domain.changes import AttemptClosed, Change, ChunkMoved, Noted
from orchestrator.domain.errors import ProviderError
from orchestrator.domain.lifecycle import AnswerLost, BatchCreated, Fenced, ProvedAbsent, PutOnHold
from orchestrator.domain.model import AttemptState, BatchId, Chunk, ChunkState, Claim, Job
from orchestrator.domain.recovery import Absent, Adopt, Decision, Doubt, Evidence, Fence, Hold, Recovery, Wait

if TYPE_CHECKING:
    from orchestrator.ports import Clock, Ledger, Overview, Provider, Spool

LOOK_BACK_S: Final = 600.0  # the provider's clock may differ from ours by this much
RECOVERABLE: Final = frozenset({ChunkState.SUBMITTING, ChunkState.IN_DOUBT, ChunkState.HELD})


def recover(
    claim: Claim, *, ledger: Ledger, overview: Overview, spool: Spool, provider: Provider, clock: Clock
) -> None:
    """Move a chunk in doubt one step nearer to knowing."""
    assert claim.unit.chunk_id is not None
    chunk = ledger.chunk(claim.unit.chunk_id)
    if chunk.state not in RECOVERABLE:
        return
    job = ledger.job(chunk.job_id)
    try:
        decision = _decide(chunk, job, overview=overview, spool=spool, provider=provider, clock=clock)
        changes = _act(chunk, decision, provider=provider, clock=clock)
    except ProviderError:
        wait = timedelta(seconds=retry.backoff_s(5, draw=clock.draw()))
        changes = [ChunkMoved(before=chunk, after=chunk, due_at=clock.now() + wait)]
    ledger.record(claim, *changes, now=clock.now())


def _decide(chunk: Chunk, job: Job, *, overview: Overview, spool: Spool, provider: Provider, clock: Clock) -> Decision:
    assert chunk.token is not None and chunk.sent_at is not None
    traits, listed = provider.traits, list[BatchId]()
    asked_at = clock.now()  # before asking: what a list does not show proves nothing about what came after it
    journal = read_journal(spool, chunk.token)
    if journal is None and traits.recovery is Recovery.FENCED and chunk.state is ChunkState.IN_DOUBT:
        found = provider.find(chunk.token, chunk.sent_at - timedelta(seconds=LOOK_BACK_S))
        listed = [batch.batch_id for batch in sorted(found, key=lambda batch: (batch.created_at, batch.batch_id))]
    evidence = Evidence(now=asked_at, journal=journal, listed=listed, wagered_usd=overview.totals(job.id).wagered_usd)
    return recovery.decide(
        chunk,
        evidence,
        recovery=traits.recovery,
        policy=job.policy,
        settle_s=traits.settle_s,
        lag_s=traits.lag_s,
    )


def _act(chunk: Chunk, decision: Decision, *, provider: Provider, clock: Clock) -> list[Change]:
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
        case Absent(abandoned):
            state = AttemptState.ABANDONED if abandoned else AttemptState.ABSENT
            absent = lifecycle.advance(chunk, ProvedAbsent())
            return [ChunkMoved(before=chunk, after=absent, due_at=now), AttemptClosed(token=chunk.token, state=state)]
        case Hold(reason):
            # Looked at again from time to time: the answer may yet turn up in the journal.
            held = lifecycle.advance(chunk, PutOnHold(reason))
            return [ChunkMoved(before=chunk, after=held, due_at=now + timedelta(seconds=60))]


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
