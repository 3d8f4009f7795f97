"""The commands for jobs. JOB is a job file, or the id of a job in the work folder.

Rule: a command imports what it needs when it runs, so that help, the version and an error in a job file appear fast
(tests/test_startup.py lists what each command may import).
"""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from dataclasses import asdict, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.exit_codes import FAILED_ROWS
from orchestrator.cli.progress import Watch, show
from orchestrator.domain.errors import ConfigError, JobNeedsDecision
from orchestrator.domain.row_kinds import RowKind
from orchestrator.log import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.api.handle import JobHandle
    from orchestrator.api.job import Job
    from orchestrator.api.result import Result

job_argument = click.argument("job")
work_option = click.option(
    "--work", metavar="PLACE", help="The work folder, or its URL in an object store. Default: .orchestrator"
)
KINDS = tuple(kind.value for kind in RowKind)
allow_failed_option = click.option(
    "--allow-failed", is_flag=True, help="Exit with 0, not 4, where the job has ended and some rows have failed."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


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
        show(text.plan_text(commands.identify(described), found))


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

    job_id = commands.identify(described) if described is not None else _find(job, work).job_id
    provider = described.provider_settings if described is not None else _find(job, work).provider_settings()
    with _samples_told(job, work), Watch(job_id, commands.guarantee(provider), plain=as_json) as watch:
        if described is not None:
            result = commands.run(described, progress=watch.look)
        else:
            result = _find(job, work).resume(progress=watch.look)
    place = commands.work_folder(work if work is not None or described is None else described.work)
    _end(result, place, as_json=as_json, allow_failed=allow_failed)


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
        show(json.dumps(found.as_dict()) if as_json else status_text.submitted(found, handle.work))
        return
    shown = Watch(handle.job_id, commands.guarantee(described.provider_settings), plain=as_json)
    with _samples_told(job, work), shown as watch:
        result = handle.wait(progress=watch.look)
    _end(result, handle.work, as_json=as_json, allow_failed=allow_failed)


@click.command
@click.argument("job", required=False)
@work_option
@json_option
def status(job: str | None, work: str | None, as_json: bool) -> None:
    """Print the status of one job, or, without JOB, of all jobs."""
    from orchestrator.api import commands
    from orchestrator.cli import status_text

    handles = [_find(job, work)] if job else commands.jobs(work=work)
    found = [handle.status() for handle in handles]
    if as_json:
        shown = [one.as_dict() for one in found]
        show(json.dumps(shown[0] if job else shown))
        return
    for handle, one in zip(handles, found, strict=True):
        show(status_text.status(one, handle.work))
        if job and one.decision and (samples := handle.samples()):
            show(status_text.samples(samples))
    if not found:
        show(f"no job yet in {commands.work_folder(work)}")


@click.command
@job_argument
@work_option
@click.option("--limit", type=click.IntRange(min=0), default=5, show_default=True, help="How many rows to show.")
@click.option("--rows", type=click.Choice(KINDS), help="Show rows of this kind only.")
@click.option("--answers", is_flag=True, help="Print all that was answered so far as JSON lines, without the dataset.")
@json_option
def results(job: str, work: str | None, limit: int, rows: str | None, answers: bool, as_json: bool) -> None:
    """Print where a job's output is, and its first rows.

    Reads no more than it shows. With --answers it needs neither the dataset nor the end of the job: each line has the
    numbers of shard and row, the id and the columns of the answer.
    """
    if answers:
        if rows is not None:
            raise ConfigError("--answers prints all rows that were answered: give no --rows beside it")
        for batch in _find(job, work).answers():
            for row in batch.to_pylist():
                show(json.dumps(row, default=_plain, ensure_ascii=False))
        return
    result = _find(job, work).results()
    table = result.head(limit) if rows is None else result.rows(rows, limit)
    if as_json:
        counts = {"path": str(result.path), **result.counts, **result.flaws}
        show(json.dumps(counts | {"rows_shown": table.to_pylist()}, default=_plain))
        return
    show(str(result.path))
    for row in table.to_pylist():
        show(json.dumps(row, default=_plain, ensure_ascii=False))


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

    handle = _find(job, work)
    found = handle.status()
    if found.progress.has_ended:
        show(json.dumps(found.as_dict()) if as_json else status_text.nothing_to_cancel(found, handle.work))
        return
    with Watch(handle.job_id, commands.guarantee(handle.provider_settings()), plain=as_json) as watch:
        found = handle.cancel(progress=watch.look)
    show(json.dumps(found.as_dict()) if as_json else status_text.status(found, handle.work))


@click.command
@job_argument
@work_option
@click.option("--rows", type=click.Choice(KINDS), default=RowKind.FAILED.value, show_default=True, help="Which rows.")
@click.option("--unreadable", is_flag=True, help="Also rows whose answers cannot be read: they are paid for again.")
@allow_failed_option
@json_option
def retry(job: str, work: str | None, rows: str, unreadable: bool, allow_failed: bool, as_json: bool) -> None:
    """Send the failed rows of an ended job again, or answers that are not whole.

    The output becomes a new revision. An answer stands until a new one is there; each is paid for.
    """
    from orchestrator.api import commands
    from orchestrator.cli import status_text

    handle = _find(job, work)
    if told := status_text.nothing_to_retry(handle.status(), rows):
        say(told)
    with Watch(handle.job_id, commands.guarantee(handle.provider_settings()), plain=as_json) as watch:
        result = handle.retry(rows=rows, unreadable=unreadable, progress=watch.look)
    _end(result, handle.work, as_json=as_json, allow_failed=allow_failed)


@click.command
@job_argument
@work_option
@json_option
def reread(job: str, work: str | None, as_json: bool) -> None:
    """Read results again that could not be read.

    With the present version and dialect, from the job's folder: nothing is sent and nothing is paid.
    """
    from orchestrator.cli import status_text

    handle = _find(job, work)
    done = handle.reread()
    found = handle.status()
    show(json.dumps(asdict(done)) if as_json else status_text.reread(found, done, handle.work))


@click.command
@job_argument
@work_option
@json_option
def approve(job: str, work: str | None, as_json: bool) -> None:
    """Let a job go on that waits for your decision.

    `orchestrator status JOB` shows what it waits for, and why.
    """
    from orchestrator.cli import status_text

    handle = _find(job, work)
    handle.approve()
    found = handle.status()
    show(json.dumps(found.as_dict()) if as_json else status_text.approved(found, handle.work))


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
    """Settle a create whose answer was lost, or a batch whose results are not to be had.

    Without CHUNK: list the unresolved chunks, and why each needs a person.
    """
    from orchestrator.cli import status_text

    handle = _find(job, work)
    if same_account:
        if chunk is not None or batch is not None or absent or give_up:
            raise ConfigError("--same-account is for the whole job: leave out the chunk and the other options")
        count = handle.confirm_same_account()
        chunks = "1 chunk" if count == 1 else f"{count:,} chunks"
        show(f"{chunks} can continue with the new key. Next: {status_text.command('run', handle.work, handle.job_id)}")
        return
    if chunk is None:
        found = handle.unresolved()
        as_text = status_text.unresolved(handle.job_id, found, handle.work)
        show(json.dumps([one.as_dict() for one in found]) if as_json else as_text)
        return
    if (batch is not None) + absent + give_up != 1:
        raise ConfigError(
            "give one of --batch ID (the provider has the batch), --absent (it has none), --give-up (its results are "
            "not to be had)"
        )
    if give_up:
        handle.give_up_results(chunk)
        done = "gives up its results"
    elif batch is not None:
        handle.resolve_created(chunk, batch)
        done = f"is batch {batch}"
    else:
        handle.resolve_absent(chunk)
        done = "will be sent again"
    show(f"{chunk} {done}. Next: {status_text.command('run', handle.work, handle.job_id)}")


@click.command
@job_argument
@work_option
@click.option("--deep", is_flag=True, help="Digest and parse every file again.")
@json_option
def audit(job: str, work: str | None, deep: bool, as_json: bool) -> None:
    """Compare the ledger with the files and the bill.

    Prints every difference, and what was paid for nothing. Only reads. Exit code 1 where something differs.
    """
    from orchestrator.api import commands
    from orchestrator.cli.audit_text import audit_text

    if is_file(job):
        described = from_file(job, work)
        found = commands.audit(described, deep=deep)
    else:
        found = commands.audit(job, work=work, deep=deep)
    show(json.dumps(found.as_dict()) if as_json else audit_text(found))
    if not found.is_clean:
        sys.exit(1)


@click.command
@work_option
@json_option
def recover(work: str | None, as_json: bool) -> None:
    """Rebuild a lost ledger from the work folder.

    Or add the jobs that an older copy of the ledger does not have. Sends nothing.
    """
    from orchestrator.api import commands
    from orchestrator.cli.recovery_text import recovery_text

    found = commands.recover(work=work)
    show(json.dumps([one.as_dict() for one in found]) if as_json else recovery_text(found, commands.work_folder(work)))


@contextmanager
def _samples_told(job: str, work: str | None) -> Iterator[None]:
    """Print rows of the job's canary before the message that it waits for a decision."""
    try:
        yield
    except JobNeedsDecision:
        from orchestrator.cli import status_text

        if samples := _find(job, work).samples():
            say(status_text.samples(samples))
        raise


def _plain(value: object) -> str:
    """Return a value that JSON has not; an amount without an exponent."""
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def is_file(job: str) -> bool:
    """Whether a job is named by its file."""
    return job.endswith(".toml") or Path(job).is_file()


def from_file(job: str, work: str | None) -> Job:
    """Read a job file. Raises ConfigError."""
    if not is_file(job):
        raise ConfigError(f"{job} is not a job file: give the path of a .toml file")
    from orchestrator.api.job import read_job

    found = read_job(Path(job))
    return found if work is None else replace(found, work=work)


def _find(job: str, work: str | None) -> JobHandle:
    described = from_file(job, work) if is_file(job) else None
    from orchestrator.api import commands

    if described is not None:
        return commands.open_job(commands.identify(described), work=work or described.work)
    return commands.open_job(job, work=work)


def _end(result: Result, work: str, *, as_json: bool, allow_failed: bool) -> None:
    """Print the result of a job, and end with the exit code that tells whether rows have failed."""
    if as_json:
        errors = dict(result.errors())
        show(json.dumps(result.status.as_dict() | {"output": str(result.path), "errors": errors}))
    else:
        from orchestrator.cli import status_text, text

        show(text.report(result.job_id, result.status.totals, result.errors()))
        show(f"  output      {result.path}")
        for advice in (status_text.flawed_answers, status_text.failed_rows):
            if told := advice(result.status, work):
                show(told)
    if result.counts["failed"] and not allow_failed:
        sys.exit(FAILED_ROWS)


COMMANDS = (plan, run, submit, status, results, cancel, retry, reread, approve, resolve, audit, recover)
