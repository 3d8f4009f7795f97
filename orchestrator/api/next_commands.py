"""What a person can type next about a job: commands that work where they are pasted."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator import settings as configuration
from orchestrator.domain.look import Activity
from orchestrator.domain.reconcile import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.domain.look import Look


LACKING: Final = {
    "worker": "no worker of its fleet is alive, only a beat",
    "beat": "no beat of its fleet is alive: its workers are given nothing to do",
}


def command(name: str, work: str, *given: str) -> str:
    """Return a command that works where it is pasted: with the work folder, unless it is the default one."""
    is_default = work == configuration.load(os.environ, start=Path.cwd()).work
    return " ".join(("orchestrator", name, *given, *(() if is_default else ("--work", shlex.quote(work)))))


def next_commands(look: Look, work: str) -> tuple[str, ...]:
    """Return what can be typed about a job that waits for a person, or has ended."""
    of_job = tuple(command(name, work, look.job_id, *options) for name, *options in _ways(look))
    return of_job if look.has_ended or not look.lacks else (*of_job, f"orchestrator {look.lacks}")


def to_go_on(look: Look, work: str, what: str = "go on") -> tuple[str, str]:
    """Return what to type so that somebody works on a job, and why."""
    if not look.lacks:
        return command("run", work, look.job_id), f"nothing works on it; to {what}"
    return f"orchestrator {look.lacks}", f"{LACKING[look.lacks]}; to start one"


def next_line(look: Look, work: str, told: str) -> str:
    """Return what is told of a job that nothing works on, and what to type next."""
    typed, why = to_go_on(look, work)
    return f"{told}{f' {why[:1].upper()}{why[1:]}' if look.lacks else ' Next'}:\n  {typed}"


def _ways(look: Look) -> Iterator[tuple[str, ...]]:
    if look.has_ended:
        yield ("results",)
        if look.rows.failed:
            yield ("results", "--rows", "failed")
            yield ("retry",)
        return
    if look.decision:
        if look.decision == UNREADABLE:
            yield ("reread",)
        yield from (("approve",), ("cancel",))
    if look.paused_at is not None:
        yield ("resume",)
    if look.unresolved:
        yield ("resolve",)
    elif look.activity in (Activity.UNATTENDED, Activity.STOPPING, Activity.STOPPED) and not look.lacks:
        yield ("run",)
