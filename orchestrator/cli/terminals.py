"""`orchestrator attach | stop`, and `run --detach`: a job in another terminal than the one that runs it, or in none."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Final

import click

from orchestrator.api.exit_codes import WAITING
from orchestrator.cli.arguments import allow_failed_option, find, job_argument, json_option, work_option
from orchestrator.cli.outcome import print_end, samples_told
from orchestrator.cli.progress import WATCHING, Watch
from orchestrator.cli.terminal import say, show_document, show_text
from orchestrator.domain.errors import ConfigError, JobInterrupted

if TYPE_CHECKING:
    from orchestrator.domain.look import Look
    from orchestrator.domain.model import JobId
    from orchestrator.domain.workers import WorkerProcess

LEFT_LOOKS: Final = 6  # so many looks without a process: between two processes there may be a moment
LOOK_S: Final = 0.2
LOOKS_FOR_NEXT: Final = 10
DETACH: Final = "--detach"


@click.command
@job_argument
@work_option
@allow_failed_option
@json_option
def attach(job: str, work: str | None, allow_failed: bool, as_json: bool) -> None:
    """Follow a job that another process runs, or a fleet.

    Needs no key. Ctrl-C ends the following, not the job.
    """
    from orchestrator.api import commands

    handle = find(job, work)
    left, stop = Left(), threading.Event()
    guarantee = commands.guarantee(handle.provider_settings())
    watched = Watch(handle.job_id, guarantee, plain=as_json, work=handle.work)
    try:
        with samples_told(handle.job_id, handle.work), watched as watch:

            def look(now: Look) -> None:
                watch.look(now)
                if left.is_left(now):
                    stop.set()

            result = handle.wait(progress=look, stop=stop)
    except JobInterrupted:
        if not left.is_over:
            raise
        from orchestrator.api.next_commands import next_line

        say(next_line(handle.status().look, handle.work, f"{handle.job_id}: no process runs it now."))
        sys.exit(WAITING)
    print_end(result, handle.work, as_json=as_json, allow_failed=allow_failed)


class Left:
    """Tells whether the process that ran a job has left it. A fleet's workers may come back."""

    def __init__(self) -> None:
        self._looks = 0
        self._is_fleet = False
        self.is_over = False

    def is_left(self, now: Look) -> bool:
        """Return whether no process has run the job for some looks."""
        if now.worked_by:
            from orchestrator.domain.workers import Kind

            self._is_fleet, self._looks = any(one.kind is Kind.WORKER for one in now.worked_by), 0
            return False
        self._looks += 1
        self.is_over = not (self._is_fleet or now.has_ended) and self._looks >= LEFT_LOOKS
        return self.is_over


@click.command
@job_argument
@work_option
@json_option
def stop(job: str, work: str | None, as_json: bool) -> None:
    """End the process that runs a job, as Ctrl-C there does.

    It finishes the calls under way. Batches go on at the provider; run the job again to fetch them.
    """
    from orchestrator.cli import status_text

    handle = find(job, work)
    asked = {one.id: one for one in handle.stop()}
    if not as_json:
        say(f"{handle.job_id}: {_named(tuple(asked.values()))} is asked to stop, and finishes the calls under way")
    while any(one.id in asked for one in handle.status().look.worked_by):
        time.sleep(LOOK_S)
    for _ in range(LOOKS_FOR_NEXT):  # who follows the job takes it over by now
        found = handle.status()
        if found.look.worked_by or found.look.has_ended:
            break
        time.sleep(LOOK_S)
    show_document(found.document()) if as_json else show_text(status_text.stopped(found, handle.work))


def _named(runs: tuple[WorkerProcess, ...]) -> str:
    return ", ".join(f"pid {one.pid} on {one.host}" for one in runs)


def run_detached(job_id: JobId, work: str, *, as_json: bool) -> None:
    """Begin this command anew without a terminal; return once the job runs, and exit where that process ends before."""
    from orchestrator.api import commands, detached

    arguments = [one for one in sys.argv[1:] if one not in (DETACH, "--json", "--events")]
    begun = detached.begin(job_id, work, [*arguments, *([] if "--yes" in arguments else ["--yes"])])
    pid = begun.process.pid
    while not (by := _runs(job_id, work)) or not (any(one.pid == pid for one in by) or WATCHING in begun.said()):
        if begun.process.poll() is not None:
            say(begun.said().rstrip())
            sys.exit(begun.process.returncode)
        time.sleep(LOOK_S)
    if as_json:
        show_document(commands.open_job(job_id, work=work).status().document())
        return
    from orchestrator.cli import status_text

    show_text(status_text.detached(job_id, work, pid, str(begun.log), by))


def _runs(job_id: JobId, work: str) -> tuple[WorkerProcess, ...]:
    """Return the processes that run the job by now."""
    from orchestrator.api import commands

    try:
        return commands.open_job(job_id, work=work).status().look.worked_by
    except ConfigError:  # it is about to be checked and entered
        return ()


COMMANDS = (attach, stop)
