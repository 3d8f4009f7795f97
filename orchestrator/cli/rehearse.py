"""`orchestrator rehearse`: a job's first rows against a server of this machine, before any money is spent."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from orchestrator.api.exit_codes import FAILED_ROWS, WAITING
from orchestrator.cli.arguments import from_file, json_option
from orchestrator.cli.completion import complete_job
from orchestrator.cli.progress import Watch
from orchestrator.cli.terminal import show_as, show_text
from orchestrator.domain.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.api.rehearse import Rehearsal


@click.command
@click.argument("job", required=False, shell_complete=complete_job)
@click.argument("more_faults", nargs=-1, metavar="")
@click.option("--faults", multiple=True, metavar="NAME…", help="What the server shall do wrong; --list has the names.")
@click.option("--list", "is_list", is_flag=True, help="Print the names of all faults and exit.")
@click.option("--rows", type=click.IntRange(min=0), default=2_000, show_default=True, help="How many rows; 0: all.")
@click.option("--seconds", type=click.IntRange(min=1), default=120, show_default=True, help="When to give up waiting.")
@json_option
def rehearse(
    job: str | None,
    more_faults: tuple[str, ...],
    faults: tuple[str, ...],
    is_list: bool,
    rows: int,
    seconds: int,
    as_json: bool,
) -> None:
    """Run a job's first rows against a server on this machine.

    Sends nothing to a provider and costs nothing. A minute of a real run takes a second.
    """
    if is_list:
        _list(as_json=as_json)
        return
    if job is None:
        raise click.MissingParameter(param_hint="'JOB'", param_type="argument")
    if more_faults and not faults:
        raise ConfigError(f"{more_faults[0]}: write faults after --faults, as in --faults lost-create expired")
    described = from_file(job, None)
    from orchestrator.api.rehearse import rehearse as run

    names = [name for given in (*faults, *more_faults) for name in given.split(",") if name]
    with Watch(described.name, "a rehearsal: nothing is sent to a provider, nothing is paid", plain=as_json) as watch:
        found = run(described, faults=names, rows=rows, timeout_s=float(seconds), progress=watch.look)
    if as_json:
        show_as("rehearse", found.as_dict())
    else:
        show_text(_text(found))
    if found.waits_for:
        sys.exit(WAITING)
    if found.errors:
        sys.exit(FAILED_ROWS)


def _text(found: Rehearsal) -> str:
    from orchestrator.api.rehearse import fault_names
    from orchestrator.cli import text

    what = fault_names()
    count = "1 row" if found.rows == 1 else f"{found.rows:,} rows"
    lines = [f"Rehearsal of {found.job} with {'its first' if found.is_sample else 'all'} {count}"]
    lines += [f"  {name:<14}  {what[name]}" for name in found.faults] or ["  no faults: a server that does all right"]
    if found.waits_for:
        how = "It does not end by itself:" if found.needs_person else "It has not ended:"
        lines += ["", how, f"  {found.waits_for}"]
        if found.needs_person:
            lines.append("  (Commands named here are for a real run: nothing of a rehearsal is kept.)")
    lines += ["", text.report(found.job, found.status.totals, found.errors)]
    twice = "none paid twice" if not found.paid_twice else f"{found.paid_twice:,} PAID TWICE"
    lines.append(f"  server      {found.answers:>12,}  answers on its bill, {twice}")
    return "\n".join(lines)


def _list(*, as_json: bool) -> None:
    from orchestrator.api.rehearse import fault_names

    if as_json:
        show_as("faults", {"faults": [{"name": name, "what": what} for name, what in fault_names().items()]})
        return
    for name, what in fault_names().items():
        show_text(f"{name:<14}  {what}")


COMMANDS = (rehearse,)
