"""Which requests a job has planned so far: their content keys, in sorted runs, looked up many at a time.

Rule: memory is bounded: runs of like size are merged into one, and above `SPILL_ROWS` a run is on the local disk (see
`answer_index`). So there are few runs, and each key is written again a few times.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from orchestrator.job_files.answer_index import ABSENT, AnswerIndex, IndexDraft
from orchestrator.job_files.content_keys import KEY_BYTES

SPILL_ROWS: Final = 500_000  # of 24 bytes each


class AskedKeys:
    """The content keys of chunks; each chunk is added once. Safe for threads."""

    def __init__(self, spill_rows: int = SPILL_ROWS) -> None:
        self._spill_rows = spill_rows
        self._runs: list[AnswerIndex] = []  # each more than twice as long as the next
        self._chunks = set[str]()
        self._shards = set[int]()
        self._lock = threading.Lock()

    def has_chunk(self, name: str) -> bool:
        """Return whether the keys of a chunk are there."""
        return name in self._chunks

    def has_shard(self, shard_no: int) -> bool:
        """Return whether the keys of all chunks of a shard are there."""
        return shard_no in self._shards

    def add_shard(self, shard_no: int) -> None:
        """Note that the keys of all chunks of a shard are there."""
        with self._lock:
            self._shards.add(shard_no)
            self._chunks.clear()  # so that their names do not add up: a key that is added again changes nothing

    def find(self, keys: bytes) -> Any:
        """Return of each of these keys whether it is there, as an array of booleans."""
        with self._lock:
            runs = list(self._runs)
        found = np.zeros(len(keys) // KEY_BYTES, bool)
        for run in runs:
            found |= run.find(keys) != ABSENT
        return found

    def add(self, chunks: Iterable[str], keys: bytes) -> None:
        """Add the keys of these chunks, one after the other."""
        with self._lock:
            self._chunks.update(chunks)
            if not keys:
                return
            draft = IndexDraft(self._spill_rows)
            draft.add(keys, np.zeros(len(keys) // KEY_BYTES, np.int64))
            run = draft.close()
            while self._runs and len(self._runs[-1]) <= 2 * len(run):
                run = self._merged(self._runs.pop(), run)
            self._runs.append(run)

    def _merged(self, *runs: AnswerIndex) -> AnswerIndex:
        draft = IndexDraft(self._spill_rows)
        for run in runs:
            for entries in run.blocks():
                draft.take(entries)
        return draft.close()
