"""The rows of an open work folder's jobs, for a program that looks at them again and again, such as the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.domain.model import JobId, ShardState
from orchestrator.domain.reconcile import RowKey

if TYPE_CHECKING:
    from orchestrator.api.row_pages import RowPage
    from orchestrator.api.show import RowTrace
    from orchestrator.domain.row_filter import RowFilter
    from orchestrator.engine.workspace import Workspace


@dataclass(frozen=True, slots=True)
class RowViewer:
    """Reads rows; safe to use from many threads."""

    workspace: Workspace

    def page(self, job_id: JobId, wanted: RowFilter, *, start: RowKey, limit: int, until: float) -> RowPage:
        """Return some rows: see `row_pages.row_page`."""
        from orchestrator.api.row_pages import row_page

        return row_page(self.workspace, job_id, wanted, start=start, limit=limit, until=until)

    def trace(self, job_id: JobId, named: str) -> RowTrace:
        """Return one row: see `show.trace`."""
        from orchestrator.api.show import trace

        return trace(self.workspace, job_id, named)

    def numbers(self, job_id: JobId, places: set[RowKey]) -> dict[RowKey, int]:
        """Return the numbers in the dataset, from 0, of those rows of which they are known."""
        if not places:
            return {}
        shards = self.workspace.ledger.shards(job_id)
        found, before = dict[RowKey, int](), 0
        for shard in shards:
            found |= {place: before + place[1] for place in places if place[0] == shard.shard_no}
            before += shard.row_count
            if shard.state is ShardState.PLANNING:
                break  # how many rows it has is not known yet
        return found

    def neighbours(self, job_id: JobId, key: RowKey) -> tuple[RowKey | None, RowKey | None]:
        """Return the rows before and after one, in the order of the dataset, as far as they are planned."""
        counts = [shard.row_count for shard in self.workspace.ledger.shards(job_id)]
        shard_no, row = key
        before: RowKey | None = (shard_no, row - 1)
        if row == 0:
            earlier = next((number for number in range(shard_no - 1, -1, -1) if counts[number]), None)
            before = None if earlier is None else (earlier, counts[earlier] - 1)
        after: RowKey | None = (shard_no, row + 1)
        if row + 1 >= counts[shard_no]:
            later = next((number for number in range(shard_no + 1, len(counts)) if counts[number]), None)
            after = None if later is None else (later, 0)
        return before, after
