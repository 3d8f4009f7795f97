"""What a file of the work folder may be called, in whichever store it lies."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from orchestrator.domain.errors import StorageError

TEMPORARY: Final = ".part-"  # how the names begin that files have while they are written


def parts_of(name: str) -> tuple[str, ...]:
    """Return the folders and the name. Raises StorageError for what would lead out of the work folder."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or any(part in ("..", ".") or "\0" in part for part in parts):
        raise StorageError(f"{name!r} is no name of a file in the work folder")
    return parts
