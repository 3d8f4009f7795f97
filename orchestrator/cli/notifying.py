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

    With JOB to where its [notify] table says, else to ORCHESTRATOR_NOTIFY_URL. Where the test is received, notices of
    the last day that were not are sent again, those of all jobs in the work folder.
    """
    from orchestrator.api import commands
    from orchestrator.api.notifying import deliver, try_notice
    from orchestrator.domain.checks import Level, exit_code

    described = from_file(job, work) if job is not None and is_file(job) else job
    place = commands.work_folder(work)
    done = [try_notice(described, place)]
    if done[0].level is Level.OK:
        done += deliver(place)
    if as_json:
        show_as("doctor", {"exit_code": exit_code(done), "checks": [one.as_dict() for one in done]})
    for one in [] if as_json else done:
        if one.level is Level.OK:
            show_text(f"✓ {one.found}")
        else:
            say(f"{'error' if one.level is Level.ERROR else 'warning'}: {one.message}")
    sys.exit(exit_code(done))


COMMANDS = (notify,)
