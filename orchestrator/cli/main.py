"""The command line: `orchestrator plan|run|status|results|cancel|retry|resolve JOB`. Thin over the API.

Exit codes: 0 done · 1 an error · 2 a setting, a job file or an argument is wrong · 3 the job waits for a person
(unresolved chunks, a refused account, a stopped job) or has no result yet · 130 interrupted; running again resumes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from orchestrator import log
from orchestrator.api import commands
from orchestrator.api.handle import JobHandle
from orchestrator.api.job import Job, read_job
from orchestrator.api.result import Result
from orchestrator.api.status import Status, UnresolvedChunk
from orchestrator.cli import text
from orchestrator.cli.audit_text import audit_text
from orchestrator.cli.progress import INTERRUPTED, Watch, say, show
from orchestrator.cli.recovery_text import recovery_text
from orchestrator.domain.errors import ConfigError, DatasetError, JobInterrupted, JobNotFinished, OrchestratorError
from orchestrator.engine import process_memory

DONE: Final = 0
FAILED: Final = 1
WRONG: Final = 2
WAITING: Final = 3

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
JobArgument = Annotated[str, typer.Argument(help="A job file (TOML), or the id of a job in the work folder.")]
WorkOption = Annotated[
    str | None, typer.Option(help="The work folder, or its URL in an object store. Default: .orchestrator")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def main() -> None:
    """Run the command line and exit."""
    process_memory.give_back()
    log.configure(os.environ.get("ORCHESTRATOR_LOG", "warning"), stream_is_terminal=sys.stderr.isatty())
    signal.signal(signal.SIGINT, _quit)
    try:
        app()
    except (ConfigError, DatasetError) as error:
        say(f"error: {error}")
        sys.exit(WRONG)
    except JobInterrupted as error:
        say(f"{error}")
        sys.exit(INTERRUPTED)
    except JobNotFinished as error:
        say(f"{error}")
        sys.exit(WAITING)
    except OrchestratorError as error:
        say(f"error: {error}")
        sys.exit(FAILED)


def _quit(_number: int, _frame: object) -> None:
    """Take Ctrl-C while nothing is under way that would have to be recorded."""
    say("interrupted; run it again to go on")
    sys.exit(INTERRUPTED)


@app.command()
def plan(job: JobArgument, work: WorkOption = None, as_json: JsonOption = False) -> None:
    """Say what a job would send and cost, with three sample requests. Sends nothing."""
    described = _from_file(job, work)
    found = commands.plan(described)
    if as_json:
        show(json.dumps(found.as_dict()))
    else:
        show(text.plan_text(commands.identify(described), found))


@app.command()
def run(job: JobArgument, work: WorkOption = None, as_json: JsonOption = False) -> None:
    """Run a job to its end. Run again, it resumes; nothing is sent twice."""
    described = _from_file(job, work) if _is_file(job) else None
    job_id = commands.identify(described) if described is not None else _find(job, work).job_id
    provider = described.provider_settings if described is not None else _find(job, work).provider_settings()
    with Watch(job_id, commands.guarantee(provider), plain=as_json) as watch:
        if described is not None:
            result = commands.run(described, progress=watch.look)
        else:
            result = _find(job, work).resume(progress=watch.look)
    _tell(result, as_json)


@app.command()
def submit(
    job: JobArgument,
    work: WorkOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the fleet has done it.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Give a job to the fleet's workers, and return at once. Submitted again, it resumes; nothing is sent twice."""
    described = _from_file(job, work)
    handle = commands.submit(described)
    if not wait:
        found = handle.status()
        show(json.dumps(found.as_dict()) if as_json else _submitted_text(found, handle.work))
        return
    with Watch(handle.job_id, commands.guarantee(described.provider_settings), plain=as_json) as watch:
        result = handle.wait(progress=watch.look)
    _tell(result, as_json)


@app.command()
def status(
    job: Annotated[str | None, typer.Argument(help="A job file or id; without it, all jobs.")] = None,
    work: WorkOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how one job stands, or all of them."""
    handles = [_find(job, work)] if job else commands.jobs(work=work)
    found = [handle.status() for handle in handles]
    if as_json:
        shown = [one.as_dict() for one in found]
        show(json.dumps(shown[0] if job else shown))
        return
    for one in found:
        show(_status_text(one))
    if not found:
        show("no jobs yet")


@app.command()
def results(
    job: JobArgument,
    work: WorkOption = None,
    rows: Annotated[int, typer.Option(min=0, help="How many rows to show.")] = 5,
    failures: Annotated[bool, typer.Option(help="Show failed rows only.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say where a finished job's output is, and show its first rows. Reads no more than it shows."""
    result = _find(job, work).results()
    table = result.failures(rows) if failures else result.head(rows)
    if as_json:
        show(json.dumps({"path": str(result.path), **result.counts, "rows_shown": table.to_pylist()}, default=str))
        return
    show(str(result.path))
    for row in table.to_pylist():
        show(json.dumps(row, default=str, ensure_ascii=False))


@app.command()
def cancel(job: JobArgument, work: WorkOption = None, as_json: JsonOption = False) -> None:
    """Stop a job: drop what is unsent, cancel what is sent, keep what was answered."""
    handle = _find(job, work)
    with Watch(handle.job_id, commands.guarantee(handle.provider_settings()), plain=as_json) as watch:
        found = handle.cancel(progress=watch.look)
    show(json.dumps(found.as_dict()) if as_json else _status_text(found))


@app.command()
def retry(job: JobArgument, work: WorkOption = None, as_json: JsonOption = False) -> None:
    """Send the failed rows of an ended job once more; the output becomes a new revision."""
    handle = _find(job, work)
    with Watch(handle.job_id, commands.guarantee(handle.provider_settings()), plain=as_json) as watch:
        result = handle.retry(progress=watch.look)
    _tell(result, as_json)


@app.command()
def resolve(
    job: JobArgument,
    chunk: Annotated[str | None, typer.Argument(help="An unresolved chunk; without it, all are listed.")] = None,
    batch: Annotated[str | None, typer.Option(help="The batch that the create made, by the provider's id.")] = None,
    absent: Annotated[bool, typer.Option("--absent", help="The create made nothing: send the rows again.")] = False,
    same_account: Annotated[
        bool, typer.Option("--same-account", help="The key was rotated: it is of the account the job was sent from.")
    ] = False,
    work: WorkOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what became of a create whose answer was lost. Without a chunk: list the unresolved ones, and why."""
    handle = _find(job, work)
    if same_account:
        if chunk is not None or batch is not None or absent:
            raise ConfigError("--same-account concerns the whole job: give no chunk, --batch or --absent beside it")
        count = handle.confirm_same_account()
        show(f"the key is taken as one of the same account; chunks that waited for it: {count}; run the job to go on")
        return
    if chunk is None:
        found = handle.unresolved()
        show(json.dumps([one.as_dict() for one in found]) if as_json else _unresolved_text(handle.job_id, found))
        return
    if (batch is None) != absent:
        raise ConfigError("say either --batch ID (the provider has it) or --absent (the provider does not have it)")
    if batch is not None:
        handle.resolve_created(chunk, batch)
        show(f"{chunk} is batch {batch}; run the job to go on")
    else:
        handle.resolve_absent(chunk)
        show(f"{chunk} is sent again; run the job to go on")


@app.command()
def audit(
    job: JobArgument,
    work: WorkOption = None,
    deep: Annotated[bool, typer.Option("--deep", help="Digest and parse every file again.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare the ledger with the job's files: rows, creates, cost; and what was paid for nothing. Only reads."""
    if _is_file(job):
        described = _from_file(job, work)
        found = commands.audit(described, deep=deep)
    else:
        found = commands.audit(job, work=work, deep=deep)
    show(json.dumps(found.as_dict()) if as_json else audit_text(found))
    if not found.is_clean:
        sys.exit(FAILED)


@app.command()
def recover(work: WorkOption = None, as_json: JsonOption = False) -> None:
    """Rebuild a lost ledger from the work folder, or add what an old one does not have. Sends nothing."""
    found = commands.recover(work=work)
    show(json.dumps([one.as_dict() for one in found]) if as_json else recovery_text(found, commands.work_folder(work)))


def _is_file(job: str) -> bool:
    return job.endswith(".toml") or Path(job).is_file()


def _from_file(job: str, work: str | None) -> Job:
    if not _is_file(job):
        raise ConfigError(f"{job!r} is no job file: name a .toml file")
    found = read_job(Path(job))
    if work is None:
        return found
    return commands.at(found, work)


def _find(job: str, work: str | None) -> JobHandle:
    if _is_file(job):
        described = _from_file(job, work)
        return commands.open_job(commands.identify(described), work=work or described.work)
    return commands.open_job(job, work=work)


def _tell(result: Result, as_json: bool) -> None:
    if as_json:
        errors = dict(result.errors())
        show(json.dumps(result.status.as_dict() | {"output": str(result.path), "errors": errors}))
        return
    show(text.report(result.job_id, result.status.totals, result.errors()))
    show(f"  output      {result.path}")


def _status_text(found: Status) -> str:
    now = found.progress
    lines = [f"{found.job_id}: {found.state.value}. {text.progress(now)}"]
    if found.reason:
        lines.append(f"  stopped: {found.reason}")
    if found.pause_reason:
        lines.append(f"  the provider refuses the account: {found.pause_reason}")
    if now.trouble:
        lines.append(f"  being tried again after: {now.trouble}")
    if now.overdue_batches:
        others = f", and {now.overdue_batches - 1:,} more," if now.overdue_batches > 1 else ""
        lines.append(f"  overdue: batch {now.overdue_batch}{others} should have ended more than a day ago")
    if now.unresolved_chunks:
        lines.append(f"  unresolved: see `orchestrator resolve {found.job_id}`")
    return "\n".join(lines)


def _submitted_text(found: Status, work: str) -> str:
    lines = [f"{found.job_id}: submitted", f"  orchestrator status {found.job_id} --work {work}"]
    if not found.workers_alive:
        lines.append("  no worker is alive on this ledger: start one with `make worker`")
    if not found.beats_alive:
        lines.append("  no beat is alive on this ledger: start one with `make beat`")
    return "\n".join(lines)


def _unresolved_text(job_id: str, found: Sequence[UnresolvedChunk]) -> str:
    if not found:
        return f"{job_id}: no chunk is unresolved"
    lines = [f"{job_id}: look these creates up at the provider, then say what you found:"]
    lines += [
        f"  {one.chunk}  {one.requests:,} requests, sent {one.sent_at.isoformat()}: {one.reason}" for one in found
    ]
    lines.append(f"  orchestrator resolve {job_id} CHUNK --batch ID     the provider has the batch")
    lines.append(f"  orchestrator resolve {job_id} CHUNK --absent       it does not: send the rows again")
    if any("another key" in one.reason for one in found):
        lines.append(
            f"  orchestrator resolve {job_id} --same-account       the key is new, the account (project) the same"
        )
    return "\n".join(lines)
