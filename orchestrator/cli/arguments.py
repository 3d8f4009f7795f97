"""What commands for jobs have in common: JOB, the options `--work`, `--json`, `--allow-failed`, and finding the job.

Rule: a command imports what it needs when it runs, so that help, the version and an error in a job file appear fast
(tests/test_startup.py lists what each command may import).
"""

from __future__ import annotations

import difflib
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.completion import complete_job
from orchestrator.cli.terminal import listed_commands, say
from orchestrator.domain.errors import ConfigError, JobUnknown
from orchestrator.domain.policy import Reuse
from orchestrator.domain.row_kinds import KINDS

if TYPE_CHECKING:
    from orchestrator.api.handle import JobHandle
    from orchestrator.api.job import Job

job_argument = click.argument("job", shell_complete=complete_job)
work_option = click.option(
    "--work",
    metavar="PLACE",
    help="The work folder, or its URL in an object store. Default: .orchestrator, here or above.",
)
TABLES = frozenset(
    [".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".json", ".arrow", ".feather", ".gz", ".zst", ".xlsx"]
)
rows_option = click.option(
    "--rows",
    "rows",
    multiple=True,
    metavar="WHICH",
    help=f"Only these rows: {', '.join(('succeeded', *KINDS))}, an error code, a condition such as "
    "\"llm_response = 'maybe'\", or key:ID. Repeatable.",
)
keys_option = click.option(
    "--keys",
    metavar="FILE",
    help="Rows by their keys, ids or numbers (as for `show`), one a line; - is standard input.",
)
allow_failed_option = click.option(
    "--allow-failed", is_flag=True, help="Exit with 0, not 4, where the job has ended and some rows have failed."
)
events_option = click.option(
    "--events", is_flag=True, help="Print what happens as JSON lines, each at once; the last line is the report."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


def say_work(place: str) -> None:
    """Say which work folder is used, where it is not one in the current folder."""
    if "://" not in place and Path(place).parent != Path.cwd():
        say(f"work folder: {place}")


def keys_in(file: str | None) -> list[str]:
    """Return the keys in a file, or on standard input. Raises ConfigError where there are none."""
    if file is None:
        return []
    try:
        with click.open_file(file, encoding="utf-8") as lines:
            found = [line.strip() for line in lines if line.strip()]
    except UnicodeDecodeError:
        raise ConfigError(f"--keys {file}: this is not text in UTF-8: give one key a line") from None
    except OSError as error:
        raise ConfigError(f"--keys {file}: it cannot be read ({error.strerror})") from None
    if not found:
        raise ConfigError(f"--keys {file}: there is no key in it: give one a line")
    return found


def is_file(job: str) -> bool:
    """Whether a job is named by its file."""
    return job.endswith(".toml") or Path(job).is_file()


def from_file(job: str, work: str | None, *, fresh: bool = False) -> Job:
    """Read a job file; `fresh`: no answer of another job is taken. Raises ConfigError."""
    path = Path(job)
    if not path.exists():
        beside = sorted(one.name for one in path.absolute().parent.glob("*.toml"))
        near = difflib.get_close_matches(path.name, beside, n=3, cutoff=0.4) or beside[:3]
        raise ConfigError(f"there is no file {job}" + (f"; did you mean {' or '.join(near)}?" if near else ""))
    if path.is_dir() or path.suffix in TABLES:
        table = shlex.quote(job)
        raise ConfigError(
            f"{job} is a table, no job file. To write a job file for it:\n    orchestrator init {table}\n"
            f"  or without one:\n    orchestrator run {table} --prompt 'One word for the mood of: {{COLUMN}}'"
        )
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
        except JobUnknown:
            again = f"orchestrator run {shlex.quote(job)}" + (f" --work {shlex.quote(work)}" if work else "")
            told = f"{job} has not been run in {commands.work_folder(place)}: it would be job {job_id}"
            ways = [(again, "to run it")]
            if (earlier := _of_the_name(described.name, place)) is not None:
                from orchestrator.api.next_commands import command

                look = earlier.status().look
                told += (
                    f".\n  {look.job_id}, of an earlier version of the file or its dataset, is {look.activity.value}"
                )
                ways = [(command("status", earlier.work, look.job_id), "to look at that one"), *ways]
                if not look.has_ended:
                    ways[1] = f"{again} --alongside", "to run the file as it is now, beside that one"
            raise JobUnknown("\n".join([told, *listed_commands(ways)])) from None
    return commands.open_job(job, work=work)


def _of_the_name(name: str, work: str | Path | None) -> JobHandle | None:
    """Return the newest job of this name that was run there: its file, or its dataset, has changed since."""
    from orchestrator.api import commands

    try:
        known = [handle for handle in commands.jobs(work=work) if handle.job_id.rpartition("-")[0] == name]
    except ConfigError:
        return None
    return known[0] if known else None
