"""The `JobFiles` port on a disk that can lose its power: the order of syncs is that of `storage.local`.

    written, content synced -> linked (every reader sees it) -> folder synced (it stays, whatever happens)

Rule 1: what is linked and whose folder was not synced may be there after a power loss, or not.
Rule 2: a sync of a folder keeps everything in it; and so does the operating system by itself, after a while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

from tests.fakes.dice import Dice
from tests.fakes.job_files import MemoryJobFiles, refuse_outside

WRITEBACK_S: Final = 30.0


def _nowhere(_label: str) -> None:
    """Where nobody can be stopped."""


class SimulatedDisk(MemoryJobFiles):
    """A job's files; `files` is what a reader sees."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed_s: Callable[[], float] = lambda: 0.0
        self.between: Callable[[str], None] = _nowhere  # where a worker can be stopped
        self._unsynced: dict[str, float] = {}  # name: linked at, its folder not synced since

    def exists(self, name: str) -> bool:
        """Say whether a file is in place; whoever is told so may rely on it."""
        found = super().exists(name)
        if found:
            self._sync_folder(name)
        return found

    def _place(self, name: str, content: bytes) -> None:
        if name not in self.files:
            self.files[name] = content
            self._unsynced[name] = self.elapsed_s()
            self.between(f"disk {name} linked")
        self._sync_folder(name)

    def _sync_folder(self, name: str) -> None:
        folder = name.rpartition("/")[0]
        self._unsynced = {other: at for other, at in self._unsynced.items() if other.rpartition("/")[0] != folder}

    def lose_power(self, dice: Dice) -> list[str]:
        """Lose what was not safe, or some of it; return the names."""
        limit_s = self.elapsed_s() - WRITEBACK_S
        risked = [name for name, at in self._unsynced.items() if at > limit_s]
        lost = [name for name in risked if dice.fires("unsynced_lost", 0.5)]
        self._unsynced.clear()
        for name in lost:
            self._lose(name, dice)
        return lost

    def _lose(self, name: str, _dice: Dice) -> None:
        self.files.pop(name, None)


class InPlaceDisk(SimulatedDisk):
    """A disk on which a file is written where everybody can see it."""

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for writing; from now on it is there."""
        refuse_outside(name)
        with super().create(name) as draft:
            self.files.setdefault(name, b"")
            yield draft
            self.files[name] = draft.getvalue()[: len(draft.getvalue()) // 2]  # type: ignore[attr-defined]
            self.between(f"disk {name} half written")
            self.files.pop(name)
