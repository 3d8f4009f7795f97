"""The end of a job on the command line: its report, or the rows that a person must look at; and the exit code."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrator.api.exit_codes import FAILED_ROWS
from orchestrator.cli.arguments import find
from orchestrator.cli.readers import though_unread
from orchestrator.cli.terminal import draw, listed_commands, say, show, show_document, show_text
from orchestrator.domain.errors import JobNeedsDecision

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.api.result import Result
    from orchestrator.api.status import Status


@contextmanager
def samples_told(job: str, work: str | None) -> Iterator[None]:
    """Print rows of the job's canary before the message that it waits for a decision."""
    try:
        yield
    except JobNeedsDecision:
        from orchestrator.cli import status_text

        if samples := find(job, work).samples():
            say(status_text.samples(samples))
        raise


def print_status(found: Status, work: str) -> None:
    """Print how a job stands, and what a person can do about it."""
    from orchestrator.api import run_view
    from orchestrator.cli import status_text

    draw(lambda width: run_view.still(found.look, width))
    if told := status_text.notes(found, work):
        show_text(f"\n{told}")


def print_end(result: Result, work: str, *, as_json: bool, allow_failed: bool, told: str = "") -> None:
    """Print the result of a job, and end with the exit code that tells whether rows have failed.

    Args:
        told: what to say at the end of the text.
    """
    with though_unread():
        if as_json:
            show_document(result.document())
        else:
            _print_report(result, work, told)
        sys.stdout.flush()
    if result.counts["failed"] and not allow_failed:
        sys.exit(FAILED_ROWS)


def _print_report(result: Result, work: str, told: str) -> None:
    from orchestrator.api.next_commands import command
    from orchestrator.cli import status_text, text

    show_text(text.report(result.job_id, result.status.totals, result.errors(), result.cost_shares()))
    show(f"  output      {result.path}")
    if not result.counts["rows"]:
        show_text("  The dataset has a header and no rows: nothing was sent.")
    if result.counts["succeeded"]:
        look = command("results", work, result.job_id)
        show_text("\n".join(listed_commands([(look, "to look at the answers")])))
    for advice in (status_text.flawed_answers, status_text.failed_rows):
        if advised := advice(result.status, work):
            show_text(advised)
    if told:
        show_text(told)
