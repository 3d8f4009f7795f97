"""`orchestrator cancel | pause | resume | retry | reread | approve | resolve`: what a person decides about a job."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from orchestrator.cli.arguments import (
    allow_failed_option,
    events_option,
    find,
    job_argument,
    json_option,
    keys_in,
    keys_option,
    rows_option,
    work_option,
)
from orchestrator.cli.outcome import print_end, print_status
from orchestrator.cli.progress import watching
from orchestrator.cli.terminal import say, show_as, show_document, show_text
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.row_kinds import RowKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.api.handle import JobHandle
    from orchestrator.api.status import Status


@click.command
@job_argument
@work_option
@json_option
def cancel(job: str, work: str | None, as_json: bool) -> None:
    """Cancel a job, and keep what was answered.

    Rows that are not sent yet are dropped, batches in flight are cancelled, their results so far are collected.
    """
    from orchestrator.api import commands
    from orchestrator.cli import status_text

    handle = find(job, work)
    found = handle.status()
    if found.look.has_ended:
        if as_json:
            show_document(found.document())
        else:
            show_text(status_text.nothing_to_cancel(found, handle.work))
        return
    with watching(handle.job_id, handle.work, commands.guarantee(handle.provider_settings()), as_json=as_json) as watch:
        found = handle.cancel(progress=watch.look)
    if as_json:
        show_document(found.document())
    else:
        print_status(found, handle.work)


@click.command
@job_argument
@work_option
@rows_option
@keys_option
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="NAME=VALUE",
    help="Another value of a parameter, for these rows.",
)
@click.option("--unreadable", is_flag=True, help="Also rows whose answers cannot be read: they are paid for again.")
@click.option("--dry-run", is_flag=True, help="Count and price the rows; send nothing.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
@allow_failed_option
@events_option
@json_option
def retry(
    job: str,
    work: str | None,
    rows: tuple[str, ...],
    keys: str | None,
    changes: tuple[str, ...],
    unreadable: bool,
    dry_run: bool,
    yes: bool,
    allow_failed: bool,
    events: bool,
    as_json: bool,
) -> None:
    """Send failed rows again, or others that you choose.

    Without --rows and --keys: those that have failed. The job must have ended. The output becomes a new revision. An
    answer stands until a new one is there; each is paid for.
    """
    parameters, named = dict(map(parameter_of, changes)), keys_in(keys)
    from orchestrator.api import commands
    from orchestrator.cli import status_text
    from orchestrator.cli.asking import confirm_retry

    handle = find(job, work)
    if dry_run:
        planned = handle.plan_retry(rows=rows, keys=named, parameters=parameters)
        if as_json:
            show_as("retry_plan", planned.as_dict())
        else:
            show_text(status_text.retry_plan(planned))
        return
    as_json |= events
    before = handle.status()
    kind = (rows or (RowKind.FAILED.value,))[0] if len(rows) < 2 and not named else ""
    told = status_text.of_kind(before, kind, handle.work, pays_again=unreadable)
    for line in told:
        say(line)
    if not yes and not as_json:
        confirm_retry(handle, rows, named, parameters)
    guarantee = commands.guarantee(handle.provider_settings())
    with watching(handle.job_id, handle.work, guarantee, as_json=as_json, events=events) as watch:
        result = handle.retry(rows=rows, keys=named, parameters=parameters, unreadable=unreadable, progress=watch.look)
    if not told and result.status.look.revision == before.look.revision:
        say(f"{handle.job_id}: there is no such row that can be sent: nothing is sent again")
    print_end(result, handle.work, as_json=as_json, allow_failed=allow_failed)


def parameter_of(text: str) -> tuple[str, object]:
    """Return the name and the value that `--set` gives: JSON, or else a text. Raises ConfigError."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ConfigError(f"--set {text}: give a name and a value, as in --set max_tokens=256")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


@click.command
@job_argument
@work_option
@json_option
def reread(job: str, work: str | None, as_json: bool) -> None:
    """Read results again that could not be read.

    With the present version and dialect, from the job's folder: nothing is sent and nothing is paid.
    """
    from orchestrator.cli import status_text

    handle = find(job, work)
    done = handle.reread(progress=not as_json)
    found = handle.status()
    if as_json:
        show_as("reread", asdict(done), job_id=handle.job_id, commands=found.commands)
    else:
        show_text(status_text.reread(found, done, handle.work))


def _show(handle: JobHandle, words: Callable[[Status, str], str], *, as_json: bool) -> None:
    """Print how a job stands after a person has decided."""
    found = handle.status()
    if as_json:
        show_document(found.document())
    else:
        show_text(words(found, handle.work))


@click.command
@job_argument
@work_option
@json_option
def approve(job: str, work: str | None, as_json: bool) -> None:
    """Let a job go on that waits for your decision.

    `orchestrator status JOB` shows what it waits for, and why.
    """
    from orchestrator.cli import status_text

    handle = find(job, work)
    handle.approve()
    _show(handle, status_text.approved, as_json=as_json)


@click.command
@job_argument
@work_option
@json_option
def pause(job: str, work: str | None, as_json: bool) -> None:
    """Send nothing more of a job until it is resumed.

    What is in flight is still fetched. It holds, also for a later run and for a fleet, until you resume it.
    """
    from orchestrator.cli import status_text

    handle = find(job, work)
    handle.pause()
    _show(handle, status_text.paused, as_json=as_json)


@click.command
@job_argument
@work_option
@json_option
def resume(job: str, work: str | None, as_json: bool) -> None:
    """End a pause: the job is sent on.

    By the processes that work on it; where there is none, run it.
    """
    from orchestrator.cli import status_text

    handle = find(job, work)
    handle.resume()
    _show(handle, status_text.resumed, as_json=as_json)


@click.command
@job_argument
@click.argument("chunk", required=False)
@click.option("--batch", metavar="ID", help="The provider's id of the batch that the create made.")
@click.option("--absent", is_flag=True, help="The create made no batch: send the rows again.")
@click.option("--give-up", is_flag=True, help="The batch was made; give up its results, collect what is archived.")
@click.option("--same-account", is_flag=True, help="The key is new, the account is the same.")
@work_option
@json_option
def resolve(
    job: str,
    chunk: str | None,
    batch: str | None,
    absent: bool,
    give_up: bool,
    same_account: bool,
    work: str | None,
    as_json: bool,
) -> None:
    """Say what became of a create without an answer.

    Or of a batch whose results are not to be had. Without CHUNK: list the unresolved chunks, and why each needs a
    person.
    """
    from orchestrator.cli import status_text

    handle = find(job, work)
    if same_account:
        if chunk is not None or batch is not None or absent or give_up:
            raise ConfigError("--same-account is for the whole job: leave out the chunk and the other options")
        count = handle.confirm_same_account()
        chunks = "1 chunk" if count == 1 else f"{count:,} chunks"
        _show_decided(handle, f"{chunks} can continue with the new key", as_json=as_json)
    elif chunk is not None:
        _show_decided(handle, _resolved(handle, chunk, batch, absent, give_up), as_json=as_json)
    elif as_json:
        _show_unresolved(handle, "")
    else:
        show_text(status_text.unresolved(handle.job_id, handle.unresolved(), handle.work))


def _resolved(handle: JobHandle, chunk: str, batch: str | None, absent: bool, give_up: bool) -> str:
    """Record what became of a create, and return what was recorded."""
    if (batch is not None) + absent + give_up != 1:
        raise ConfigError(
            "give one of --batch ID (the provider has the batch), --absent (it has none), --give-up (its results are "
            "not to be had)"
        )
    if give_up:
        handle.give_up_results(chunk)
        return f"{chunk} gives up its results"
    if batch is not None:
        handle.resolve_created(chunk, batch)
        return f"{chunk} is batch {batch}"
    handle.resolve_absent(chunk)
    return f"{chunk} will be sent again"


def _show_decided(handle: JobHandle, decided: str, *, as_json: bool) -> None:
    from orchestrator.api.next_commands import command

    if as_json:
        _show_unresolved(handle, decided)
    else:
        show_text(f"{decided}. Next:\n  {command('run', handle.work, handle.job_id)}")


def _show_unresolved(handle: JobHandle, decided: str) -> None:
    left, status = handle.unresolved(), handle.status()
    values = {"job_id": handle.job_id, "decided": decided, "commands": status.commands}
    show_as("resolve", values, unresolved=[one.as_dict() for one in left])


COMMANDS = (cancel, pause, resume, retry, reread, approve, resolve)
