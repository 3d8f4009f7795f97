"""The step that carries out a cancel: it drops unsent chunks and cancels batches in flight at the provider.

A cancelled batch is polled until it ends: its answers so far are paid for and are kept. So is a batch that the provider
refuses to cancel. An unresolved chunk stays unresolved: a person must find out whether it has a batch to cancel. Where
the present key's account does not know the batch, the cancel waits for the key that the batch was made with.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from orchestrator.domain import lifecycle, retry
from orchestrator.domain.changes import Change, ChunkMoved
from orchestrator.domain.errors import Gone, NotAuthorized, PermanentError, ProviderError
from orchestrator.domain.lifecycle import CancelledUnsent
from orchestrator.domain.model import UNSENT, Chunk, ChunkState, Claim
from orchestrator.domain.recovery import is_other, other_key_message
from orchestrator.domain.required import required

if TYPE_CHECKING:
    from orchestrator.ports import Clock, Ledger, Provider

DROPPABLE: Final = UNSENT | {ChunkState.SPLITTING}  # no batch of it exists
TRIES_MAX: Final = 8


def cancel(claim: Claim, *, ledger: Ledger, provider: Provider, clock: Clock) -> None:
    """Cancel a chunk."""
    chunk = ledger.chunk(required(claim.unit.chunk_id, "chunk"))
    changes: list[Change] = []
    if chunk.state in DROPPABLE:
        changes = [ChunkMoved(before=chunk, after=lifecycle.advance(chunk, CancelledUnsent()), due_at=None)]
    elif chunk.state is ChunkState.SUBMITTED and not chunk.cancel_sent:
        account = ledger.job(chunk.job_id).account
        changes = [_ask(chunk, account, provider=provider, clock=clock)]
    if changes:
        ledger.record(claim, *changes, now=clock.now())


def _ask(chunk: Chunk, account: str, *, provider: Provider, clock: Clock) -> ChunkMoved:
    now = clock.now()
    sent = replace(chunk, cancel_sent=True, tries=0)
    try:
        provider.cancel(required(chunk.batch_id, "batch id"))
    except ProviderError as error:
        if isinstance(error, Gone) and is_other(chunk.key_mark, provider.traits.key_mark):
            words = other_key_message(f"batch {chunk.batch_id} was made", account)
            wait = timedelta(seconds=retry.backoff_s(5, draw=clock.draw()))
            return ChunkMoved(before=chunk, after=replace(chunk, error=words), due_at=now + wait)
        refused = isinstance(error, PermanentError) and not isinstance(error, NotAuthorized)
        if refused or chunk.tries + 1 >= TRIES_MAX:  # polling finds out how it ends
            return ChunkMoved(before=chunk, after=replace(sent, error=str(error)), due_at=now)
        later = replace(chunk, tries=chunk.tries + 1, error=str(error))
        floor_s = error.retry_after_s
        wait = timedelta(seconds=retry.backoff_s(later.tries, draw=clock.draw(), floor_s=floor_s))
        return ChunkMoved(before=chunk, after=later, due_at=now + wait)
    return ChunkMoved(before=chunk, after=sent, due_at=now)
