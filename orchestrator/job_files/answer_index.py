"""Where the answers to requests are: content keys in order, each with its place, looked up many at a time.

Rule 1: memory is bounded, to make it and to use it: above `SPILL_ROWS` the keys are sorted in pieces on the local disk
        (TMPDIR), and memory-mapped. The files have no name any more once the index is made: they go with the process.
Rule 2: of two places of one key the one that was added first counts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from orchestrator.job_files.content_keys import KEY_BYTES

SPILL_ROWS: Final = 2_000_000  # of 24 bytes each
BLOCK_ROWS: Final = 500_000
PIECES: Final = 256  # by the first byte of the key
ABSENT: Final = -1
COLUMNS: Final = ("high", "low", "place")
_ENTRY: Final = np.dtype([(name, "<u8") for name in COLUMNS])


def halves(keys: bytes) -> Any:
    """Return content keys, one after the other, as an array of two unsigned numbers a key."""
    return np.frombuffer(keys, ">u8").astype(np.uint64).reshape(-1, 2)


class AnswerIndex:
    """Keys in order, and the place of each."""

    def __init__(self, high: Any, low: Any, place: Any) -> None:
        self._high, self._low, self._place = high, low, place

    def __len__(self) -> int:
        """Return how many different keys there are."""
        return len(self._high)

    def blocks(self) -> Iterator[Any]:
        """Yield the keys and places, as `IndexDraft.take` takes them, some at a time."""
        for start in range(0, len(self), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            entries = np.empty(len(self._high[block]), _ENTRY)
            for name, column in zip(COLUMNS, (self._high, self._low, self._place), strict=True):
                entries[name] = column[block]
            yield entries

    def find(self, keys: bytes) -> Any:
        """Return the place of each of these keys, ABSENT where there is none. A place is an int64."""
        wanted = halves(keys)
        found = np.full(len(wanted), ABSENT, np.int64)
        order = np.argsort(wanted[:, 0])  # neighbours are looked up one after the other, on the same page of the file
        at = np.empty(len(wanted), np.int64)
        at[order] = np.searchsorted(self._high, wanted[order, 0])
        left = np.arange(len(wanted))
        while True:  # as often as keys have the same first half: once
            left = left[at[left] < len(self._high)]
            left = left[self._high[at[left]] == wanted[left, 0]]
            if not len(left):
                return found
            is_it = self._low[at[left]] == wanted[left, 1]
            found[left[is_it]] = self._place[at[left[is_it]]]
            left = left[~is_it]
            at[left] += 1


class IndexDraft:
    """An index being made."""

    def __init__(self, spill_rows: int = SPILL_ROWS) -> None:
        self._spill_rows = spill_rows
        self._held: list[Any] = []
        self._held_count = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def add(self, keys: bytes, places: Any) -> None:
        """Add keys, one after the other, and the place of each."""
        entries = np.empty(len(keys) // KEY_BYTES, _ENTRY)
        pair = halves(keys)
        entries["high"], entries["low"], entries["place"] = pair[:, 0], pair[:, 1], places
        self.take(entries)

    def take(self, entries: Any) -> None:
        """Add keys with their places, as an index gives them."""
        self._held.append(entries)
        self._held_count += len(entries)
        if self._held_count >= self._spill_rows:
            self._spill()

    def close(self) -> AnswerIndex:
        """Return the index."""
        if self._folder is None:
            entries = _sorted(self._taken())
            return AnswerIndex(*(np.ascontiguousarray(entries[name]) for name in COLUMNS))
        self._spill()
        count = 0
        with self._folder as folder, ExitStack() as stack:
            outs = [stack.enter_context(Path(folder, name).open("w+b")) for name in COLUMNS]
            for piece in range(PIECES):
                path = Path(folder, str(piece))
                if path.exists():
                    entries = _sorted(np.fromfile(path, _ENTRY))
                    count += len(entries)
                    for out, name in zip(outs, COLUMNS, strict=True):
                        np.ascontiguousarray(entries[name]).tofile(out)
                    path.unlink()
            mapped = [np.memmap(out, np.uint64, "r", shape=(count,)) for out in outs]
        return AnswerIndex(*mapped)

    def _spill(self) -> None:
        """Append what is held to the files of the pieces."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="answers-")
        entries = self._taken()
        piece = (entries["high"] >> np.uint64(56)).astype(np.int64)
        order = np.argsort(piece, kind="stable")
        ends = np.searchsorted(piece[order], np.arange(PIECES + 1))
        for number, (start, end) in enumerate(pairwise(ends)):
            if end > start:
                with Path(self._folder.name, str(number)).open("ab") as out:
                    entries[order[start:end]].tofile(out)

    def _taken(self) -> Any:
        entries = np.concatenate(self._held) if self._held else np.empty(0, _ENTRY)
        self._held, self._held_count = [], 0
        return entries


def _sorted(entries: Any) -> Any:
    """Return the entries in the order of their keys, each key once: its first entry."""
    entries = entries[np.lexsort((entries["low"], entries["high"]))]  # stable
    is_first = np.ones(len(entries), bool)
    is_first[1:] = (entries["high"][1:] != entries["high"][:-1]) | (entries["low"][1:] != entries["low"][:-1])
    return entries[is_first]
