"""`orchestrator status`."""

from __future__ import annotations

import click

from orchestrator.cli.arguments import find, json_option, work_option
from orchestrator.cli.completion import complete_job
from orchestrator.cli.outcome import print_status
from orchestrator.cli.terminal import draw, show, show_document


@click.command
@click.argument("job", required=False, shell_complete=complete_job)
@work_option
@json_option
def status(job: str | None, work: str | None, as_json: bool) -> None:
    """Print the status of one job, or, without JOB, of all jobs."""
    from orchestrator.api import commands

    handles = [find(job, work)] if job else commands.jobs(work=work)
    found = [handle.status() for handle in handles]
    if as_json:
        from orchestrator.api.documents.status import Jobs

        all_jobs = tuple(one.document() for one in found)
        show_document(all_jobs[0] if job else Jobs(work=commands.work_folder(work), jobs=all_jobs))
    elif job:
        from orchestrator.cli import status_text

        print_status(found[0], handles[0].work)
        if found[0].decision and (samples := handles[0].samples()):
            show(status_text.samples(samples))
    else:
        from orchestrator.cli import jobs_table

        draw(lambda width: jobs_table.table([one.look for one in found], commands.work_folder(work), width))


COMMANDS = (status,)
