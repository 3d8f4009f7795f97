"""What commands for jobs have in common: JOB, the options `--work`, `--json`, `--allow-failed`, and finding the job.

Rule: a command imports what it needs when it runs, so that help, the version and an error in a job file appear fast
(tests/test_startup.py lists what each command may import).
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.domain.errors import ConfigError, JobUnknown
from orchestrator.domain.policy import Reuse
from orchestrator.domain.row_kinds import RowKind

if TYPE_CHECKING:
    from orchestrator.api.handle import JobHandle
    from orchestrator.api.job import Job

job_argument = click.argument("job")
work_option = click.option(
    "--work", metavar="PLACE", help="The work folder, or its URL in an object store. Default: .orchestrator"
)
KINDS = tuple(kind.value for kind in RowKind)
allow_failed_option = click.option(
    "--allow-failed", is_flag=True, help="Exit with 0, not 4, where the job has ended and some rows have failed."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


def is_file(job: str) -> bool:
    """Whether a job is named by its file."""
    return job.endswith(".toml") or Path(job).is_file()


def from_file(job: str, work: str | None, *, fresh: bool = False) -> Job:
    """Read a job file; `fresh`: no answer of another job is taken. Raises ConfigError."""
    if not is_file(job):
        raise ConfigError(f"{job} is not a job file: give the path of a .toml file")
    from orchestrator.api.job import read_job

    found = read_job(Path(job))
    if fresh:
        found = replace(found, policy=replace(found.resolved_policy, reuse=Reuse.NEVER))
    return found if work is None else replace(found, work=work)


def find(job: str, work: str | None) -> JobHandle:
    described = from_file(job, work) if is_file(job) else None
    from orchestrator.api import commands

    if described is not None:
        job_id, place = commands.identify(described), work or described.work
        try:
            return commands.open_job(job_id, work=place)
        except JobUnknown as unknown:
            again = f"orchestrator run {shlex.quote(job)}" + (f" --work {shlex.quote(work)}" if work else "")
            raise JobUnknown(f"{job} (job {job_id}) was never run here: {unknown}\n  to run it:\n    {again}") from None
    return commands.open_job(job, work=work)
