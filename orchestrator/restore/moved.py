"""Chunks of which a person has chosen rows to be sent again: what the others come to, by the rows' numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.domain.causes import causes_less
from orchestrator.domain.model import Chunk, JobId, Tally
from orchestrator.job_files import result_parts
from orchestrator.job_files.chunk_rows import failed_codes, moved_rows, unreadable_rows
from orchestrator.job_files.selections import has_selections

if TYPE_CHECKING:
    from orchestrator.restore.planned import Plans


def retry_chunks(plans: Plans, job_id: JobId) -> Iterator[Chunk]:
    """Return all retry chunks; in place of one that was cut, its halves."""
    for plan in plans.retries:
        for planned in plan.chunks:
            for leaf in plans.leaves(planned):
                if leaf.name not in plans.halves:
                    yield leaf.chunk(job_id)


def causes_without_moved(plans: Plans, chunk: Chunk) -> str:
    """Return the causes of a chunk's failed rows without those that were chosen to be sent again."""
    if not has_selections(plans.job_files):
        return chunk.causes
    moved = moved_rows(plans.job_files, chunk, retry_chunks(plans, chunk.job_id))
    return causes_less(chunk.causes, Counter(failed_codes(plans.job_files, chunk, moved).values()))


def without_moved(plans: Plans, chunk: Chunk, by_kind: Mapping[str, int]) -> tuple[Tally, int]:
    """Return the tally of a chunk without the answers whose rows are in retry chunks, and how many those are.

    Args:
        by_kind: how many they are, by the kind of the answer.
    """
    tally, count = chunk.tally, sum(by_kind.values())
    if not count:
        return tally, 0
    moved = moved_rows(plans.job_files, chunk, retry_chunks(plans, chunk.job_id))
    with plans.job_files.open(chunk.part) as file:
        own = sum(key in moved for key in result_parts.read_succeeded(file))
    unread = sum(key in moved for key in unreadable_rows(plans.job_files, chunk)) if chunk.improves else 0
    for kind, rows in by_kind.items():
        tally = tally.with_answers(kind, -rows)
    left = replace(
        tally,
        succeeded=tally.succeeded - own,
        reopened=tally.reopened + own,
        standing=tally.standing - (count - own),
        unread_answers=tally.unread_answers - unread,
    )
    return left, count
