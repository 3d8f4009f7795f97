"""A job's progress on a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from orchestrator.cli.terminal import say
from orchestrator.log import printable

if TYPE_CHECKING:
    import rich.progress

    from orchestrator.domain.progress import Progress

TROUBLES_MAX: Final = 1_000  # reasons that are remembered as printed
PAUSED_LOOKS: Final = 4  # a run that can do nothing else ends before, and its error says why
PLAIN_EVERY: Final = 10  # without a terminal, one line for so many updates: about every five seconds


class Watch:
    """Shows a job's progress. Until there is some, nothing is printed: an error stands alone."""

    def __init__(self, job_id: str, guarantee: str, *, plain: bool) -> None:
        self._job_id = job_id
        self._guarantee = guarantee
        self._quiet = plain
        self._looks = 0
        self._last = ""
        self._troubles = set[str]()
        self._paused = 0
        self._is_started = False
        self._bar = _bar() if sys.stderr.isatty() and not plain else None
        if self._bar is not None:
            self._task = self._bar.add_task(job_id, total=None, money="")

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def look(self, now: Progress) -> None:
        """Show the job's progress; called about twice a second."""
        from orchestrator.cli import text

        if not self._is_started:
            self._start()
        self._look_for_trouble(now)
        if self._bar is not None:
            total = None if now.planning else now.rows
            money = text.money(now)
            self._bar.update(self._task, completed=now.done + now.in_flight_answered, total=total, money=money)
            return
        line = text.progress(now)
        is_turn = now.has_ended or self._looks % PLAIN_EVERY == 0
        if not self._quiet and line != self._last and is_turn:
            say(f"{self._job_id}: {line}")
            self._last = line
        self._looks += 1

    def _start(self) -> None:
        self._is_started = True
        if not self._quiet:
            say(f"{self._job_id}: {self._guarantee}")
        if self._bar is not None:
            self._bar.start()

    def _look_for_trouble(self, now: Progress) -> None:
        """Print what keeps failing, once for each new reason, so that a waiting job does not seem to hang."""
        if now.pause:
            self._paused += 1
            if self._paused >= PAUSED_LOOKS:
                self._tell_once(now.pause, f"sending is paused: {now.pause}")
        elif now.budget_wait:
            self._tell_once("budget", f"waiting for budget: {now.budget_wait}")
        elif now.trouble:
            count = f" {now.trouble_chunks:,} chunks" if now.trouble_chunks > 1 else ""
            self._tell_once(now.trouble, f"retrying{count} after: {now.trouble}")

    def _tell_once(self, trouble: str, told: str) -> None:
        if self._quiet or trouble in self._troubles:
            return
        if len(self._troubles) < TROUBLES_MAX:
            self._troubles.add(trouble)
        line = f"{self._job_id}: {told}"
        if self._bar is None:
            say(line)
        else:
            self._bar.console.print(printable(line), markup=False, highlight=False)


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
