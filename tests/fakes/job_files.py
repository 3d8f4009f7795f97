"""The `JobFiles` port in memory: a file is in place whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import PurePosixPath
from typing import BinaryIO

from orchestrator.domain.errors import StorageError


class _Draft(BytesIO):
    """A file being written; closing it (as some writers do) must not lose its bytes."""

    def close(self) -> None:
        """Stay open: whoever made the draft reads it."""


class MemoryJobFiles:
    """A job's files."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Open a new file for writing; it appears under `name` when the block ends without an exception."""
        refuse_outside(name)
        draft = _Draft()
        yield draft
        self._place(name, draft.getvalue())

    def _place(self, name: str, content: bytes) -> None:
        self.files.setdefault(name, content)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file in place for reading."""
        refuse_outside(name)
        if name not in self.files:
            raise StorageError(f"{name}: there is no such file")
        with BytesIO(self.files[name]) as file:
            yield file

    def exists(self, name: str) -> bool:
        """Return whether a file is in place."""
        refuse_outside(name)
        return name in self.files

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in place directly in `folder`, sorted."""
        refuse_outside(folder)
        return sorted(name for name in self.files if name.rpartition("/")[0] == folder)

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        refuse_outside(name)
        self.files.pop(name, None)

    def sweep(self, folder: str) -> None:
        """Do nothing: a draft is no file."""
        refuse_outside(folder)


def refuse_outside(name: str) -> None:
    """Raise StorageError for a name that leaves the folder."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or any(part == ".." or "\0" in part for part in parts):
        raise StorageError(f"{name!r} is no name of a file in the work folder")
