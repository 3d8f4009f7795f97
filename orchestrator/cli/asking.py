"""Questions to the person at a terminal. Where there is none, nothing is asked and the error stands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import click

from orchestrator.domain.errors import JobConflict
from orchestrator.log import say

T = TypeVar("T")


def is_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def asked(start: Callable[[bool], T], alongside: bool) -> T:
    """Start a job; where another one of its name is not finished, ask whether to run it beside that one."""
    try:
        return start(alongside)
    except JobConflict as conflict:
        if not is_terminal():
            raise
        say(str(conflict))
        if not click.confirm("Run the new one beside it?", err=True):
            raise click.Abort from None
        return start(True)
