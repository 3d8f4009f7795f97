"""The valid names of files in the work folder, for every kind of store."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from orchestrator.domain.errors import StorageError

TEMPORARY: Final = ".part-"  # the prefix of the temporary names of files that are being written


def parts_of(name: str) -> tuple[str, ...]:
    """Return the folders and the name. Raises StorageError for a path that leaves the work folder."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or any(part in ("..", ".") or "\0" in part for part in parts):
        raise StorageError(f"{name!r} is no name of a file in the work folder")
    return parts
