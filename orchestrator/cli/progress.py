"""A job's progress on a terminal, and what Ctrl-C does to it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import click

from orchestrator.log import printable, say

if TYPE_CHECKING:
    import rich.progress

    from orchestrator.domain.model import Job
    from orchestrator.domain.progress import Totals

INTERRUPTED: Final = 130  # the exit code
PLAIN_EVERY: Final = 10  # a plain line for every so many looks: about five seconds


def show(text: str) -> None:
    """Print what was asked for on standard output. What it quotes may be a stranger's: a terminal only shows it."""
    click.echo(printable(text))


class Watch:
    """Shows a job's progress, and turns Ctrl-C into a clean stop; a second one ends the process at once."""

    def __init__(self, job_id: str, guarantee: str, *, plain: bool) -> None:
        self.stop = threading.Event()
        self._job_id = job_id
        self._guarantee = guarantee
        self._quiet = plain
        self._looks = 0
        self._last = ""
        self._trouble = ""
        self._before: dict[int, Any] = {}
        self._bar = _bar() if sys.stderr.isatty() and not plain else None
        if self._bar is not None:
            self._task = self._bar.add_task(job_id, total=None, money="")

    def __enter__(self) -> Watch:
        if not self._quiet:
            say(f"{self._job_id}: {self._guarantee}")
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._interrupt)
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, _frame: object) -> None:
        if self.stop.is_set():
            os._exit(INTERRUPTED)
        self.stop.set()
        name = signal.Signals(number).name
        say(f"{name}: finishing the running steps; a second one ends at once (what is recorded stays)")

    def look(self, job: Job, totals: Totals) -> None:
        """Show how the job stands; called about twice a second."""
        from orchestrator.cli import text
        from orchestrator.domain.model import JobState

        self._look_for_trouble(totals)
        if self._bar is not None:
            done = totals.succeeded + totals.failed + totals.refused + totals.in_flight_done
            cost = f"{text.usd(totals.cost_usd)} so far"
            total = None if totals.shards_planning else totals.rows
            self._bar.update(self._task, completed=done, total=total, money=cost)
            return
        line = text.progress(totals)
        ended = job.state in (JobState.FINISHED, JobState.CANCELLED)
        if not self._quiet and line != self._last and (ended or self._looks % PLAIN_EVERY == 0):
            say(f"{self._job_id}: {line}")
            self._last = line
        self._looks += 1

    def _look_for_trouble(self, totals: Totals) -> None:
        """Print what keeps failing, once for each new reason: a job that waits must not look like one that hangs."""
        if self._quiet or not totals.trouble or totals.trouble == self._trouble:
            return
        self._trouble = totals.trouble
        text = f"{self._job_id}: retrying after: {totals.trouble}"
        if self._bar is None:
            say(text)
        else:
            self._bar.console.print(printable(text), markup=False, highlight=False)


def _bar() -> rich.progress.Progress:
    import rich.console
    import rich.progress

    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(),
        rich.progress.TextColumn("{task.fields[money]}"),
        console=rich.console.Console(stderr=True),
    )
