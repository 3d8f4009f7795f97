"""`orchestrator plan | run | submit`."""

from __future__ import annotations

import json

import click

from orchestrator.cli.arguments import (
    allow_failed_option,
    find,
    from_file,
    is_file,
    job_argument,
    json_option,
    work_option,
)
from orchestrator.cli.outcome import print_end, samples_told
from orchestrator.cli.progress import Watch
from orchestrator.cli.terminal import fitted, show, show_text


@click.command
@job_argument
@work_option
@json_option
def plan(job: str, work: str | None, as_json: bool) -> None:
    """Print what a job would send and cost. Sends nothing.

    Shows three sample requests.
    """
    from orchestrator.api import commands
    from orchestrator.cli import text

    described = from_file(job, work)
    found = commands.plan(described)
    if as_json:
        show(json.dumps(found.as_dict()))
    else:
        show_text(text.plan_text(commands.identify(described), found))


@click.command
@job_argument
@work_option
@allow_failed_option
@json_option
def run(job: str, work: str | None, allow_failed: bool, as_json: bool) -> None:
    """Run a job to its end, or resume it.

    Run it again at any time: nothing is sent twice.
    """
    described = from_file(job, work) if is_file(job) else None
    from orchestrator.api import commands

    job_id = commands.identify(described) if described is not None else find(job, work).job_id
    provider = described.provider_settings if described is not None else find(job, work).provider_settings()
    with samples_told(job, work), Watch(job_id, commands.guarantee(provider), plain=as_json) as watch:
        if described is not None:
            result = commands.run(described, progress=watch.look)
        else:
            result = find(job, work).resume(progress=watch.look)
    place = commands.work_folder(work if work is not None or described is None else described.work)
    print_end(result, place, as_json=as_json, allow_failed=allow_failed)


@click.command
@job_argument
@work_option
@click.option("--wait", is_flag=True, help="Wait until the job has ended.")
@allow_failed_option
@json_option
def submit(job: str, work: str | None, wait: bool, allow_failed: bool, as_json: bool) -> None:
    """Give a job to a fleet's workers, and return.

    Submit it again at any time: it resumes, and nothing is sent twice.
    """
    described = from_file(job, work)
    from orchestrator.api import commands

    handle = commands.submit(described)
    if not wait:
        from orchestrator.cli import status_text

        found = handle.status()
        show(json.dumps(found.as_dict()) if as_json else fitted(status_text.submitted(found, handle.work)))
        return
    shown = Watch(handle.job_id, commands.guarantee(described.provider_settings), plain=as_json)
    with samples_told(job, work), shown as watch:
        result = handle.wait(progress=watch.look)
    print_end(result, handle.work, as_json=as_json, allow_failed=allow_failed)


COMMANDS = (plan, run, submit)
