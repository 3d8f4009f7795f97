"""Kill -9 at a line of the program: the interpreter's own trace hook, set in the child and nowhere in the program.

Rule: the line has not run yet; whatever ran before it, in any thread, is done or not, as it happens to be.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, Final

from tests.kills.fork_request import AtLine

ROOT: Final = Path(__file__).resolve().parents[2]
PROGRAM: Final = str(ROOT / "orchestrator")


class LineHook:
    """Counts the lines that run, or dies at one of them."""

    def __init__(self, at: AtLine) -> None:
        file, _, number = at.line.partition(":")
        self._file = str(ROOT / file) if file else ""
        self._number = int(number or 0)
        self._left = at.time
        self._ran: Counter[tuple[str, int]] = Counter()
        self._is_ours: dict[str, bool] = {}

    def install(self) -> None:
        """Trace this thread, and all that are started from now on."""
        threading.settrace(self._enter)
        sys.settrace(self._enter)

    def write(self, path: Path) -> None:
        """Write down how often each line ran."""
        sys.settrace(None)
        # Threads that end with the process go on meanwhile.
        ran = {f"{os.path.relpath(file, ROOT)}:{line}": count for (file, line), count in self._ran.copy().items()}
        path.write_text(json.dumps(ran))

    def _enter(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        file = frame.f_code.co_filename
        is_ours = self._is_ours.get(file)
        if is_ours is None:
            is_ours = self._is_ours[file] = file == self._file if self._file else file.startswith(PROGRAM)
        if not is_ours:
            return None
        return self._die if self._file else self._count

    def _count(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            self._ran[frame.f_code.co_filename, frame.f_lineno] += 1
        return self._count

    def _die(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line" and frame.f_lineno == self._number:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return self._die
