"""What a form asks for is done once: a second click gets the outcome of the first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

KEPT_MAX: Final = 1_000


@dataclass(slots=True)
class Once:
    """The forms that were sent; safe to use from many threads."""

    _done: dict[str, Future[str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def do(self, form: str, act: Callable[[], str]) -> str:
        """Return what the form's action returned, or raise its error. One that failed may be sent again."""
        with self._lock:
            known = self._done.get(form)
            mine = self._done.setdefault(form, Future())
            while len(self._done) > KEPT_MAX:
                del self._done[next(iter(self._done))]
        if known is not None:
            return known.result()
        try:
            mine.set_result(act())
        except BaseException as error:
            mine.set_exception(error)
            with self._lock:
                self._done.pop(form, None)
            raise
        return mine.result()
