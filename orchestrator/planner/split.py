"""The step that cuts a chunk in two which the provider finds too large."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.domain import lifecycle
from orchestrator.domain.changes import Change, ChunkAdded, ChunkMoved
from orchestrator.domain.errors import LedgerError
from orchestrator.domain.lifecycle import Divided
from orchestrator.domain.model import ChunkState, Claim
from orchestrator.domain.required import required
from orchestrator.job_files import records, request_files
from orchestrator.planner.cost import Costing

if TYPE_CHECKING:
    from orchestrator.ports import Clock, JobFiles, Ledger


def split(
    claim: Claim,
    *,
    ledger: Ledger,
    job_files: JobFiles,
    costing: Costing,
    reader: request_files.RowReader,
    clock: Clock,
) -> None:
    """Replace a chunk by two halves, which are sent in its place."""
    chunk = ledger.chunk(required(claim.unit.chunk_id, "chunk"))
    if chunk.state is not ChunkState.SPLITTING:
        return
    if chunk.request_count < 2:
        raise LedgerError(f"{chunk.id} is to be cut in two and holds {chunk.request_count} requests")
    half = (chunk.request_count + 1) // 2
    drafts = (request_files.LinesDraft(), request_files.LinesDraft())
    keys: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    for number, line in enumerate(request_files.lines(job_files, chunk.requests)):
        drafts[number >= half].add(line)
        keys[number >= half].append(reader.key(line))
    now = clock.now()
    changes: list[Change] = [ChunkMoved(before=chunk, after=lifecycle.advance(chunk, Divided()), due_at=None)]
    middle = keys[1][0][1] if chunk.shard_no is not None else 0
    ranges = ((chunk.row_start, middle), (middle, chunk.row_end))
    laid = []
    for letter, draft, rows, covered in zip("ab", drafts, ranges, keys, strict=True):
        part = costing.chunk(chunk.job_id, f"{chunk.name}{letter}", draft.write(job_files, f"{chunk.name}{letter}"))
        part = replace(part, shard_no=chunk.shard_no, row_start=rows[0], row_end=rows[1], round=chunk.round)
        laid.append(records.Laid(chunk=part, rows_by_shard=request_files.count_by_shard(covered)))
    changes += [ChunkAdded(chunk=one.chunk, rows_by_shard=one.rows_by_shard, due_at=now) for one in laid]
    records.keep_split(job_files, records.SplitPlan(chunk=chunk.name, laid=tuple(laid)))
    ledger.record(claim, *changes, now=now)
