"""The `JobFiles` port on a local disk.

A file is written under a temporary name in its own folder, fsynced, put in place by a hard link (which refuses to
replace), and its folder is fsynced: after a power loss it is complete or absent.

Files in a work folder are private to its owner or its group (`permissions`); files in an output folder that the user
named have the umask's permissions.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from orchestrator.domain.errors import StorageError
from orchestrator.storage import permissions
from orchestrator.storage.disk_errors import why_unwritten
from orchestrator.storage.names import TEMPORARY, parts_of

_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS})


class LocalJobFiles:
    """A job's files under one folder."""

    def __init__(self, root: Path, *, is_private: bool = True) -> None:
        self._root = root
        self._is_private = is_private

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Open a new file for writing; it appears under `name` when the block ends without an exception."""
        path = self._path(name)
        temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
        try:
            file = self._new(temporary)
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {why_unwritten(error)}") from error
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _put_in_place(temporary, path)
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {why_unwritten(error)}") from error
        finally:
            with suppress(OSError):  # already gone; or the disk fails, and its own error is more useful
                temporary.unlink()

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file in place for reading."""
        path = self._path(name)
        try:
            file = path.open("rb")
        except OSError as error:
            raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
        with file:
            yield file

    def exists(self, name: str) -> bool:
        """Return whether a file is in place, also after a power loss."""
        path = self._path(name)
        if not path.is_file():
            return False
        try:
            permissions.sync_folder(path.parent)  # the process that wrote it may have died before this
        except OSError as error:
            raise StorageError(f"{path}: its folder cannot be synced: {why_unwritten(error)}") from error
        return True

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in place directly in `folder`, sorted."""
        path = self._path(folder)
        if not path.is_dir():
            return []
        try:
            with os.scandir(path) as entries:
                found = [entry.name for entry in entries if entry.is_file() and not entry.name.startswith(TEMPORARY)]
        except OSError as error:
            raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
        return sorted(f"{folder}/{name}" for name in found)

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        path = self._path(name)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{path}: cannot be removed: {why_unwritten(error)}") from error

    def sweep(self, folder: str) -> None:
        """Remove what killed writers have left directly in `folder`."""
        with suppress(OSError):  # nobody needs it gone
            for path in self._path(folder).glob(f"{TEMPORARY}*"):
                path.unlink(missing_ok=True)

    def _new(self, path: Path) -> BinaryIO:
        permissions.make_folder(path.parent, is_private=self._is_private)
        return permissions.open_new(path) if self._is_private else path.open("xb")

    def _path(self, name: str) -> Path:
        return self._root.joinpath(*parts_of(name))


def _put_in_place(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A disk without hard links: the check and the rename are not atomic, but the file is never torn.
        if not path.exists():
            temporary.rename(path)
    permissions.sync_folder(path.parent)
