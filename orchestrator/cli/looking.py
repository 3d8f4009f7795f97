"""`orchestrator status | results`."""

from __future__ import annotations

import json
from decimal import Decimal

import click

from orchestrator.cli.arguments import KINDS, find, job_argument, json_option, work_option
from orchestrator.cli.progress import show
from orchestrator.domain.errors import ConfigError


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
        for batch in find(job, work).answers():
            for row in batch.to_pylist():
                show(json.dumps(row, default=_plain, ensure_ascii=False))
        return
    result = find(job, work).results()
    table = result.head(limit) if rows is None else result.rows(rows, limit)
    if as_json:
        counts = {"path": str(result.path), **result.counts, **result.flaws}
        show(json.dumps(counts | {"rows_shown": table.to_pylist()}, default=_plain))
        return
    show(str(result.path))
    for row in table.to_pylist():
        show(json.dumps(row, default=_plain, ensure_ascii=False))


def _plain(value: object) -> str:
    """Return a value that JSON has not; an amount without an exponent."""
    return format(value, "f") if isinstance(value, Decimal) else str(value)


COMMANDS = (status, results)
