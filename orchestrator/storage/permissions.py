"""Permissions in a work folder on a disk: only its owner can read it, unless a group shares the folder.

Folders made here survive a power loss.

Rule: in a folder with the setgid bit (`chmod g+s`, the mark of a folder that a group shares) a new file or folder has
      its folder's group permissions, whatever the umask. In any other folder a new file is 0600, a new folder 0700.

The umask is not used: it belongs to the whole process, which may be the user's own program, and the usual 022 would
show rows to every user of the machine and still prevent a second member of the group from resuming a job.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

_FILE: Final = 0o600
_FOLDER: Final = 0o700
_ANY: Final = 0o777  # less what the umask takes away
_kept: Final[set[Path]] = set()  # folders that this process has synced


def make_folder(folder: Path, *, is_private: bool = True) -> None:
    """Make a folder and its missing parents, so that they survive a power loss. Raises OSError.

    An existing folder may be from a process that died before it was synced, so each process syncs it once.

    Args:
        is_private: only its owner, and the group of a shared folder, may read it; otherwise the umask decides.
    """
    if folder in _kept and folder.is_dir():
        return
    if not folder.is_dir():
        if folder.parent != folder:
            make_folder(folder.parent, is_private=is_private)
        with suppress(FileExistsError):  # another process has just made it
            folder.mkdir(_FOLDER if is_private else _ANY)
            if is_private:
                _give(folder, _FOLDER | _rights_of_group(folder.parent))
    if not folder.is_dir():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))
    with suppress(PermissionError):  # a folder that we may not list: another user's, and surely an old one
        sync_folder(folder.parent)
    _kept.add(folder)


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that the names in it survive a power loss. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_new(path: Path) -> BinaryIO:
    """Create a file and open it for writing; an existing link is not followed. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, _FILE)
    share_file(descriptor, path.parent)
    return os.fdopen(descriptor, "wb")


def make_file(path: Path) -> None:
    """Create an empty file, unless it exists. Raises OSError."""
    with suppress(FileExistsError):
        open_new(path).close()


def share_file(file: int | Path, folder: Path) -> None:
    """Set the group permissions of a file in a shared folder."""
    rights = _rights_of_group(folder) & ~stat.S_IXGRP
    if rights:
        _give(file, _FILE | rights)


def _rights_of_group(folder: Path) -> int:
    mode = folder.stat().st_mode
    return mode & stat.S_IRWXG if mode & stat.S_ISGID else 0


def _give(file: int | Path, mode: int) -> None:
    with suppress(OSError):  # a disk without modes
        os.chmod(file, mode | stat.S_IMODE(os.stat(file).st_mode) & stat.S_ISGID)  # noqa: PTH101, PTH116
