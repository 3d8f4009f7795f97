"""`orchestrator results | export | show`: what came back for the rows of a job."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli.arguments import find, job_argument, json_option, keys_in, keys_option, rows_option, work_option
from orchestrator.cli.terminal import say, show, show_as, show_document
from orchestrator.log import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from orchestrator.api.export import Rows, Wanted

SHOWN_ROWS: Final = 10
NAMES_SHOWN: Final = 5

columns_option = click.option("--columns", metavar="NAME,…", help="Only these columns, in this order.")
partial_option = click.option(
    "--partial", is_flag=True, help="Also of a job that has not ended: the rows that are answered so far."
)
answers_option = click.option(
    "--answers", is_flag=True, help="What was answered, in any state of the job, without the dataset."
)


def _wanted(
    rows: tuple[str, ...],
    keys: str | None,
    columns: str | None,
    *,
    partial: bool,
    answers: bool,
    limit: int | None = None,
    after: int = 0,
) -> Wanted:
    from orchestrator.api.export import Wanted

    names = None if columns is None else [name.strip() for name in columns.split(",") if name.strip()]
    named = keys_in(keys)
    return Wanted(
        kind=rows, keys=named, columns=names, partial=partial, without_source=answers, limit=limit, after=after
    )


@click.command
@job_argument
@work_option
@click.option("--limit", type=click.IntRange(min=0), help="How many rows. Default: 10 in a table or --json, else all.")
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="N", help="Pass over the first N of them.")
@rows_option
@keys_option
@columns_option
@partial_option
@answers_option
@json_option
def results(
    job: str,
    work: str | None,
    limit: int | None,
    after: int,
    rows: tuple[str, ...],
    keys: str | None,
    columns: str | None,
    partial: bool,
    answers: bool,
    as_json: bool,
) -> None:
    """Print rows with their answers.

    As a table on a terminal, else as JSON lines. Reads no more than it prints. With --answers each line has the
    numbers of shard and row, the request, the id and the columns of the answer.
    """
    handle = find(job, work)
    is_table = sys.stdout.isatty() and not as_json
    shown = SHOWN_ROWS if limit is None and (is_table or as_json) else limit
    wanted = _wanted(rows, keys, columns, partial=partial, answers=answers, limit=shown, after=after)
    if as_json:
        from orchestrator.api.pages import page

        show_document(page(handle, wanted))
        return
    from orchestrator.api.export import opened_rows

    with opened_rows(handle.work, handle.job_id, wanted, handle.results) as found:
        if is_table:
            _show_table(found, has_all_columns=columns is not None)
        else:
            _print_lines(found.batches)


def _print_lines(batches: Iterator[pa.RecordBatch]) -> None:
    from orchestrator.api.table_files import json_lines

    for batch in batches:
        click.echo(printable(json_lines(batch).decode()), nl=False)


def _show_table(found: Rows, *, has_all_columns: bool) -> None:
    from orchestrator.api.pages import rows_of
    from orchestrator.cli.table_text import columns_that_fit, most_wanted, table_text

    options, width = found.options, shutil.get_terminal_size().columns
    rows = [row for batch in found.batches for row in rows_of(batch)]
    if not rows:
        say("no rows")
        return
    names = found.schema.names
    wanted = names if has_all_columns else most_wanted(rows, names, options.custom_id, options.prefix)
    columns = columns_that_fit(wanted, width=width)
    show(table_text(rows, [name for name in names if name in columns], width=width))
    if len(columns) < len(names):
        others = [name for name in names if name not in columns]
        more = ", …" if len(others) > NAMES_SHOWN else ""
        say(f"{len(others)} more columns (--columns NAME,…): {', '.join(others[:NAMES_SHOWN])}{more}")


@click.command
@job_argument
@work_option
@click.option("-o", "--output", "output", metavar="FILE", required=True, help=".parquet, .csv or .jsonl; or its URL.")
@rows_option
@keys_option
@columns_option
@partial_option
@answers_option
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@click.option("--exact-text", is_flag=True, help="CSV: keep texts that a spreadsheet would run as a formula.")
@json_option
def export(
    job: str,
    work: str | None,
    output: str,
    rows: tuple[str, ...],
    keys: str | None,
    columns: str | None,
    partial: bool,
    answers: bool,
    force: bool,
    exact_text: bool,
    as_json: bool,
) -> None:
    """Write the rows with their answers to one file.

    Parquet, CSV or JSON lines. The file appears when it is whole. Sends nothing; the job may be running.
    """
    from orchestrator.api.export import opened_rows, write_rows
    from orchestrator.cli.text import counted

    wanted = _wanted(rows, keys, columns, partial=partial, answers=answers)
    handle = find(job, work)
    opened = opened_rows(handle.work, handle.job_id, wanted, handle.results)
    count = write_rows(output, opened, force=force, exact_text=exact_text)
    if as_json:
        show_as("export", {"job_id": handle.job_id, "path": output, "rows": count})
    else:
        show(f"{output}: {counted(count, 'row', 'rows')}")


@click.command("show")
@job_argument
@click.argument("row")
@work_option
@json_option
def show_row(job: str, row: str, work: str | None, as_json: bool) -> None:
    """Print one row from the source to its answer.

    ROW is its custom_id, its key ([dataset] key; else its number, from 0), SHARD/ROW, or any of these after `key:`, as
    for `--rows`. Prints the content of the row: first the request of the answer that stands.
    """
    from orchestrator.cli.trace_text import trace_text

    found = find(job, work).show(row)
    if as_json:
        show_document(found.document())
    else:
        show(trace_text(found))


COMMANDS = (results, export, show_row)
