"""What becomes of a command that prints into a pipe, or on a terminal, that nobody reads any more.

Rule 1: a command that looks ends, quietly, as any program after `| head`.
Rule 2: one that works on a job goes on to the job's end, as quietly, and ends with the job's exit code: its batches are
        paid for whether somebody reads along or not. Ctrl-C ends it as ever.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from orchestrator.domain.look import Look


def unread() -> list[int]:
    """Return which of standard output and standard error nobody reads: a pipe without a reader, a terminal gone."""
    found = select.poll()
    for stream in (1, 2):
        found.register(stream, select.POLLOUT)
    return [stream for stream, happened in found.poll(0) if happened & (select.POLLERR | select.POLLHUP)]


def print_to_nobody() -> bool:
    """Have what is still to be printed there go nowhere; return whether nobody reads some of it."""
    streams = unread()
    if streams:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in streams:
            os.dup2(nowhere, stream)
        os.close(nowhere)
    return bool(streams)


@contextmanager
def though_unread() -> Iterator[None]:
    """Go on behind the block where nobody reads what is printed in it."""
    try:
        yield
    except OSError:
        if not print_to_nobody():  # it is about something else
            raise


class Display(Protocol):
    """What shows looks at a job while a command waits for it; a context manager."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Show the last look."""

    def look(self, now: Look) -> None:
        """Show a look."""


class ThoughUnread:
    """Shows looks at a job whose work goes on though nobody may read along; a context manager."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def __enter__(self) -> Self:
        self._display.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        with though_unread():
            self._display.__exit__(kind, error, trace)
        if kind is None or not issubclass(kind, OSError):
            print_to_nobody()  # or the last words would end the command with another exit code than the job's

    def look(self, now: Look) -> None:
        """Show a look."""
        with though_unread():
            self._display.look(now)
