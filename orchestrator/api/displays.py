"""Shows how a job stands, by itself, where a person looks on: the view on a terminal, one display in a notebook.

Rule 1: nothing goes to standard output, and nothing is shown in a pipe, in a log, or before the first look at the job.
Rule 2: a process shows one job at a time: of runs in several threads, the one that was first.
Rule 3: the tip that a run can be left is shown only while that is true.
Rule 4: a terminal that is gone ends the display, and never the run, which pays.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from orchestrator.domain.look import Look, OnLook

LEAVE: Final = "leaves it safely"
STOP_WAITING: Final = "stops waiting, the job goes on"
_shows: Final = threading.Lock()


class Display(Protocol):
    """Where looks at a job are shown."""

    def look(self, now: Look) -> None:
        """Show a look in the place of the last one."""

    def close(self) -> None:
        """Leave what was shown last, without the tip."""


class TerminalView:
    """The view on standard error, redrawn in its place."""

    def __init__(self, console: Any, tip: str) -> None:
        from rich.live import Live

        from orchestrator.api.run_view import Lines

        self.tip = tip
        self._lines = Lines()
        self._last: Look | None = None
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False)
        self._live.start()

    def look(self, now: Look) -> None:
        """Draw a look."""
        self._last = now
        self._draw(now, self.tip)

    def say(self, text: str) -> None:
        """Print a message above the view."""
        self._live.console.print(text, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Draw the last look without the tip, and give the terminal back."""
        if self._last is not None:
            self._draw(self._last, "", is_last=True)
        self._live.stop()
        self._live.console.print()

    def _draw(self, now: Look, tip: str, *, is_last: bool = False) -> None:
        from orchestrator.api.run_view import frame

        console = self._live.console
        is_unicode = console.encoding.lower().startswith("utf")
        how = {"width": console.width, "height": console.height}
        self._live.update(frame(now, self._lines, **how, tip=tip, is_unicode=is_unicode, is_last=is_last), refresh=True)


def terminal_view(tip: str) -> TerminalView | None:
    """Begin a view on standard error; None where it is no terminal, or one that is too narrow or cannot be redrawn."""
    if not sys.stderr.isatty():
        return None
    from rich.console import Console

    from orchestrator.api.run_view import WIDTH_MIN

    console = Console(stderr=True, highlight=False)
    if console.width < WIDTH_MIN or console.is_dumb_terminal:
        return None
    return TerminalView(console, tip)


class NotebookView:
    """A display below the cell that runs, updated in its place."""

    def __init__(self, tip: str) -> None:
        self._tip = tip
        self._handle: Any = None
        self._shown = ""
        self._last: Look | None = None

    def look(self, now: Look) -> None:
        """Show a look, where it says something new."""
        self._last = now
        self._show(now, self._tip)

    def close(self) -> None:
        """Show the last look without the tip."""
        if self._last is not None:
            self._show(self._last, "")

    def _show(self, now: Look, tip: str) -> None:
        from orchestrator.api.look_html import look_html
        from orchestrator.api.run_view import plain

        html = look_html(now, tip=tip)
        if html == self._shown:
            return
        self._shown = html
        shown = {"text/html": html, "text/plain": f"{now.job_id} {plain(now)}"}
        if self._handle is None:
            display: Any = import_module("IPython.display").display
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)


def is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


@contextmanager
def shown(progress: OnLook | bool | None, leaving: str = LEAVE) -> Iterator[OnLook | None]:
    """Yield what is to be called with each look at a job, or None.

    Args:
        progress: True shows the job where a person looks on; False shows nothing; a function is called instead.
        leaving: what an interrupt does.
    """
    if callable(progress) or not progress or not _shows.acquire(blocking=False):
        yield progress if callable(progress) else None
        return
    lazily = _Lazily(leaving)
    try:
        yield lazily.look
    finally:
        lazily.close()
        _shows.release()


class _Lazily:
    """A display that begins with the first look."""

    def __init__(self, leaving: str) -> None:
        self._leaving = leaving
        self._display: Display | None = None
        self._is_begun = False

    def look(self, now: Look) -> None:
        if not self._is_begun:
            self._is_begun = True
            is_here = is_notebook()
            # In another thread an interrupt does not reach the run.
            is_main = threading.current_thread() is threading.main_thread()
            tip = f"{'an interrupt' if is_here else 'Ctrl-C'} {self._leaving}" if is_main else ""
            self._display = NotebookView(tip) if is_here else terminal_view(tip)
        if self._display is not None:
            self._guarded(self._display.look, now)

    def close(self) -> None:
        if self._display is not None:
            self._guarded(self._display.close)

    def _guarded(self, act: Callable[..., None], *looks: Look) -> None:
        try:
            act(*looks)
        except (OSError, ValueError):  # such as: I/O operation on closed file
            self._display = None
