"""Why rows of a job have failed, for a program: the ledger's causes, each with a few rows as examples."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

from orchestrator.api.documents.jobs import FailedRow, Failure, Failures
from orchestrator.api.export import Wanted, opened_rows
from orchestrator.api.pages import rows_of
from orchestrator.api.status import WHOLE
from orchestrator.engine.opening import opened_workspace

if TYPE_CHECKING:
    from orchestrator.api.handle import JobHandle

CAUSES_MAX: Final = 10  # that have examples
MESSAGE_MAX: Final = 300  # characters


def failures(handle: JobHandle, *, examples: int) -> Failures:
    """Return the causes, that of the most rows first. Reads no dataset.

    Args:
        examples: of each cause, at most.
    """
    status = handle.status()
    with opened_workspace(handle.work) as workspace:
        options = workspace.context(handle.job_id).spec.output_options
    names = (options.custom_id, f"{options.prefix}error_message")
    is_whole = status.state in WHOLE and not status.reason
    found = []
    for place, cause in enumerate(status.look.causes):
        rows: tuple[FailedRow, ...] = ()
        if examples and place < CAUSES_MAX:
            wanted = Wanted(kind=[cause.code], columns=names, limit=examples, without_source=not is_whole)
            with opened_rows(handle.work, handle.job_id, wanted, handle.results) as opened:
                shown = [row for batch in opened.batches for row in rows_of(batch)]
            rows = tuple(_example(row, *names) for row in shown)
        found.append(Failure(cause=cause.code, rows=cause.rows, examples=rows))
    return Failures(job_id=handle.job_id, failed=status.look.rows.failed, causes=tuple(found))


def _example(row: dict[str, Any], custom_id: str, message: str) -> FailedRow:
    said = textwrap.shorten(row[message] or "", MESSAGE_MAX, placeholder=" …")
    return FailedRow(custom_id=row[custom_id], message=said)
