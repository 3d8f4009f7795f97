"""The step that cuts a chunk in two: in halves, or in the requests that the provider refused and the others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.domain import lifecycle
from orchestrator.domain.changes import ChunkAdded, ChunkMoved
from orchestrator.domain.errors import LedgerError
from orchestrator.domain.lifecycle import Divided
from orchestrator.domain.model import ChunkState, Claim
from orchestrator.domain.required import required
from orchestrator.job_files import records, request_files
from orchestrator.job_files.changed_requests import changes_in
from orchestrator.planner.cost import Costing

if TYPE_CHECKING:
    from orchestrator.ports import Clock, JobFiles, Ledger


def split(
    claim: Claim,
    *,
    ledger: Ledger,
    job_files: JobFiles,
    costing: Costing,
    clock: Clock,
) -> None:
    """Replace a chunk by two, which are sent in its place. The refused requests are the second."""
    chunk = ledger.chunk(required(claim.unit.chunk_id, "chunk"))
    if chunk.state is not ChunkState.SPLITTING:
        return
    if chunk.request_count < 2:
        raise LedgerError(f"{chunk.id} is to be cut in two and holds {chunk.request_count} requests")
    refused = frozenset(map(int, chunk.refused_places.split()))
    if not refused or len(refused) >= chunk.request_count:
        refused = frozenset(range((chunk.request_count + 1) // 2, chunk.request_count))
    drafts = (request_files.LinesDraft(), request_files.LinesDraft())
    for place, one in enumerate(request_files.keyed_requests_of(job_files, chunk)):
        drafts[place in refused].add(*one)
    now, halves = clock.now(), list[ChunkAdded]()
    for letter, draft in zip("ab", drafts, strict=True):
        name, is_retry = f"{chunk.name}{letter}", chunk.shard_no is None
        part = costing.for_chunk(changes_in(chunk.changes), chunk.amends).chunk(
            chunk.job_id, name, draft.write(job_files, name, is_retry=is_retry)
        )
        if not is_retry:
            part = replace(part, shard_no=chunk.shard_no, row_start=draft.row_start, row_end=draft.row_end)
        part = replace(part, round=chunk.round, is_canary=chunk.is_canary, improves=chunk.improves, amends=chunk.amends)
        part = replace(part, changes=chunk.changes, improves_reused=chunk.improves_reused, revision=chunk.revision)
        halves.append(ChunkAdded(chunk=part, rows_by_shard=draft.rows_by_shard, due_at=now))
    planned = tuple(records.PlannedChunk.of(half.chunk, half.rows_by_shard) for half in halves)
    records.keep_split(job_files, records.SplitPlan(chunk=chunk.name, chunks=planned))
    divided = ChunkMoved(before=chunk, after=lifecycle.advance(chunk, Divided()), due_at=None)
    ledger.record(claim, divided, *halves, now=now)
