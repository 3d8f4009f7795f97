"""`orchestrator doctor`: prints what was looked at, what was found, and what to type."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from orchestrator.cli.arguments import from_file, is_file, json_option, work_option
from orchestrator.cli.completion import complete_job
from orchestrator.cli.terminal import show_as, show_text

if TYPE_CHECKING:
    from orchestrator.domain.checks import Check


@click.command
@click.argument("job", required=False, shell_complete=complete_job)
@work_option
@json_option
def doctor(job: str | None, work: str | None, as_json: bool) -> None:
    """Check all that a run depends on, and say what to do.

    Key, address, proxy, model, clock, work folder, ledger, disk, broker. Creates and uploads nothing.
    """
    from orchestrator.domain.checks import exit_code
    from orchestrator.fleet import doctor as looked

    described = from_file(job, work) if job is not None and is_file(job) else job
    checks: list[Check] = []
    for check in looked.checks(described, work):
        checks.append(check)
        if not as_json:
            show_text(_line(check))
    if as_json:
        show_as("doctor", {"exit_code": exit_code(checks), "checks": [check.as_dict() for check in checks]})
    sys.exit(exit_code(checks))


def _line(check: Check) -> str:
    lines = [*check.found.split("\n"), *([check.todo] if check.todo else [])]
    return f"\n{'':8}".join([f"{check.level.value:<8}{check.name}: {lines[0]}", *(line.strip() for line in lines[1:])])


COMMANDS = (doctor,)
