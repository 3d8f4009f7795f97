"""A page of a job's rows for a program: `orchestrator results --json`, and the MCP server.

Rule: it reads the rows of the page, and counts come from the ledger.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.api.documents.jobs import Results
from orchestrator.api.export import Wanted, opened_rows
from orchestrator.api.status import WHOLE
from orchestrator.api.table_files import json_lines
from orchestrator.collector.join import FAILED, SUCCEEDED

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from orchestrator.api.handle import JobHandle
    from orchestrator.api.status import Status


def page(handle: JobHandle, wanted: Wanted) -> Results:
    """Return a page of rows. Raises JobNotFinished where the job has no output and not less than it is wanted."""
    status = handle.status()
    look, is_whole = status.look, status.state in WHOLE and not status.reason
    count = _count(status, wanted, whole=is_whole)
    # Of rows that nobody has counted, one more is looked for than is given.
    seen = replace(wanted, limit=wanted.limit + 1) if wanted.limit and count is None else wanted
    with opened_rows(handle.work, handle.job_id, seen, handle.results) as found:
        rows = tuple(row for batch in found.batches for row in rows_of(batch))
    shown = rows[: wanted.limit]
    end = wanted.after + len(shown)
    is_last = len(shown) == len(rows) if count is None else end >= count or not rows
    return Results(
        job_id=handle.job_id,
        state=status.state.value,
        has_ended=look.has_ended,
        output=handle.results().path if is_whole else None,
        total=look.rows.total,
        answered=look.rows.answered,
        failed=look.rows.failed,
        truncated=look.flaws["truncated"],
        empty=look.flaws["empty"],
        refused=look.flaws["refused"],
        rows=shown,
        after=wanted.after,
        next=None if is_last else end,
    )


def rows_of(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Yield rows as JSON has them."""
    return map(orjson.loads, json_lines(batch).splitlines())


def _count(status: Status, wanted: Wanted, *, whole: bool) -> int | None:
    """Return how many such rows there are, where the ledger knows it."""
    rows = status.look.rows
    if wanted.keys:
        return None
    if not wanted.kind:
        return rows.total if whole else rows.answered + rows.failed
    kinds = [wanted.kind] if isinstance(wanted.kind, str) else list(wanted.kind)
    return {SUCCEEDED: rows.answered, FAILED: rows.failed}.get(kinds[0]) if len(kinds) == 1 else None
