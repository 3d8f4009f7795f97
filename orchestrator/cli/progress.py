"""A job's progress on a terminal."""

from __future__ import annotations

from typing import Final

import rich.console
import rich.progress
import typer

from orchestrator.cli import text
from orchestrator.domain.progress import Progress
from orchestrator.log import printable

INTERRUPTED: Final = 130  # the exit code
PLAIN_EVERY: Final = 10  # a plain line for every so many looks: about five seconds


def say(text: str) -> None:
    """Print a line for people. What it quotes may be a stranger's: a terminal shows it, and does nothing else."""
    typer.echo(printable(text), err=True)


def show(text: str) -> None:
    """Print what was asked for, on standard output, with the same care."""
    typer.echo(printable(text))


class Watch:
    """Shows a job's progress."""

    def __init__(self, job_id: str, guarantee: str, *, plain: bool) -> None:
        self._job_id = job_id
        self._guarantee = guarantee
        self._quiet = plain
        self._looks = 0
        self._last = ""
        self._trouble = ""
        console = rich.console.Console(stderr=True)
        self._bar: rich.progress.Progress | None = None
        if console.is_terminal and not plain:
            self._bar = rich.progress.Progress(
                rich.progress.TextColumn("{task.description}"),
                rich.progress.BarColumn(),
                rich.progress.MofNCompleteColumn(),
                rich.progress.TimeRemainingColumn(),
                rich.progress.TextColumn("{task.fields[money]}"),
                console=console,
            )
            self._task = self._bar.add_task(job_id, total=None, money="")

    def __enter__(self) -> Watch:
        if not self._quiet:
            say(f"{self._job_id}: {self._guarantee}")
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def look(self, now: Progress) -> None:
        """Show how the job stands; called about twice a second."""
        self._look_for_trouble(now)
        if self._bar is not None:
            total = None if now.planning else now.rows
            money = f"{text.usd(now.cost_usd)} so far"
            self._bar.update(self._task, completed=now.done + now.in_flight_answered, total=total, money=money)
            return
        line = text.progress(now)
        is_turn = now.has_ended or self._looks % PLAIN_EVERY == 0
        if not self._quiet and line != self._last and is_turn:
            say(f"{self._job_id}: {line}")
            self._last = line
        self._looks += 1

    def _look_for_trouble(self, now: Progress) -> None:
        """Say what keeps failing, once for each new reason, so that a job that waits does not seem to hang."""
        if self._quiet or not now.trouble or now.trouble == self._trouble:
            return
        self._trouble = now.trouble
        line = f"{self._job_id}: trying again after: {now.trouble}"
        if self._bar is None:
            say(line)
        else:
            self._bar.console.print(printable(line), markup=False, highlight=False)
