"""The step that carries out a cancel: what was not sent is dropped, what was sent is cancelled at the provider.

A cancelled batch is polled on to its end: what it answered before is paid for, and kept. For the same reason a held
chunk stays held: a person must say whether there is a batch to be cancelled.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from orchestrator.domain import lifecycle, retry
from orchestrator.domain.changes import Change, ChunkMoved
from orchestrator.domain.errors import Gone, ProviderError
from orchestrator.domain.lifecycle import CancelledUnsent
from orchestrator.domain.model import Chunk, ChunkState, Claim

if TYPE_CHECKING:
    from orchestrator.ports import Clock, Ledger, Provider

UNSENT = frozenset({ChunkState.PLANNED, ChunkState.UPLOADED, ChunkState.SPLITTING})


def cancel(claim: Claim, *, ledger: Ledger, provider: Provider, clock: Clock) -> None:
    """Cancel a chunk."""
    assert claim.unit.chunk_id is not None
    chunk = ledger.chunk(claim.unit.chunk_id)
    changes: list[Change] = []
    if chunk.state in UNSENT:
        changes = [ChunkMoved(before=chunk, after=lifecycle.advance(chunk, CancelledUnsent()), due_at=None)]
    elif chunk.state is ChunkState.SUBMITTED and not chunk.cancel_sent:
        changes = [_ask(chunk, provider=provider, clock=clock)]
    if changes:
        ledger.record(claim, *changes, now=clock.now())


def _ask(chunk: Chunk, *, provider: Provider, clock: Clock) -> ChunkMoved:
    assert chunk.batch_id is not None
    try:
        provider.cancel(chunk.batch_id)
    except Gone:  # polling will find out what that means
        pass
    except ProviderError as error:
        later = replace(chunk, tries=chunk.tries + 1, error=str(error))
        wait = timedelta(seconds=retry.backoff_s(later.tries, draw=clock.draw()))
        return ChunkMoved(before=chunk, after=later, due_at=clock.now() + wait)
    return ChunkMoved(before=chunk, after=replace(chunk, cancel_sent=True, tries=0), due_at=clock.now())
