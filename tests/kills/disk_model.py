"""What a disk would still have after a power loss: watched while a program writes, and put in force after its death.

Rule 1: a file's content is safe as it stood when a sync of it began that has ended well; a name in a folder, as it
        stood when a sync of that folder began. Nothing else is: not the order of two files, not a folder in its own
        folder, not a size.
Rule 2: of what is not safe the disk may have some: each file is what was safe, or what it is, or a mixture of the two
        by sectors; each name likewise. A seed chooses; seed 0 loses everything.

The folder that is watched is safe itself, and so is what lies in it at the start.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

SECTOR_BYTES: Final = 512
NO_DISK: Final = ("-shm",)  # shared memory with a name: SQLite makes it anew from the log
Names = dict[str, int]  # in a folder: the inode of each


@dataclass(slots=True)
class DiskModel:
    """What is safe of everything under `root`."""

    root: Path
    _contents: dict[int, bytes] = field(default_factory=dict)  # by inode
    _folders: dict[int, Names] = field(default_factory=dict)
    _pending: dict[int, tuple[int, int, bytes | Names]] = field(default_factory=dict)  # by thread: syncs that go on
    _safe_since: dict[int, int] = field(default_factory=dict)  # by inode: when the sync began that counts, in order
    _begun: int = 0
    _kept: dict[int, int] = field(default_factory=dict)  # an open file of each inode, so that no other gets its number

    def __post_init__(self) -> None:
        for folder in _folders(self.root):
            self._keep(folder)
            self._folders[folder.stat().st_ino] = _names(folder)
            for path in _files(folder):
                self._keep(path)
                self._contents[path.stat().st_ino] = path.read_bytes()

    def syncing(self, thread: int, path: str) -> None:
        """Take note of a sync that begins."""
        subject = Path(path)
        with suppress(FileNotFoundError):
            self._keep(subject)
            state = _names(subject) if subject.is_dir() else subject.read_bytes()
            self._begun += 1
            self._pending[thread] = self._begun, subject.stat().st_ino, state

    def synced(self, thread: int, *, ok: bool) -> None:
        """Take note of its end."""
        begun, inode, state = self._pending.pop(thread, (0, 0, b""))
        # Of two threads that sync one folder the first to begin may be the last to end: what is safe stays safe.
        if not ok or begun <= self._safe_since.get(inode, 0):
            return
        self._safe_since[inode] = begun
        if isinstance(state, bytes):
            self._contents[inode] = state
        else:
            self._folders[inode] = state

    def lose_power(self, seed: int) -> None:
        """Make the folder what the disk has after the power came back."""
        chance = random.Random(seed) if seed else None
        found = {path.stat().st_ino: path for path in _everything(self.root)}
        rebuilt = self.root.with_name(f".{self.root.name}.rebuilt")
        self._rebuild(self.root.stat().st_ino, self.root, rebuilt, found, chance)
        shutil.rmtree(self.root)
        rebuilt.rename(self.root)
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        for handle in self._kept.values():
            os.close(handle)
        self._kept.clear()

    def _rebuild(
        self, inode: int, actual: Path | None, target: Path, found: dict[int, Path], chance: random.Random | None
    ) -> None:
        target.mkdir()
        now = _names(actual) if actual is not None else {}
        for name, child in _mixed_names(self._folders.get(inode, {}), now, chance).items():
            is_there = actual is not None and now.get(name) == child
            path = (actual or target) / name if is_there else found.get(child)
            if child in self._folders or (path is not None and path.is_dir()):
                self._rebuild(child, path, target / name, found, chance)
            elif not name.endswith(NO_DISK):
                content = self._mixed(child, path, chance)
                (target / name).write_bytes(content)
        if actual is not None:
            shutil.copymode(actual, target)

    def _mixed(self, inode: int, path: Path | None, chance: random.Random | None) -> bytes:
        safe = self._contents.get(inode, b"")
        if chance is None:
            return safe
        now = path.read_bytes() if path is not None else safe
        if now == safe:
            return safe
        kind = chance.choice(("safe", "now", "mixture"))
        if kind != "mixture":
            return safe if kind == "safe" else now
        # A sector is the old one or the new one; where there was none, nothing. A file may have grown less far.
        old = safe.ljust(len(now), b"\0")
        sectors = range(0, len(old), SECTOR_BYTES)
        pieces = [chance.choice((now, old))[at : at + SECTOR_BYTES] for at in sectors]
        return b"".join(pieces)[: max(len(safe), chance.randint(0, len(now)))]

    def _keep(self, path: Path) -> None:
        inode = path.stat().st_ino
        if inode not in self._kept:
            self._kept[inode] = os.open(path, os.O_RDONLY)


def _mixed_names(safe: Names, now: Names, chance: random.Random | None) -> Names:
    names = {name for name in {*safe, *now} if safe.get(name) != now.get(name)}
    mixed = {name: inode for name, inode in safe.items() if name not in names}
    for name in sorted(names):
        source = safe if chance is None else chance.choice((safe, now))
        if name in source:
            mixed[name] = source[name]
    return mixed


def _names(folder: Path) -> Names:
    found = {}
    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):
            found[entry.name] = entry.inode()
    return found


def _folders(root: Path) -> Iterator[Path]:
    yield root
    for path in root.rglob("*"):
        if path.is_dir():
            yield path


def _files(folder: Path) -> Iterator[Path]:
    yield from (path for path in folder.iterdir() if path.is_file())


def _everything(root: Path) -> Iterator[Path]:
    yield from root.rglob("*")
