"""Finds the chunks of a job in the records of its plans.

Rule 1: a shard's slices follow each other without a gap; of two that begin at one row the one that was sent counts.
Rule 2: retry chunks that were not sent are omitted: their rows wait again, and are gathered again.
Rule 3: a chunk that was cut in two is represented by its halves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.job_files import records
from orchestrator.job_files.records import PlannedChunk, RetryPlan, SlicePlan

if TYPE_CHECKING:
    from orchestrator.ports import JobFiles
    from orchestrator.restore.submitted import Sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Plans:
    """The valid plans of a job."""

    job_files: JobFiles
    sent: Sent
    halves: Mapping[str, tuple[PlannedChunk, ...]]  # of chunks that were cut in two
    retries: tuple[RetryPlan, ...]
    retry_count: int  # the highest number of a retry chunk, including omitted ones

    def slices(self, shard_no: int) -> Iterator[SlicePlan]:
        """Return the valid slices of a shard, in order."""
        by_start: dict[int, list[SlicePlan]] = {}
        for found in records.read_slices(self.job_files, shard_no):
            by_start.setdefault(found.row_start, []).append(found)
        row = 0
        while candidates := by_start.pop(row, None):
            best = max(candidates, key=lambda one: (self.is_sent(one), one.row_end, _revision(one)))
            yield best
            if best.last:
                return
            row = best.row_end

    def is_sent(self, plan: SlicePlan | RetryPlan) -> bool:
        """Return whether requests of this plan may have been sent."""
        return any(self.sent.is_sent(one.requests) for planned in plan.chunks for one in self.leaves(planned))

    def leaves(self, planned: PlannedChunk) -> Iterator[PlannedChunk]:
        """Return a chunk and, where it was cut in two, its halves and theirs."""
        yield planned
        for half in self.halves.get(planned.name, ()):
            yield from self.leaves(half)


def _revision(plan: SlicePlan) -> int:
    return max((planned.revision for planned in plan.chunks), default=0)


def read_plans(job_files: JobFiles, sent: Sent) -> Plans:
    """Read which retry chunks and which halves there are. Raises StorageError."""
    halves = {plan.chunk: plan.chunks for plan in records.read_splits(job_files)}
    found = tuple(records.read_retries(job_files))
    numbers = [int(planned.name.lstrip("r")) for plan in found for planned in plan.chunks]
    plans = Plans(job_files=job_files, sent=sent, halves=halves, retries=(), retry_count=max(numbers, default=0))
    return replace(plans, retries=tuple(plan for plan in found if plans.is_sent(plan)))
