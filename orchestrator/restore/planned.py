"""Which chunks a job had, from the records of its plans.

Rule 1: a shard's slices follow each other without a gap; of two that begin at one row the one that was sent counts.
Rule 2: retry chunks of which nothing was sent are left out: their rows wait again, and are gathered anew.
Rule 3: a chunk that was cut in two is there as its halves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.job_files import records
from orchestrator.job_files.records import Laid, RetryPlan, SlicePlan

if TYPE_CHECKING:
    from orchestrator.domain.model import JobId
    from orchestrator.ports import JobFiles
    from orchestrator.restore.submitted import Sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Plans:
    """The plans of a job that hold."""

    job_files: JobFiles
    job_id: JobId
    sent: Sent
    halves: Mapping[str, tuple[Laid, ...]]  # of chunks that were cut in two
    retries: tuple[RetryPlan, ...]
    retry_count: int  # the highest number of a retry chunk, those left out included

    def slices(self, shard_no: int) -> Iterator[SlicePlan]:
        """Return the slices of a shard that hold, in order."""
        by_start: dict[int, list[SlicePlan]] = {}
        for found in records.read_slices(self.job_files, self.job_id, shard_no):
            by_start.setdefault(found.row_start, []).append(found)
        row = 0
        while candidates := by_start.pop(row, None):
            best = max(candidates, key=lambda one: (self._is_sent(one), one.row_end))
            yield best
            if best.last:
                return
            row = best.row_end

    def _is_sent(self, plan: SlicePlan | RetryPlan) -> bool:
        return any(self.sent.is_sent(one.chunk.requests) for laid in plan.laid for one in self.leaves(laid))

    def leaves(self, laid: Laid) -> Iterator[Laid]:
        """Return a chunk and, where it was cut in two, its halves and theirs."""
        yield laid
        for half in self.halves.get(laid.chunk.name, ()):
            yield from self.leaves(half)


def read_plans(job_files: JobFiles, job_id: JobId, sent: Sent) -> Plans:
    """Read which retry chunks and which halves there are. Raises StorageError."""
    halves = {plan.chunk: plan.laid for plan in records.read_splits(job_files, job_id)}
    found = tuple(records.read_retries(job_files, job_id))
    numbers = [int(laid.chunk.name.lstrip("r")) for plan in found for laid in plan.laid]
    plans = Plans(
        job_files=job_files, job_id=job_id, sent=sent, halves=halves, retries=(), retry_count=max(numbers, default=0)
    )
    kept = tuple(plan for plan in found if plans._is_sent(plan))  # noqa: SLF001 - this module's own class
    return Plans(
        job_files=job_files, job_id=job_id, sent=sent, halves=halves, retries=kept, retry_count=plans.retry_count
    )
