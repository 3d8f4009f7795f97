"""Questions to the person at a terminal. Where there is none, nothing is asked and the error stands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from orchestrator.cli.terminal import say
from orchestrator.domain.errors import ConfigError, JobConflict

if TYPE_CHECKING:
    from orchestrator.api.handle import JobHandle
    from orchestrator.api.job import Job

T = TypeVar("T")


def is_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def asked(start: Callable[[bool], T], alongside: bool) -> T:
    """Start a job; where another one of its name is not finished, ask whether to run it beside that one."""
    try:
        return start(alongside)
    except JobConflict as conflict:
        if not is_terminal():
            raise
        say(str(conflict))
        if not click.confirm("Run the new one beside it?", err=True):
            raise click.Abort from None
        return start(True)


def confirm_cost(job: Job, job_id: str, work: str) -> None:
    """Show what a new job would cost, and ask where that may be more than `policy.confirm_usd`. Raises click.Abort.

    Without a terminal nothing is shown or asked: scripts run on, bounded by `policy.budget_usd`.
    """
    from orchestrator.api import commands
    from orchestrator.cli import text
    from orchestrator.domain.money import exact, usd

    if not is_terminal() or _is_known(job_id, work):
        return
    found, policy = commands.plan(job), job.resolved_policy
    requests = found.about + text.counted(found.requests, "request", "requests")
    if found.cost_usd_max is None or found.cost_usd_expected is None:
        say(f"{job_id}: {requests}, cost unknown")
        return
    most, about = usd(found.cost_usd_max), usd(found.cost_usd_expected)
    if found.rows is None:
        say(f"{job_id}: {requests}. The first {found.rows_read:,} rows alone cost about {about}, at most {most}")
    else:
        say(f"{job_id}: {requests}, about {about}, at most {most}")
    bound = found.cost_bound(policy.budget_usd)
    if bound is None or bound > policy.confirm_usd:
        for note in found.notes:
            say(f"  note: {note}")
        if not click.confirm(
            f"It may cost more than policy.confirm_usd ({exact(policy.confirm_usd)}). Go on?", err=True
        ):
            raise click.Abort


def confirm_retry(
    handle: JobHandle, rows: Sequence[str], keys: Sequence[str], parameters: Mapping[str, object]
) -> None:
    """Show what a retry would send, and ask where that may cost more than `policy.confirm_usd`. Raises click.Abort.

    Without a terminal nothing is shown or asked.
    """
    from orchestrator.cli import status_text
    from orchestrator.domain.money import exact

    if not is_terminal() or not handle.status().look.has_ended:
        return
    found = handle.plan_retry(rows=rows, keys=keys, parameters=parameters)
    if not found.rows:
        return
    say(status_text.retry_plan(found))
    if found.cost_usd_max is not None and found.cost_usd_max > found.confirm_usd:
        question = f"It may cost more than policy.confirm_usd ({exact(found.confirm_usd)}). Go on?"
        if not click.confirm(question, err=True):
            raise click.Abort


def _is_known(job_id: str, work: str) -> bool:
    from orchestrator.api import commands

    try:
        commands.open_job(job_id, work=work)
    except ConfigError:
        return False
    return True
