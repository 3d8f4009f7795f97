"""Runs what reads files of a work folder, which may be slow or hang, in threads of its own and with a time limit."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from importlib import import_module
from typing import Final, TypeVar

from orchestrator.domain.errors import StorageError

Value = TypeVar("Value")
THREADS: Final = 4
LIMIT_S: Final = 20.0


class FolderLate(StorageError):
    """The work folder takes too long."""


class FileReaders:
    """A few threads: pages that read files wait for each other, and no other page waits for them."""

    def __init__(self, *, limit_s: float = LIMIT_S) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "page-files")
        self._limit_s = limit_s

    def prepare(self) -> None:
        """Import in the background what reads files: else the first page would wait for it."""
        for name in ("show", "row_pages", "spread"):
            self._threads.submit(import_module, f"orchestrator.api.{name}")

    def run(self, read: Callable[[], Value]) -> Value:
        """Return what `read` returns. Raises StorageError where that takes longer than the limit."""
        reading = self._threads.submit(read)
        try:
            return reading.result(self._limit_s)
        except Late:
            reading.cancel()
            raise FolderLate(
                f"the work folder has not answered for {self._limit_s:g} seconds: reload the page, or look at the "
                "folder's disk or object store"
            ) from None
