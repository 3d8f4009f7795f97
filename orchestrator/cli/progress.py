"""Shows a job's progress while a command waits for it: the view on a terminal, lines elsewhere.

Rule: until there is progress nothing is printed, so that an error stands alone. On a pipe, a line is printed when the
job does something else than before and when a trouble is new, and between them ever more rarely.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from orchestrator.cli.readers import ThoughUnread
from orchestrator.cli.terminal import fitted, say, show_document
from orchestrator.domain.look import Activity
from orchestrator.domain.model import JobId, JobState
from orchestrator.domain.workers import Kind

if TYPE_CHECKING:
    from orchestrator.api.displays import TerminalView
    from orchestrator.domain.look import Look

TROUBLES_MAX: Final = 1_000  # reasons that are remembered
LOOKS_BEFORE: Final = 4  # a trouble is told: one that ends the run is told by its error, and many pass by themselves
WATCHING: Final = "runs it; watching"  # said of another process
# A line after so many seconds, up to so many seconds since the begin.
PACE: Final = ((30.0, 5.0), (600.0, 60.0), (float("inf"), 600.0))


def watching(job_id: str, work: str, guarantee: str, *, as_json: bool, events: bool = False) -> ThoughUnread:
    """Return what shows looks at a job that a command works on: for a person, or as events for a program."""
    if not events:
        return ThoughUnread(Watch(job_id, guarantee, plain=as_json, work=work))
    from orchestrator.api.run_events import RunEvents

    return ThoughUnread(RunEvents(JobId(job_id), work, show_document))


class Watch:
    """Shows looks at a job, and who runs it where it is not this process; a context manager."""

    def __init__(self, job_id: str, guarantee: str, *, plain: bool, work: str = "") -> None:
        self._job_id = job_id
        self._work = work
        self._guarantee = guarantee
        self._quiet = plain
        self._view: TerminalView | None = None
        self._begun_at = 0.0
        self._told_at = 0.0
        self._activity: Activity | None = None
        self._last = ""
        self._looks = Counter[str]()  # at each trouble
        self._other = ""  # the process that runs the job, where it is another one

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._view is not None:
            self._view.close()

    def look(self, now: Look) -> None:
        """Show a look; called about twice a second."""
        if self._quiet:
            return
        if self._activity is None:
            self._start()
        self._say_guarantee(now)
        self._say_who_runs_it(now)
        if self._view is None:
            self._tell(now)
            self._look_for_trouble(now)
        else:
            self._view.look(now)
        self._activity = now.activity

    def _say_guarantee(self, now: Look) -> None:
        """Say the guarantee once there is a row to send: where all are answered already nothing is promised."""
        rows = now.rows
        is_sending = rows.waiting + rows.at_provider + rows.to_send_again + rows.needs_decision > 0
        if is_sending and not now.has_ended and self._guarantee:
            self._print(f"{self._job_id}: {self._guarantee}")
            self._guarantee = ""

    def _start(self) -> None:
        self._begun_at = time.monotonic()
        from orchestrator.api.displays import terminal_view
        from orchestrator.api.run_view import TIP

        self._view = terminal_view(TIP)

    def _say_who_runs_it(self, now: Look) -> None:
        """Say that another process runs the job, and later that this one has taken it over."""
        from orchestrator.api.run_view import TIP

        runs = [one for one in now.worked_by if one.kind is Kind.RUN]
        if not runs:
            if self._view is not None and self._other:
                self._view.tip = f"{self._other} has left it"
            return
        is_ours = any(one.pid == os.getpid() and one.host == socket.gethostname() for one in runs)
        other = "" if is_ours else f"pid {runs[0].pid} on {runs[0].host}"
        if other and other != self._other:
            self._print(f"{self._job_id}: {other} {WATCHING}. Ctrl-C leaves the watching, not the job.")
        elif self._other and is_ours:
            self._print(f"{self._job_id}: {self._other} has left it: this process runs it now.")
        self._other = other
        if self._view is not None:
            self._view.tip = f"watching pid {runs[0].pid}" if other else TIP

    def _print(self, text: str) -> None:
        """Print a message, above the view where there is one."""
        if self._view is None:
            say(text)
        else:
            self._view.say(fitted(text))

    def _tell(self, now: Look) -> None:
        """Print a line, where the job does something else than before, or it is time for one."""
        from orchestrator.api.run_view import plain

        at = time.monotonic()
        pace_s = next(wait for until, wait in PACE if at - self._begun_at < until)
        if now.activity is self._activity and at - self._told_at < pace_s:
            return
        line = plain(now)
        if line != self._last:
            say(f"{self._job_id} {line}")
            self._last, self._told_at = line, at

    def _look_for_trouble(self, now: Look) -> None:
        """Print what keeps failing, once for each reason that lasts, so that a waiting job does not seem to hang."""
        trouble = next((one for one in now.troubles if not one.is_unresolved), None)
        if now.activity is Activity.PAUSED:
            from orchestrator.api.next_commands import command

            resume = (
                command("resume", self._work, self._job_id) if self._work else f"orchestrator resume {self._job_id}"
            )
            self._tell_once("paused", f"nothing more is sent until you type:\n  {resume}")
        elif now.state is JobState.RUNNING and now.reason not in ("", now.budget_wait):  # that of its account
            idle = "" if now.at_provider.batches else ". Nothing is in flight: Ctrl-C loses nothing, run it again later"
            self._tell_once(now.reason, f"sending is paused: {now.reason}{idle}")
        elif now.budget_wait:
            self._tell_once("budget", f"waiting for budget: {now.budget_wait}")
        elif trouble is not None:
            count = f" {trouble.chunks:,} chunks" if trouble.chunks > 1 else ""
            self._tell_once(trouble.reason, f"retrying{count} after: {trouble.reason}")

    def _tell_once(self, trouble: str, told: str) -> None:
        if trouble in self._looks or len(self._looks) < TROUBLES_MAX:
            self._looks[trouble] += 1
            if self._looks[trouble] == LOOKS_BEFORE:
                say(f"{self._job_id}: {told}")
