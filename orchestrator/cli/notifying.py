"""`orchestrator notify`: tries whether notices arrive."""

from __future__ import annotations

import sys

import click

from orchestrator.cli.arguments import from_file, is_file, json_option, work_option
from orchestrator.cli.completion import complete_job
from orchestrator.cli.terminal import say, show_as, show_text


@click.command
@click.argument("job", required=False, shell_complete=complete_job)
@work_option
@json_option
def notify(job: str | None, work: str | None, as_json: bool) -> None:
    """Send a test notice, and say what was answered.

    With JOB to where its [notify] table says, else to ORCHESTRATOR_NOTIFY_URL.
    """
    from orchestrator.api import commands
    from orchestrator.api.notifying import try_notice
    from orchestrator.domain.checks import Level, exit_code

    described = from_file(job, work) if job is not None and is_file(job) else job
    done = try_notice(described, commands.work_folder(work))
    if as_json:
        show_as("doctor", {"exit_code": exit_code([done]), "checks": [done.as_dict()]})
    elif done.level is Level.ERROR:
        say(f"error: {done.message}")
    else:
        show_text(f"✓ {done.found}")
    sys.exit(exit_code([done]))


COMMANDS = (notify,)
