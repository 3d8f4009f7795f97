"""`orchestrator status`."""

from __future__ import annotations

import json

import click

from orchestrator.cli.arguments import find, json_option, work_option
from orchestrator.cli.terminal import show, show_text


@click.command
@click.argument("job", required=False)
@work_option
@json_option
def status(job: str | None, work: str | None, as_json: bool) -> None:
    """Print the status of one job, or, without JOB, of all jobs."""
    from orchestrator.api import commands
    from orchestrator.cli import status_text

    handles = [find(job, work)] if job else commands.jobs(work=work)
    found = [handle.status() for handle in handles]
    if as_json:
        shown = [one.as_dict() for one in found]
        show(json.dumps(shown[0] if job else shown))
        return
    for handle, one in zip(handles, found, strict=True):
        show_text(status_text.status(one, handle.work))
        if job and one.decision and (samples := handle.samples()):
            show(status_text.samples(samples))
    if not found:
        show_text(f"no job yet in {commands.work_folder(work)}")


COMMANDS = (status,)
