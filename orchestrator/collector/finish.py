"""The step that finishes a shard: it reads the source rows again and writes them with their answers as output parts.

Rule 1: one output part for each slice; the part and its record are in place before the ledger counts it.
Rule 2: a source that has changed since it was planned stops the job: an answer is never written beside another row.
Rule 3: a part is digested while it is written; only a part that an interrupted step left without a record is read.
Rule 4: all parts have one schema. A shard without any vector waits while another may still bring the job's first one,
        whose length is part of the schema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.collector.join import Gap, Join, Spent
from orchestrator.collector.same_rows import SameRows, first_other_row, planned_slices
from orchestrator.collector.typed_answers import TypedAnswers
from orchestrator.collector.vectors import Vectors
from orchestrator.dataset.groups import groups
from orchestrator.dataset.slices import Slices
from orchestrator.domain.changes import ShardMoved, written
from orchestrator.domain.dataset import without_dataset
from orchestrator.domain.errors import DatasetError, OutputError
from orchestrator.domain.model import Claim, Job, Shard, ShardState
from orchestrator.domain.policy import OutputOptions
from orchestrator.domain.required import required
from orchestrator.job_files import request_files
from orchestrator.job_files.output_parts import OutputPart, base_name, keep_output_part, read_output_part
from orchestrator.job_files.part_cursor import PartCursor
from orchestrator.ports import Checkpoint, never_interrupted
from orchestrator.storage.digests import HashedWriter

if TYPE_CHECKING:
    from orchestrator.domain.model import Chunk
    from orchestrator.ports import Clock, Contribution, JobFiles, Ledger, Source

ROW_GROUP_ROWS: Final = 20_000
ROW_GROUP_BYTES: Final = 32 * 2**20  # of values: 20,000 documents of 100 kB would be 2 GB
VECTOR_WAIT_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finishing:
    """What is needed to write output. It goes to `folder` in `output`, later revisions to folders beside it."""

    source: Source
    fingerprint: str  # of the dataset as planned
    options: OutputOptions
    job_digest: str
    slice_rows: int
    output: JobFiles
    folder: str
    vectors: Vectors | None = None  # where answers are vectors
    typed: TypedAnswers | None = None  # where answers have a schema
    # The request lines of a shard's rows from a row on, as they would be now: to say which row has changed.
    request_lines: Callable[[int, int], Iterator[tuple[int, bytes | None]]] = lambda _shard_no, _row_start: iter(())


def finish(
    claim: Claim,
    *,
    ledger: Ledger,
    job_files: JobFiles,
    finishing: Finishing,
    clock: Clock,
    checkpoint: Checkpoint = never_interrupted,
) -> None:
    """Write the shard's output parts that are not there yet."""
    job = ledger.job(claim.unit.job_id)
    shard = ledger.shard(job.id, required(claim.unit.shard_no, "shard"))
    if shard.state is not ShardState.PLANNED or shard.settled_count != shard.row_count:
        return
    if ledger.job(job.id).revision != job.revision:  # retried meanwhile: these rows are not of the revision read above
        return
    if _may_get_first_vector(job, ledger=ledger, job_files=job_files, finishing=finishing):
        later = clock.now() + timedelta(seconds=VECTOR_WAIT_S)
        ledger.record(claim, ShardMoved(before=shard, after=shard, due_at=later), now=clock.now())
        return
    try:
        _finish(
            claim,
            job,
            shard,
            ledger=ledger,
            job_files=job_files,
            finishing=finishing,
            clock=clock,
            checkpoint=checkpoint,
        )
    except (DatasetError, OutputError) as error:
        job, shard = ledger.job(job.id), ledger.shard(job.id, shard.shard_no)
        change = without_dataset(job, shard, ledger.totals(job.id), error, now=clock.now())
        ledger.record(claim, change, now=clock.now())


def _may_get_first_vector(job: Job, *, ledger: Ledger, job_files: JobFiles, finishing: Finishing) -> bool:
    """Return whether answers are vectors of a length that is not known yet, and rows of the job are still under way."""
    if finishing.vectors is None or finishing.vectors.known(job_files) is not None:
        return False
    totals = ledger.totals(job.id)
    if totals.settled == totals.rows and not totals.shards_planning:
        return False
    return finishing.vectors.known(job_files) is None  # a row may have been settled after the first look


def slice_count(row_count: int, slice_rows: int) -> int:
    """Return how many output parts a shard has; an empty shard has one part."""
    return max(1, -(-row_count // slice_rows))


def part_file(folder: str, shard_no: int, slice_no: int, slices: int) -> str:
    """Return an output part's name; sorted by name, parts are in the order of rows."""
    number = f"part-{shard_no:05d}" if slices == 1 else f"part-{shard_no:05d}-{slice_no:05d}"
    return f"{folder}/{number}.parquet"


def revision_folder(folder: str, revision: int) -> str:
    """Return the folder of an output revision: the first is `folder`, the others stand beside it."""
    return folder if revision == 1 else f"{folder}-revision-{revision}"


def _finish(
    claim: Claim,
    job: Job,
    shard: Shard,
    *,
    ledger: Ledger,
    job_files: JobFiles,
    finishing: Finishing,
    clock: Clock,
    checkpoint: Checkpoint,
) -> None:
    refuse_other_dataset(finishing)
    slices = slice_count(shard.row_count, finishing.slice_rows)
    contributions = ledger.contributions(job.id, shard.shard_no)
    first = shard.finished_slice_count * finishing.slice_rows
    vector_type = None if finishing.vectors is None else finishing.vectors.type(job_files)
    with ExitStack() as stack:
        join = Join(
            job_digest=finishing.job_digest,
            shard_no=shard.shard_no,
            options=finishing.options,
            source_schema=finishing.source.schema,
            parts=open_parts(stack, shard, contributions, first, job_files),
            gaps=list(gaps_of(contributions)),
            vector_type=vector_type,
            typed=finishing.typed,
        )
        spec = finishing.source.shards[shard.shard_no]
        chunks = [one.chunk for one in contributions]
        batches = finishing.source.batches(spec, row_start=first)
        rows = Slices(checked(batches, shard, first, chunks, job_files, finishing), first, checkpoint)
        while shard.state is not ShardState.FINISHED:
            slice_no = shard.finished_slice_count
            last = slice_no + 1 == slices
            end = min((slice_no + 1) * finishing.slice_rows, shard.row_count)
            name = part_file(revision_folder(finishing.folder, job.revision), shard.shard_no, slice_no, slices)
            join.spent = Spent()
            part = _write(finishing, name, join, _joined(join, rows, end, shard, is_last=last))
            keep_output_part(job_files, job.revision, part)
            state = ShardState.FINISHED if last else ShardState.PLANNED
            after = replace(shard, finished_slice_count=slice_no + 1, state=state)
            now = clock.now()
            ledger.record(claim, ShardMoved(before=shard, after=after, due_at=now), now=now, keep=not last)
            shard = written(after)


def refuse_other_dataset(finishing: Finishing) -> None:
    """Raise OutputError where the dataset is not the one that was planned."""
    if finishing.source.fingerprint != finishing.fingerprint:
        raise OutputError(
            "the dataset is not the one that was planned (its files, their sizes or their layout have changed): "
            "put the original back and run again; the results so far are kept"
        )


def checked(
    batches: Iterator[pa.RecordBatch],
    shard: Shard,
    first: int,
    chunks: list[Chunk],
    job_files: JobFiles,
    finishing: Finishing,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows from `first` on. Raises OutputError where a slice's rows are not those that were sent."""
    same = SameRows(planned_slices(job_files, shard.shard_no, chunks), first)
    for batch in batches:
        for plan, column in same.differences(batch):
            lines = finishing.request_lines(shard.shard_no, plan.row_start)
            row = first_other_row(plan, chunks, lines, job_files)
            where = "" if row is None else f", the first of them row {row}"
            raise OutputError(
                f"the dataset has changed since its rows were sent: column {column!r} has other values in rows "
                f"{plan.row_start} to {plan.row_end - 1} of shard {shard.shard_no}{where}. No answer is written beside "
                "another row: put the original data back and run the job again. What was answered is kept"
            )
        yield batch


def _joined(join: Join, rows: Slices, end: int, shard: Shard, *, is_last: bool) -> Iterator[pa.RecordBatch]:
    """Return the rows up to `end` with their answers. Raises OutputError where the source has other rows by now."""
    for start, batch in rows.until(end):
        yield from join.pieces(batch, row_start=start)
    if rows.row != end or (is_last and not rows.exhausted()):
        raise OutputError(f"shard {shard.shard_no} has other rows now than when it was planned")


def _write(finishing: Finishing, name: str, join: Join, batches: Iterator[pa.RecordBatch]) -> OutputPart:
    """Put an output part in place, and return the record of the file in place."""
    rows, schema = 0, join.schema
    was_there = finishing.output.exists(name)  # a step that was interrupted put it there, perhaps another version's
    with finishing.output.create(name) as file:
        hashed = HashedWriter(file)
        with pq.ParquetWriter(hashed, schema, compression="zstd") as writer:
            for held in groups(batches, rows_max=ROW_GROUP_ROWS, bytes_max=ROW_GROUP_BYTES):
                table = pa.Table.from_batches(held, schema)
                writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
                rows += table.num_rows
        spent = join.spent
        written = OutputPart(
            file=base_name(name),
            rows=rows,
            bytes=hashed.tell(),
            xxh3_128=hashed.hexdigest(),
            cost_usd=spent.rows_usd,
            failed_usd=spent.failed_usd,
            replaced_usd=spent.replaced_usd,
        )
    if not was_there:
        return written
    found = read_output_part(finishing.output, name)
    return written if found.xxh3_128 == written.xxh3_128 else found


def try_rows(rows: pa.RecordBatch, where: str) -> None:
    """Write some rows of the source as an output part would hold them, and read them back. Raises DatasetError.

    What Parquet cannot hold is found so before anything is paid for.
    """
    for name, column in zip(rows.schema.names, rows.columns, strict=True):
        one = pa.table({name: column})
        sink = pa.BufferOutputStream()
        try:
            with pq.ParquetWriter(sink, one.schema, compression="zstd") as writer:
                writer.write_table(one)
            if pq.ParquetFile(sink.getvalue(), pre_buffer=False).read(use_threads=False).num_rows == one.num_rows:
                continue
            problem = "it does not come back"
        except (pa.ArrowException, OSError, ValueError) as error:
            problem = type(error).__name__
        raise DatasetError(
            f"{where}: column {name!r} ({column.type}) cannot be written to Parquet ({problem}): convert it to another "
            "type, or leave it out of the dataset"
        ) from None


def open_parts(
    stack: ExitStack, shard: Shard, contributions: list[Contribution], first: int, job_files: JobFiles
) -> list[PartCursor]:
    """Open what holds answers for this shard, in the order of rounds; refusals are round 0."""
    names = dict.fromkeys(job_files.names(request_files.refusals_folder(shard.shard_no)), "")
    names |= {one.chunk.part: one.chunk.improves for one in contributions if one.chunk.part}
    cursors = []
    for name, improves in names.items():
        file = stack.enter_context(job_files.open(name))
        cursor = PartCursor(file, shard_no=shard.shard_no, improves=improves)
        cursor.skip(first)
        cursors.append(cursor)
    return cursors


def gaps_of(contributions: list[Contribution]) -> Iterator[Gap]:
    """Return the ranges of rows that chunks left without any line."""
    for contribution in contributions:
        chunk = contribution.chunk
        if not chunk.part and chunk.shard_no is not None:
            yield Gap(
                row_start=chunk.row_start,
                row_end=chunk.row_end,
                code=chunk.error_code,
                message=chunk.error,
                round=chunk.round if chunk.attempt else 0,
            )
