"""Requests that equal an earlier one of the job: on demand each is sent once, and the other rows get what it came to.

Rule 1: they are in chunks of their own, which are never sent. Their request files are kept all the same: a person may
        send their rows again.
Rule 2: a duplicate gets an answer once the job is planned, and nothing of it is under way or waits to be sent again:
        then the equal request has succeeded or failed for good. Where that failed, its duplicates fail with the same
        error, and wait again where a person has it sent again.
Rule 3: the shards of such a job are planned in order, one at a time: a request is compared with all earlier ones. Which
        these are is in the ledger, and their keys are in the job's folder; a process keeps those that it has read.
Rule 4: memory is bounded, however many rows there are: keys are in sorted runs on the local disk, and answers are
        fetched for as many rows at once as have `BLOCK_BYTES` of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from orchestrator.domain import lifecycle
from orchestrator.domain.causes import Causes
from orchestrator.domain.changes import Change, ChunkMoved, RowsSettled
from orchestrator.domain.lifecycle import AnswersCopied
from orchestrator.domain.model import NEVER_SENT, Chunk, ChunkId, ChunkState, Job, JobId, Tally
from orchestrator.domain.packing import Packer
from orchestrator.domain.policy import Limits
from orchestrator.domain.progress import may_copy
from orchestrator.domain.reconcile import Answer
from orchestrator.domain.required import required
from orchestrator.domain.row_kinds import FLAWED
from orchestrator.job_files import records, request_files, reused_parts
from orchestrator.job_files.answer_index import ABSENT, IndexDraft
from orchestrator.job_files.content_keys import KEY_BYTES
from orchestrator.job_files.request_files import LinesDraft
from orchestrator.job_files.result_parts import GROUP_ROWS_MAX, part_writer
from orchestrator.job_files.reused_parts import NO_REASON, OtherJob, OwnAnswers, as_own

if TYPE_CHECKING:
    from orchestrator.job_files.asked_keys import AskedKeys
    from orchestrator.planner.reuse import Found
    from orchestrator.ports import JobFiles, Ledger

AT_ONCE: Final = 100  # chunks settled in one transaction
ROWS_MAX: Final = 10_000  # of a chunk
ROWS_AT_ONCE_MAX: Final = 400_000  # whose answers are fetched together: each part is read once for them
_NOT_SENT: Final = frozenset({*NEVER_SENT, ChunkState.SPLIT})  # the requests of one that was cut are in its halves


class _Piece(NamedTuple):
    """Rows of a chunk."""

    chunk: Chunk
    rows: list[int]
    keys: bytes


class Asked:
    """The requests that a job has planned up to here."""

    def __init__(self, earlier: AskedKeys | None = None) -> None:
        """`earlier`: those of the slices before; None: duplicates are not looked for."""
        self._earlier = earlier
        self._keys = set[bytes]()  # of the slice that is being planned

    def read(self, ledger: Ledger, job_files: JobFiles, job_id: JobId, shard_no: int) -> None:
        """Read what the ledger has of the shards before this one and of itself, as far as it is not known yet."""
        if (known := self._earlier) is None:
            return
        for number in range(shard_no + 1):
            if known.has_shard(number):
                continue
            for chunk in ledger.planned(job_id, number):
                if not known.has_chunk(chunk.name):
                    known.add([chunk.name], b"".join(request_files.content_keys(job_files, chunk)))
            if number < shard_no:
                known.add_shard(number)

    def before(self, found: Found) -> bool:
        """Return whether an equal request is planned already; if not, this one is."""
        if self._earlier is None or found.is_repeated or found.content_key in self._keys:
            return self._earlier is not None
        self._keys.add(found.content_key)
        return False

    def keep(self, chunks: Iterable[str]) -> None:
        """Note that the slice is planned, by chunks of these names."""
        if self._earlier is not None:
            self._earlier.add(chunks, b"".join(self._keys))
            self._keys.clear()


class DuplicateChunks:
    """Makes chunks of the requests of a slice that equal an earlier one."""

    def __init__(self, shard_no: int, limits: Limits) -> None:
        """`limits`: only their bytes count here."""
        self._shard_no = shard_no
        self._packer = Packer(replace(limits, requests_max=ROWS_MAX, tokens_max=None))
        self._draft = LinesDraft()

    def add(self, found: Found, close: Callable[[], None]) -> None:
        """Add a request; `close` is called where it would be too much for one chunk."""
        if self._packer.starts_new(len(found.line)):
            close()
        self._draft.add(found.line, (self._shard_no, found.row), found.content_key)

    def __bool__(self) -> bool:
        """Whether there are requests that are in no chunk yet."""
        return self._draft.line_count > 0

    def close(self, job_id: JobId, name: str, job_files: JobFiles) -> Chunk:
        """Put the request file of a chunk in place, and return it."""
        draft, self._draft = self._draft, LinesDraft()
        written = draft.write(job_files, name)
        return Chunk(
            id=ChunkId(f"{job_id}/{name}"),
            job_id=job_id,
            shard_no=self._shard_no,
            row_start=draft.row_start,
            row_end=draft.row_end,
            round=0,
            request_count=written.line_count,
            request_bytes=written.size_bytes,
            requests=written.name,
            state=ChunkState.DUPLICATE,
        )


def settle_duplicates(job: Job, *, ledger: Ledger, job_files: JobFiles) -> Iterator[list[Change]]:
    """Give duplicates what their requests came to, and yield what the ledger must know, some chunks at a time.

    The next ones are looked for once the ledger knows.
    """
    outcomes: _Outcomes | None = None
    # Read first: by then the equal requests are planned. So if nothing is under way afterwards, they are settled.
    while found := ledger.duplicates(job.id, limit=AT_ONCE):
        if not may_copy(job, ledger.outlook(job.id)):
            return
        outcomes = outcomes or _Outcomes(job, ledger=ledger, job_files=job_files)
        yield outcomes.settled(found)


class _Outcomes:
    """What the requests of a job came to that were sent."""

    def __init__(self, job: Job, *, ledger: Ledger, job_files: JobFiles) -> None:
        self._job_files, self._revision = job_files, job.revision
        shards = (shard.shard_no for shard in ledger.shards(job.id))
        found = (one.chunk for shard_no in shards for one in ledger.contributions(job.id, shard_no))
        sent = {chunk.id: chunk for chunk in found if chunk.requests and chunk.state not in _NOT_SENT}
        ended = sorted(sent.values(), key=lambda chunk: (chunk.round, chunk.id))
        self._answers = OwnAnswers(
            OtherJob(job_id=job.id, job_files=job_files), [chunk.part for chunk in ended if chunk.part]
        )
        self._reasons, draft = list[Answer](), IndexDraft()  # why requests have failed whose chunk was given up whole
        for chunk in reversed(ended):
            if not chunk.part:
                keys = request_files.content_keys(job_files, chunk)
                draft.add(b"".join(keys), np.full(len(keys), len(self._reasons), np.int64))
                self._reasons.append(Answer(succeeded=False, error_code=chunk.error_code, error_message=chunk.error))
        self._reason_of = draft.close()

    def settled(self, chunks: Iterable[Chunk]) -> list[Change]:
        """Put the parts of these chunks in place; return what the ledger must know."""
        with ExitStack() as stack:
            writers = dict[ChunkId, Any]()
            for pieces in self._groups(chunks):
                table = self._fetched(b"".join(piece.keys for piece in pieces))
                start = 0
                for piece in pieces:
                    if piece.chunk.id not in writers:
                        out = stack.enter_context(self._job_files.create(self._part(piece.chunk)))
                        writers[piece.chunk.id] = stack.enter_context(part_writer(out))
                    rows = table.slice(start, len(piece.rows))
                    own = as_own(rows, required(piece.chunk.shard_no, "shard"), piece.rows)
                    writers[piece.chunk.id].write_table(own, row_group_size=GROUP_ROWS_MAX)
                    start += len(piece.rows)
        return [change for chunk in chunks for change in self._changes(chunk)]

    def _groups(self, chunks: Iterable[Chunk]) -> Iterator[list[_Piece]]:
        """Yield rows of these chunks, as many at once as answers may be held."""
        rows_max, group = self._answers.rows_at_once(ROWS_AT_ONCE_MAX), list[_Piece]()
        for chunk in chunks:
            rows = [row for _, row in request_files.row_keys(self._job_files, chunk)]
            keys = b"".join(request_files.content_keys(self._job_files, chunk))
            for start in range(0, len(rows), rows_max):
                end = start + rows_max
                piece = _Piece(chunk, rows[start:end], keys[start * KEY_BYTES : end * KEY_BYTES])
                if group and sum(len(one.rows) for one in group) + len(piece.rows) > rows_max:
                    yield group
                    group = []
                group.append(piece)
        if group:
            yield group

    def _fetched(self, keys: bytes) -> Any:
        numbers = self._reason_of.find(keys)

        def reason(place: int) -> Answer:
            return NO_REASON if numbers[place] == ABSENT else self._reasons[numbers[place]]

        return self._answers.outcomes(keys, reason)

    def _part(self, chunk: Chunk) -> str:
        return reused_parts.part_name(chunk.requests, self._revision)

    def _changes(self, chunk: Chunk) -> list[Change]:
        part, shard_no = self._part(chunk), required(chunk.shard_no, "shard")
        tally, causes = _counted(part, self._job_files)
        after = replace(lifecycle.advance(chunk, AnswersCopied(part, tally)), causes=causes)
        planned = records.PlannedChunk.of(after, {shard_no: chunk.request_count})
        records.keep_copied(self._job_files, self._revision, planned)
        failed = {shard_no: tally.failed} if tally.failed else {}
        return [
            ChunkMoved(before=chunk, after=after, due_at=None),
            RowsSettled(chunk_id=chunk.id, by_shard={shard_no: chunk.request_count}, failed=failed),
        ]


def _counted(part: str, job_files: JobFiles) -> tuple[Tally, str]:
    """Return what the part in place holds, which another try may have written, and why rows of it have failed."""
    succeeded, failed, causes = 0, 0, Causes()
    flaws = {kind.value: 0 for kind in FLAWED}
    for key, is_answered, code in reused_parts.outcomes(job_files, part):
        if not is_answered:
            failed += 1
            causes.add(code, key)
            continue
        succeeded += 1
        if code in flaws:
            flaws[code] += 1
    tally = Tally(succeeded=succeeded, failed=failed, **{f"{kind}_answers": count for kind, count in flaws.items()})
    return tally, causes.text()
