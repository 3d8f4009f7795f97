"""Requests that equal an earlier one of the job: on demand each is sent once, and the other rows get what it came to.

Rule 1: they are in chunks of their own, which are never sent. Their request files are kept all the same: a person may
        send their rows again.
Rule 2: a duplicate gets an answer once nothing of the job is under way or waits to be sent again: then the equal
        request has succeeded or failed for good. Where that failed, its duplicates fail with the same error,
        and wait again where a person has it sent again.
Rule 3: duplicates are found within `SLICE_ROWS` rows of one shard, so that memory is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Final

from orchestrator.domain import lifecycle
from orchestrator.domain.causes import Causes
from orchestrator.domain.changes import Change, ChunkMoved, RowsSettled
from orchestrator.domain.lifecycle import AnswersCopied
from orchestrator.domain.model import Chunk, ChunkId, ChunkState, Job, JobId, Tally
from orchestrator.domain.packing import Packer
from orchestrator.domain.policy import Limits
from orchestrator.domain.reconcile import Answer
from orchestrator.domain.required import required
from orchestrator.domain.row_kinds import FLAWED
from orchestrator.job_files import records, request_files, reused_parts
from orchestrator.job_files.content_keys import KEY_BYTES
from orchestrator.job_files.request_files import LinesDraft
from orchestrator.job_files.result_parts import GROUP_ROWS_MAX, part_writer
from orchestrator.job_files.reused_parts import BLOCK_ROWS_MIN, OtherJob, OwnAnswers

if TYPE_CHECKING:
    from orchestrator.planner.reuse import Found
    from orchestrator.ports import Contribution, JobFiles, Ledger

AT_ONCE: Final = 100  # chunks settled in one step
ROWS_MAX: Final = 10_000  # of a chunk


class Asked:
    """The requests that are sent, of the rows that duplicates are looked for among."""

    def __init__(self, is_wanted: bool = False) -> None:
        """`is_wanted`: whether duplicates are looked for at all."""
        self._is_wanted = is_wanted
        self._keys = set[bytes]()

    def add(self, content_keys: Iterable[bytes]) -> None:
        """Add requests that an earlier step has planned."""
        self._keys.update(content_keys)

    def begin(self, row_start: int, slice_rows: int) -> None:
        """Begin a slice of a shard; the rows after a canary go with those of the canary."""
        if row_start % slice_rows == 0:
            self._keys.clear()

    def before(self, content_key: bytes) -> bool:
        """Return whether an equal request is sent already; if not, this one is."""
        if not self._is_wanted or content_key in self._keys:
            return self._is_wanted
        self._keys.add(content_key)
        return False


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


def settle_duplicates(job: Job, *, ledger: Ledger, job_files: JobFiles) -> list[Change]:
    """Give duplicates what their requests came to, and return what the ledger must know."""
    # Read first: by then the equal requests are planned. So if nothing is under way afterwards, they are settled.
    found = ledger.duplicates(job.id, limit=AT_ONCE)
    outlook = ledger.outlook(job.id)
    if not outlook.copying or outlook.waiting:
        return []
    changes = list[Change]()
    for shard_no, chunks in groupby(found, key=lambda chunk: required(chunk.shard_no, "shard")):
        ended = ledger.contributions(job.id, shard_no)
        parts = [one.chunk.part for one in ended if one.chunk.part]
        own = OwnAnswers(OtherJob(job_id=job.id, job_files=job_files), parts)
        reasons = dict(_reasons(ended, job_files))
        for chunk in chunks:
            changes += _settled(chunk, own, reasons, job.revision, job_files)
    return changes


def _reasons(ended: list[Contribution], job_files: JobFiles) -> Iterator[tuple[bytes, Answer]]:
    """Yield why requests have failed whose chunk was given up as a whole."""
    for chunk in (one.chunk for one in ended):
        if chunk.requests and not chunk.part:
            reason = Answer(succeeded=False, error_code=chunk.error_code, error_message=chunk.error)
            yield from ((key, reason) for key in request_files.content_keys(job_files, chunk))


def _settled(
    chunk: Chunk, own: OwnAnswers, reasons: dict[bytes, Answer], revision: int, job_files: JobFiles
) -> list[Change]:
    shard_no = required(chunk.shard_no, "shard")
    part = reused_parts.part_name(chunk.requests, revision)
    rows = [row for _, row in request_files.row_keys(job_files, chunk)]
    keys = b"".join(request_files.content_keys(job_files, chunk))
    with job_files.create(part) as out, part_writer(out) as writer:
        for start in range(0, len(rows), BLOCK_ROWS_MIN):
            end = start + BLOCK_ROWS_MIN
            block = keys[start * KEY_BYTES : end * KEY_BYTES]
            table = own.outcomes(shard_no=shard_no, rows=rows[start:end], keys=block, reasons=reasons)
            writer.write_table(table, row_group_size=GROUP_ROWS_MAX)
    tally, causes = _counted(part, job_files)
    after = replace(lifecycle.advance(chunk, AnswersCopied(part, tally)), causes=causes)
    records.keep_copied(job_files, revision, records.PlannedChunk.of(after, {shard_no: chunk.request_count}))
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
