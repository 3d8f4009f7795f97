"""`orchestrator audit | recover`."""

from __future__ import annotations

import sys

import click

from orchestrator.cli.arguments import from_file, is_file, job_argument, json_option, work_option
from orchestrator.cli.terminal import show_as, show_text


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
    if as_json:
        show_as("audit", found.as_dict())
    else:
        show_text(audit_text(found))
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
    folder = commands.work_folder(work)
    if as_json:
        show_as("recover", {"work": folder, "jobs": [one.as_dict() for one in found]})
    else:
        show_text(recovery_text(found, folder))


COMMANDS = (audit, recover)
