"""`orchestrator plan | run | submit`."""

from __future__ import annotations

import shlex

import click

from orchestrator.cli import direct
from orchestrator.cli.arguments import (
    allow_failed_option,
    events_option,
    find,
    from_file,
    job_argument,
    json_option,
    say_work,
    work_option,
)
from orchestrator.cli.asking import asked, confirm_cost
from orchestrator.cli.direct import Request, request_options
from orchestrator.cli.outcome import print_end, samples_told
from orchestrator.cli.progress import watching
from orchestrator.cli.terminal import listed_commands, show, show_as, show_document, show_text
from orchestrator.domain.errors import ConfigError

limit_option = click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N rows: a paid sample, a job of its own."
)
fresh_option = click.option("--fresh", is_flag=True, help="Take no answers of earlier jobs: send all requests.")


@click.command
@job_argument
@work_option
@request_options
@limit_option
@fresh_option
@json_option
def plan(job: str, work: str | None, limit: int | None, fresh: bool, as_json: bool, request: Request) -> None:
    """Print what a job would send and cost. Sends nothing.

    Shows three sample requests.
    """
    from orchestrator.api import commands
    from orchestrator.cli import text

    described = commands.limited(direct.described(job, work, request, fresh=fresh) or from_file(job, work), limit)
    found = commands.plan(described)
    if as_json:
        budget = described.resolved_policy.budget_usd
        more = {"job_id": commands.identify(described), "model": described.model}
        show_as("plan", found.as_dict(), **more, budget_usd=None if budget is None else f"{budget:f}")
    else:
        show_text(text.plan_text(commands.identify(described), found))
        if found.requests:
            given = [direct.typed(job, request), *(["--limit", str(limit)] if limit else [])]
            given += [*(["--fresh"] if fresh else []), *(["--work", shlex.quote(work)] if work else [])]
            show("\n".join(listed_commands([(" ".join(["orchestrator run", *given]), "to send it")])))


yes_option = click.option("--yes", is_flag=True, help="Do not ask, whatever it may cost (policy.confirm_usd).")
alongside_option = click.option(
    "--alongside", is_flag=True, help="Run it although another job of this name is not finished."
)


@click.command
@job_argument
@work_option
@request_options
@limit_option
@fresh_option
@alongside_option
@click.option("--detach", is_flag=True, help="Run it without this terminal, in a process of its own, and return.")
@yes_option
@allow_failed_option
@events_option
@json_option
def run(
    job: str,
    work: str | None,
    limit: int | None,
    fresh: bool,
    alongside: bool,
    detach: bool,
    yes: bool,
    allow_failed: bool,
    events: bool,
    as_json: bool,
    request: Request,
) -> None:
    """Run a job to its end, or resume it.

    Run it again at any time: nothing is sent twice. While another process runs it, this one follows it, and takes over
    where that process ends.
    """
    as_json |= events
    described = direct.described(job, work, request, fresh=fresh)
    if described is None and (fresh or limit):
        raise ConfigError(f"--limit and --fresh make a job of a job file; {job} is one that is known already")
    from orchestrator.api import commands

    whole = described
    described = described and commands.limited(described, limit)
    place = commands.work_folder(work if work is not None or described is None else described.work)
    if not as_json:
        say_work(place)
    job_id = commands.identify(described) if described is not None else find(job, work).job_id
    provider = described.provider_settings if described is not None else find(job, work).provider_settings()
    if described is not None and not yes:
        confirm_cost(described, job_id, place)
    if detach:
        from orchestrator.cli.terminals import run_detached

        run_detached(job_id, place, as_json=as_json)
        return
    shown = watching(job_id, place, commands.guarantee(provider), as_json=as_json, events=events)
    with samples_told(job_id, place), shown as watch:
        if described is not None:
            given = described
            result = asked(lambda beside: commands.run(given, progress=watch.look, alongside=beside), alongside)
        else:
            result = find(job, work).run(progress=watch.look)
    told = ""
    if whole is not None and limit is not None and not as_json:
        from orchestrator.cli import text

        told = text.rest_of_sample(commands.plan(whole), direct.typed(job, request))
    print_end(result, place, as_json=as_json, allow_failed=allow_failed, told=told)


@click.command
@job_argument
@work_option
@click.option("--wait", is_flag=True, help="Wait until the job has ended.")
@alongside_option
@allow_failed_option
@events_option
@json_option
def submit(
    job: str, work: str | None, wait: bool, alongside: bool, allow_failed: bool, events: bool, as_json: bool
) -> None:
    """Give a job to a fleet's workers, and return.

    Submit it again at any time: it resumes, and nothing is sent twice.
    """
    if events and not wait:
        raise ConfigError("--events goes with --wait. To look on without it: `orchestrator log JOB --follow --json`")
    as_json |= events
    described = from_file(job, work)
    from orchestrator.api import commands

    if not as_json:
        say_work(commands.work_folder(described.work))
    handle = asked(lambda beside: commands.submit(described, alongside=beside), alongside)
    if not wait:
        from orchestrator.cli import status_text

        found = handle.status()
        if as_json:
            show_document(found.document())
        else:
            show_text(status_text.submitted(found, handle.work))
        return
    told = commands.guarantee(described.provider_settings)
    shown = watching(handle.job_id, handle.work, told, as_json=as_json, events=events)
    with samples_told(job, work), shown as watch:
        result = handle.wait(progress=watch.look)
    print_end(result, handle.work, as_json=as_json, allow_failed=allow_failed)


COMMANDS = (plan, run, submit)
