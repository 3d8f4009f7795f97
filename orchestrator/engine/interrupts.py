"""Ctrl-C, SIGTERM and the end of the terminal (SIGHUP) during a run: the first one asks for a stop, the second exits.

Rule 1: the handlers are set during the run only; afterwards the previous handlers are restored.
Rule 2: only the main thread may set handlers. In other threads, and where a signal is ignored or handled outside of
        Python, nothing is changed: the caller stops the job by its `stop` event.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def say_stopping(why: str) -> None:
    """Print, on standard error, that the run stops and what it waits for."""
    with suppress(OSError, ValueError, RuntimeError):  # standard error is closed
        sys.stderr.write(
            f"\n{why}: finishing the calls under way, so that no answer is lost.\n"
            "Ctrl-C leaves at once now; what is recorded is kept.\n"
        )
        sys.stderr.flush()


@contextmanager
def signals_stop(stop: threading.Event, *, tell: Callable[[str], None] = say_stopping) -> Iterator[None]:
    """Set `stop` on the first SIGINT, SIGTERM or SIGHUP within the block; pass the second to the previous handler.

    Args:
        tell: called with the name of the first signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in STOPPING}

    def handle(number: int, _frame: object) -> None:
        if stop.is_set():
            signal.signal(number, before[number])
            signal.raise_signal(number)
            return
        stop.set()
        tell(signal.Signals(number).name)

    replaced = [number for number in STOPPING if before[number] not in (None, signal.SIG_IGN)]
    for number in replaced:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, before[number])
