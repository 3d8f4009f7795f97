"""`orchestrator notify`: tries whether notices arrive."""

from __future__ import annotations

import sys

import click

from orchestrator.cli.arguments import from_file, is_file, work_option
from orchestrator.cli.terminal import say, show_text


@click.command
@click.argument("job", required=False)
@work_option
def notify(job: str | None, work: str | None) -> None:
    """Send a test notice, and say what was answered.

    With JOB to where its [notify] table says, else to ORCHESTRATOR_NOTIFY_URL.
    """
    from orchestrator.api import commands
    from orchestrator.api.notifying import try_notice
    from orchestrator.domain.checks import Level

    described = from_file(job, work) if job is not None and is_file(job) else job
    done = try_notice(described, commands.work_folder(work))
    if done.level is Level.ERROR:
        say(f"error: {done.message}")
        sys.exit(done.code)
    show_text(f"✓ {done.found}")


COMMANDS = (notify,)
