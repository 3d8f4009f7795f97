"""What a person can type next about a job: commands that work where they are pasted."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import settings as configuration
from orchestrator.domain.look import Activity
from orchestrator.domain.reconcile import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.domain.look import Look


def command(name: str, work: str, *given: str) -> str:
    """Return a command that works where it is pasted: with the work folder, unless it is the default one."""
    is_default = work == configuration.load(os.environ, start=Path.cwd()).work
    return " ".join(("orchestrator", name, *given, *(() if is_default else ("--work", shlex.quote(work)))))


def next_commands(look: Look, work: str) -> tuple[str, ...]:
    """Return what can be typed about a job that waits for a person, or has ended."""
    return tuple(command(name, work, look.job_id, *options) for name, *options in _ways(look))


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
    elif look.activity in (Activity.UNATTENDED, Activity.STOPPING, Activity.STOPPED):
        yield ("run",)
