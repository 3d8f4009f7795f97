"""The step that plans: it renders a shard's rows as request lines and packs them into chunks, ready to be sent.

Rule 1: a slice of rows is planned completely or not at all: its files are in place before the ledger names them.
Rule 2: the same rows give the same chunks: a slice starts a new chunk, and chunks are numbered within their shard.
        A canary is a slice of its own, so that it is sent before the rest is planned.
Rule 3: a request that another job has an answer to is not sent: see `reuse`. Nor, on demand, is one that equals an
        earlier one of the job: see `duplicates`.
Rule 4: a row that cannot be a request (too large, null, unrenderable) fails with a reason; its batch does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import xxhash

from orchestrator.dataset.arrow_digest import RowsDigest
from orchestrator.dataset.slices import Slices
from orchestrator.domain.causes import Causes
from orchestrator.domain.changes import Change, ChunkAdded, ShardMoved, written
from orchestrator.domain.dataset import without_dataset
from orchestrator.domain.errors import ConfigError, DatasetError
from orchestrator.domain.model import NEVER_SENT, Canary, Chunk, ChunkId, Claim, Job, JobState, Shard, ShardState
from orchestrator.domain.packing import Packer, text_bytes
from orchestrator.domain.policy import Limits
from orchestrator.domain.reconcile import Answer, RowKey
from orchestrator.domain.required import required
from orchestrator.job_files import records, request_files, result_parts
from orchestrator.job_files.content_keys import ContentKeys
from orchestrator.job_files.reused_parts import AnswersGone, OtherAnswers
from orchestrator.planner.cost import Costing
from orchestrator.planner.duplicates import Asked, DuplicateChunks
from orchestrator.planner.reuse import ReusedChunks, look_up
from orchestrator.ports import Checkpoint, never_interrupted

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.domain.dataset import ShardSpec
    from orchestrator.job_files.asked_keys import AskedKeys
    from orchestrator.planner.render import Renderer
    from orchestrator.planner.reuse import AgreeLength, Found
    from orchestrator.ports import Clock, JobFiles, Ledger, Source

SLICE_ROWS: Final = 100_000
STEP_S_MAX: Final = 30.0  # then the rest of a long shard is left to another step
TOO_LARGE: Final = "request_too_large"
TOO_LARGE_MESSAGE: Final = "the request is {} bytes, over the limit of a whole batch"
BACKLOG_S: Final = 1.0  # how long to pause planning while enough is waiting to be sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """What is needed to plan."""

    source: Source
    renderer: Callable[[int], Renderer]  # of a shard
    limits: Limits
    costing: Costing
    scope: str = ""  # what beside the body determines an answer: see `content_keys`
    answers: OtherAnswers | None = None  # of other jobs; None: there are none to be taken
    asked: AskedKeys | None = None  # where equal requests are sent once: those that this process knows to be planned
    agree_length: AgreeLength | None = None  # where answers are vectors
    slice_rows: int = SLICE_ROWS
    checkpoint: Checkpoint = never_interrupted


@dataclass(slots=True)
class _Slice:
    """A slice being planned."""

    is_canary: bool = False
    chunks: list[Chunk] = field(default_factory=list)
    refused: list[tuple[RowKey, Answer]] = field(default_factory=list)
    digest: RowsDigest = field(default_factory=RowsDigest)
    draft: request_files.LinesDraft = field(default_factory=request_files.LinesDraft)

    @property
    def unsent_count(self) -> int:
        """How many chunks of it are to be sent."""
        return sum(chunk.state not in NEVER_SENT for chunk in self.chunks)

    @property
    def is_sending(self) -> bool:
        """Whether a request of it is to be sent."""
        return self.unsent_count > 0 or self.draft.line_count > 0


def plan(claim: Claim, *, ledger: Ledger, job_files: JobFiles, planning: Planning, clock: Clock) -> None:
    """Plan a shard, slice by slice, until it is planned, enough is waiting to be sent, or time is up."""
    shard = ledger.shard(claim.unit.job_id, required(claim.unit.shard_no, "shard"))
    job = ledger.job(shard.job_id)
    if shard.state is not ShardState.PLANNING:
        return
    try:
        if job.state is JobState.CANCELLING:
            _set_aside(claim, job, shard, ledger=ledger, planning=planning, clock=clock)
        else:
            _plan(claim, job, shard, ledger=ledger, job_files=job_files, planning=planning, clock=clock)
    except AnswersGone:  # the other job's folder was removed meanwhile: the requests are looked up again
        shard = ledger.shard(shard.job_id, shard.shard_no)
        ledger.record(claim, ShardMoved(before=shard, after=shard, due_at=clock.now()), now=clock.now())
    except (ConfigError, DatasetError) as error:
        job, shard = ledger.job(job.id), ledger.shard(job.id, shard.shard_no)
        change = without_dataset(job, shard, ledger.totals(job.id), error, now=clock.now())
        ledger.record(claim, change, now=clock.now())


def _plan(
    claim: Claim,
    job: Job,
    shard: Shard,
    *,
    ledger: Ledger,
    job_files: JobFiles,
    planning: Planning,
    clock: Clock,
) -> None:
    started_at = clock.now()
    renderer = planning.renderer(shard.shard_no)
    spec = planning.source.shards[shard.shard_no]
    batches = rows_for(renderer, planning.source, spec, shard.row_count)
    rows = Slices(batches, shard.row_count, planning.checkpoint)
    asked = Asked(planning.asked)
    asked.read(ledger, job_files, job.id, shard.shard_no)
    last, canary_rows = False, job.policy.canary_rows if job.canary is Canary.WANTED else 0
    while not last:
        planned = _plan_slice(shard, rows, renderer, canary_rows, asked, job_files=job_files, planning=planning)
        canary_rows = 0 if planned.is_sending else canary_rows
        done, now = rows.exhausted(), clock.now()
        after = replace(
            shard,
            state=ShardState.PLANNED if done else ShardState.PLANNING,
            row_count=rows.row,
            chunk_count=shard.chunk_count + len(planned.chunks),
            slice_count=shard.slice_count + 1,
            refused_count=shard.refused_count + len(planned.refused),
            causes=_causes(shard, planned),
        )
        enough = ledger.backlog(job.id) + planned.unsent_count >= job.policy.chunks_ahead_max
        last = done or enough or now - started_at > timedelta(seconds=STEP_S_MAX)
        due_at = now + timedelta(seconds=BACKLOG_S) if enough and not done else now
        added = [
            ChunkAdded(
                chunk=replace(chunk, revision=job.revision),
                rows_by_shard={shard.shard_no: chunk.request_count},
                due_at=_due(chunk, now),
            )
            for chunk in planned.chunks
        ]
        _keep_record(shard, after, added, planned.digest.values(), job_files)
        ledger.record(claim, ShardMoved(before=shard, after=after, due_at=due_at), *added, now=now, keep=not last)
        asked.keep(chunk.name for chunk in planned.chunks)
        shard = written(after)


def rows_for(renderer: Renderer, source: Source, shard: ShardSpec, row_start: int = 0) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a shard, as the renderer takes them."""
    for batch in source.batches(shard, columns=renderer.columns, row_start=row_start):
        step = renderer.rows_max or max(1, batch.num_rows)
        for offset in range(0, batch.num_rows, step):
            yield batch.slice(offset, step)


def _plan_slice(
    shard: Shard,
    rows: Slices,
    renderer: Renderer,
    canary_rows: int,
    asked: Asked,
    *,
    job_files: JobFiles,
    planning: Planning,
) -> _Slice:
    """Render and pack a slice, and write its request files. The ledger does not name them yet.

    Args:
        canary_rows: not 0: the slice is the canary, and ends after so many rows, unless none of them is a request.
        asked: the requests of the job up to here, where duplicates of them are looked for.
    """
    planned, packer = _Slice(is_canary=canary_rows > 0), Packer(planning.limits)
    keys = ContentKeys(renderer.envelope, planning.scope)
    never_sent = _NeverSent(shard, planned, asked, job_files=job_files, planning=planning)
    slice_end = (shard.row_count // planning.slice_rows + 1) * planning.slice_rows
    for start, batch in _rows_of_slice(rows, slice_end, canary_rows, planned):
        planned.digest.add(batch)
        rendered = renderer.render(batch, row_start=start)
        for refusal in rendered.refused:
            planned.refused.append(((shard.shard_no, start + refusal.offset), _failed(refusal.code, refusal.message)))
        for found in look_up(rendered.lines, start, keys, planning.answers, planning.asked):
            key, size_bytes, text = (shard.shard_no, found.row), len(found.line), text_bytes(found.line)
            if packer.too_large(size_bytes, text):
                planned.refused.append((key, _failed(TOO_LARGE, TOO_LARGE_MESSAGE.format(size_bytes))))
                continue
            if never_sent.takes(found):
                continue
            if packer.starts_new(size_bytes, text):
                _close(shard, planned, job_files=job_files, planning=planning)
            planned.draft.add(found.line, key, found.content_key)
    if planned.draft.line_count:
        _close(shard, planned, job_files=job_files, planning=planning)
    never_sent.close()
    if planned.refused:
        _write_refused(job_files, shard, planned.refused)
    return planned


class _NeverSent:
    """Makes chunks of the requests of a slice that are not sent: another job, or an equal request, has the answer."""

    def __init__(self, shard: Shard, planned: _Slice, asked: Asked, *, job_files: JobFiles, planning: Planning) -> None:
        self._shard, self._planned, self._asked = shard, planned, asked
        self._job_files, self._agree_length = job_files, planning.agree_length
        self._reused = ReusedChunks(shard.shard_no, planning.limits, planning.answers)
        self._duplicates = DuplicateChunks(shard.shard_no, planning.limits)

    def takes(self, found: Found) -> bool:
        """Take a request that is not sent; return whether it is one."""
        if found.is_answered:
            self._reused.add(found, self._close_reused)
            return True
        if self._asked.before(found):
            self._duplicates.add(found, self._close_duplicates)
            return True
        return False

    def close(self) -> None:
        """Put the last chunks in place."""
        if self._reused:
            self._close_reused()
        if self._duplicates:
            self._close_duplicates()

    def _close_reused(self) -> None:
        name = _name(self._shard, self._planned)
        self._planned.chunks.append(self._reused.close(self._shard.job_id, name, self._job_files, self._agree_length))

    def _close_duplicates(self) -> None:
        name = _name(self._shard, self._planned)
        self._planned.chunks.append(self._duplicates.close(self._shard.job_id, name, self._job_files))


def _rows_of_slice(
    rows: Slices, slice_end: int, canary_rows: int, planned: _Slice
) -> Iterator[tuple[int, pa.RecordBatch]]:
    if not canary_rows:
        yield from rows.until(slice_end)
    while canary_rows and not planned.is_sending and rows.row < slice_end and not rows.exhausted():
        yield from rows.until(min(rows.row + canary_rows, slice_end))


def _name(shard: Shard, planned: _Slice) -> str:
    """Return the name of the next chunk of a slice."""
    return f"c{shard.shard_no:05d}-{shard.chunk_count + len(planned.chunks):05d}"


def _due(chunk: Chunk, now: datetime) -> datetime | None:
    return None if chunk.state in NEVER_SENT else now


def _close(shard: Shard, planned: _Slice, *, job_files: JobFiles, planning: Planning) -> None:
    """Put the request file of a slice's next chunk in place."""
    name, draft = _name(shard, planned), planned.draft
    chunk = planning.costing.chunk(shard.job_id, name, draft.write(job_files, name))
    chunk = replace(chunk, shard_no=shard.shard_no, row_start=draft.row_start, row_end=draft.row_end)
    planned.chunks.append(replace(chunk, is_canary=planned.is_canary))
    planned.draft = request_files.LinesDraft()


def _causes(shard: Shard, planned: _Slice) -> str:
    """Return why rows of the shard could not be requests, those of this slice included."""
    causes = Causes.of(shard.causes)
    for key, answer in planned.refused:
        causes.add(answer.error_code, key)
    return causes.text()


def _failed(code: str, message: str) -> Answer:
    return Answer(succeeded=False, error_code=code, error_message=message)


def _write_refused(job_files: JobFiles, shard: Shard, refused: list[tuple[RowKey, Answer]]) -> None:
    refused.sort(key=lambda pair: pair[0])
    content = repr([(key, answer.error_code) for key, answer in refused]).encode()
    # Named by content: a file of a plan that was never recorded is harmless, because an answer replaces a refusal.
    folder = request_files.refusals_folder(shard.shard_no)
    name = f"{folder}/{shard.slice_count:05d}.{xxhash.xxh3_64_hexdigest(content)}.parquet"
    with job_files.create(name) as file:
        result_parts.write_part(file, iter(refused), batch_id="", round=0, fees_usd=None, price=None)


def _keep_record(
    before: Shard, after: Shard, added: list[ChunkAdded], digests: dict[str, str], job_files: JobFiles
) -> None:
    records.keep_slice(
        job_files,
        records.SlicePlan(
            shard_no=before.shard_no,
            slice_no=before.slice_count,
            row_start=before.row_count,
            row_end=after.row_count,
            refused_count=after.refused_count - before.refused_count,
            causes=after.causes,
            last=after.state is ShardState.PLANNED,
            chunks=tuple(records.PlannedChunk.of(one.chunk, one.rows_by_shard) for one in added),
            digests=digests,
        ),
    )


def _set_aside(claim: Claim, job: Job, shard: Shard, *, ledger: Ledger, planning: Planning, clock: Clock) -> None:
    """Represent the rows that were not planned when the job was cancelled by a chunk without requests."""
    spec = planning.source.shards[shard.shard_no]
    total = spec.row_count
    if total is None:
        read = planning.source.batches(spec, columns=planning.source.schema.names[:1], row_start=shard.row_count)
        total = shard.row_count + sum(batch.num_rows for batch in read)
    now, count = clock.now(), total - shard.row_count
    after = replace(shard, state=ShardState.PLANNED, row_count=total)
    changes: list[Change] = [ShardMoved(before=shard, after=after, due_at=now)]
    if count:
        rest = Chunk(
            id=ChunkId(f"{shard.job_id}/c{shard.shard_no:05d}-rest"),
            job_id=shard.job_id,
            shard_no=shard.shard_no,
            row_start=shard.row_count,
            row_end=total,
            revision=job.revision,
            request_count=count,
            request_bytes=0,
            requests="",
        )
        changes.append(ChunkAdded(chunk=rest, rows_by_shard={shard.shard_no: count}, due_at=now))
    ledger.record(claim, *changes, now=now)
