"""Requests that other jobs have an answer to: they are not sent, the answers are copied.

Rule 1: such requests are in chunks of their own, which are never sent. Their request files are kept all the same: a
        person may ask for another answer.
Rule 2: the answers are copied into this job's own part before the ledger knows of the chunk: the other job's folder may
        go away afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from orchestrator.domain.model import Chunk, ChunkId, ChunkState, JobId, Tally
from orchestrator.domain.packing import Packer
from orchestrator.domain.policy import Limits
from orchestrator.domain.required import required
from orchestrator.domain.row_kinds import FLAWED
from orchestrator.job_files import reused_parts
from orchestrator.job_files.answer_index import ABSENT
from orchestrator.job_files.content_keys import ContentKeys
from orchestrator.job_files.request_files import LinesDraft
from orchestrator.job_files.reused_parts import OtherAnswers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.job_files.asked_keys import AskedKeys
    from orchestrator.ports import JobFiles

    AgreeLength: TypeAlias = Callable[[JobFiles, int], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A request line of a batch of rows: its key, and the place of another job's answer to it."""

    row: int
    line: bytes
    content_key: bytes
    place: int  # ABSENT where there is none
    is_repeated: bool = False  # an equal request is planned already, in an earlier slice of the job

    @property
    def is_answered(self) -> bool:
        """Whether another job has an answer."""
        return self.place != ABSENT


def look_up(
    lines: Sequence[bytes | None],
    row_start: int,
    keys: ContentKeys,
    answers: OtherAnswers | None,
    asked: AskedKeys | None = None,
) -> Iterator[Found]:
    """Yield the lines of a batch that are there, with what other jobs have, and what this one has `asked` before."""
    there = [(row, line, keys.of(line)) for row, line in enumerate(lines, row_start) if line is not None]
    every = b"".join(key for _, _, key in there)
    places: Sequence[int] = [ABSENT] * len(there) if answers is None else answers.find(every).tolist()
    repeated: Sequence[bool] = [False] * len(there) if asked is None else asked.find(every).tolist()
    for (row, line, key), place, is_repeated in zip(there, places, repeated, strict=True):
        yield Found(row=row, line=line, content_key=key, place=place, is_repeated=is_repeated)


class ReusedChunks:
    """Makes chunks of the requests of a slice that other jobs have answered."""

    def __init__(self, shard_no: int, limits: Limits, answers: OtherAnswers | None) -> None:
        """`limits`: only their bytes count here."""
        self._shard_no, self._answers = shard_no, answers
        self._packer = Packer(replace(limits, requests_max=reused_parts.BLOCK_ROWS_MAX, tokens_max=None))
        self._draft = LinesDraft()
        self._rows = list[int]()
        self._places = list[int]()
        self._keys = bytearray()

    def add(self, found: Found, close: Callable[[], None]) -> None:
        """Add a request; `close` is called where it would be too much for one chunk."""
        if self._packer.starts_new(len(found.line)):
            close()
        self._draft.add(found.line, (self._shard_no, found.row), found.content_key)
        self._rows.append(found.row)
        self._places.append(found.place)
        self._keys += found.content_key

    def __bool__(self) -> bool:
        """Whether there are requests that are in no chunk yet."""
        return bool(self._rows)

    def close(self, job_id: JobId, name: str, job_files: JobFiles, agree: AgreeLength | None) -> Chunk:
        """Put the files of a chunk in place, and return it. Raises AnswersGone.

        Args:
            agree: makes the length of the job's vectors known.
        """
        written = self._draft.write(job_files, name)
        part = reused_parts.part_name(written.name)
        places: Any = np.array(self._places, np.int64)
        with job_files.create(part) as out:
            required(self._answers, "answers").copy(
                out, shard_no=self._shard_no, rows=self._rows, keys=bytes(self._keys), places=places
            )
        if agree is not None and (length := reused_parts.vector_length(job_files, part)) is not None:
            agree(job_files, length)
        codes = reused_parts.error_codes(job_files, part)  # of the part in place, which another try may have written
        flaws = {f"{kind}_answers": codes[kind.value] for kind in FLAWED}
        chunk = Chunk(
            id=ChunkId(f"{job_id}/{name}"),
            job_id=job_id,
            shard_no=self._shard_no,
            row_start=self._draft.row_start,
            row_end=self._draft.row_end,
            round=0,
            request_count=written.line_count,
            request_bytes=written.size_bytes,
            requests=written.name,
            state=ChunkState.REUSED,
            part=part,
            tally=Tally(succeeded=written.line_count, **flaws),
        )
        self._draft = LinesDraft()
        self._rows.clear()
        self._places.clear()
        self._keys.clear()
        return chunk
