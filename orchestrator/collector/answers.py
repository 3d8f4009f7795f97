"""What was answered so far, of a job in any state: beside the rows of its dataset, or without the dataset.

Rule 1: it is read from the result parts that the ledger counts: the same answers that the output has, or will have.
Rule 2: rows without an answer or an error yet are left out.
Rule 3: before a row is given with its source columns, the rows of its shard are compared with those that were sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.collector.finish import Finishing, checked, gaps_of, open_parts, refuse_other_dataset
from orchestrator.collector.join import ANSWER_BYTES_MAX, Gap, Join, output_schema
from orchestrator.collector.same_rows import planned_slices
from orchestrator.dataset.keys import has_keys, kept_keys
from orchestrator.dataset.slices import Slices
from orchestrator.domain.errors import OutputError
from orchestrator.job_files import request_files

if TYPE_CHECKING:
    from orchestrator.domain.model import JobId, Shard
    from orchestrator.domain.reconcile import RowKey
    from orchestrator.ports import Contribution, JobFiles, Ledger

PLACE: Final = pa.schema([("shard", pa.int32()), ("row", pa.int64()), ("request", pa.string())])
KEY: Final = "key"
BATCH_ROWS: Final = 5_000
_NOT_YET: Final = "not_answered_yet"  # no error of a row: it is left out


def answers_schema(*, job_files: JobFiles, finishing: Finishing, has_source: bool) -> pa.Schema:
    """Return the columns of answers, with or without those of the dataset."""
    vector_type = None if finishing.vectors is None else finishing.vectors.type(job_files)
    source = finishing.source.schema if has_source else _place_schema(job_files)
    return output_schema(source, finishing.options, vector_type=vector_type, typed=finishing.typed)


def answers(job_id: JobId, *, ledger: Ledger, job_files: JobFiles, finishing: Finishing) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a job that have an answer or an error, in source order, without the dataset.

    Each has its place, the request as it was sent, where that file is still there, and its key, where the job has any.
    """
    schema = _place_schema(job_files)
    for shard in ledger.shards(job_id):
        contributions = ledger.contributions(job_id, shard.shard_no)
        end = _row_end(shard, contributions)
        with ExitStack() as stack:
            join = _join(stack, schema, shard, contributions, end, job_files, finishing)
            keys = chain.from_iterable(values.to_pylist() for values in kept_keys(job_files, shard.shard_no))
            for start, batch in _places(shard, end, contributions, job_files):
                if KEY in schema.names:
                    own = pa.array(islice(keys, batch.num_rows), pa.string())
                    batch = pa.RecordBatch.from_arrays([*batch.columns, own], schema=schema)
                yield from _answered(join, batch, start, finishing)


def joined_answers(
    job_id: JobId, *, ledger: Ledger, job_files: JobFiles, finishing: Finishing
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a job that have an answer or an error, in source order, each with its source columns.

    Raises DatasetError, OutputError where the dataset cannot be read or has changed.
    """
    refuse_other_dataset(finishing)
    for shard in ledger.shards(job_id):
        contributions = ledger.contributions(job_id, shard.shard_no)
        end = max((one.chunk.row_end for one in contributions if one.chunk.shard_no == shard.shard_no), default=0)
        if end == 0:
            continue
        spec = finishing.source.shards[shard.shard_no]
        chunks = [one.chunk for one in contributions]
        sent = {name for plan in planned_slices(job_files, shard.shard_no, chunks) for name in plan.digests}
        used = finishing.source.batches(spec, columns=[name for name in finishing.source.schema.names if name in sent])
        for _ in checked(used, shard, 0, chunks, job_files, finishing):
            pass
        with ExitStack() as stack:
            join = _join(stack, finishing.source.schema, shard, contributions, end, job_files, finishing)
            rows = Slices(finishing.source.batches(spec), 0)
            for start, batch in rows.until(end):
                yield from _answered(join, batch, start, finishing)
            if rows.row != end:
                raise OutputError(f"shard {shard.shard_no} has other rows now than when it was planned")


def _place_schema(job_files: JobFiles) -> pa.Schema:
    return PLACE.append(pa.field(KEY, pa.string())) if has_keys(job_files) else PLACE


def _row_end(shard: Shard, contributions: list[Contribution]) -> int:
    return max([shard.row_count, *(one.chunk.row_end for one in contributions)])


def _join(
    stack: ExitStack,
    source_schema: pa.Schema,
    shard: Shard,
    contributions: list[Contribution],
    end: int,
    job_files: JobFiles,
    finishing: Finishing,
) -> Join:
    not_yet = Gap(row_start=0, row_end=end, code=_NOT_YET, message="", round=0)
    return Join(
        job_digest=finishing.job_digest,
        shard_no=shard.shard_no,
        options=finishing.options,
        source_schema=source_schema,
        parts=open_parts(stack, shard, contributions, 0, job_files),
        gaps=[not_yet, *gaps_of(contributions)],
        vector_type=None if finishing.vectors is None else finishing.vectors.type(job_files),
        typed=finishing.typed,
    )


def _answered(join: Join, batch: pa.RecordBatch, row_start: int, finishing: Finishing) -> Iterator[pa.RecordBatch]:
    for piece in join.pieces(batch, row_start=row_start):
        code = piece[f"{finishing.options.prefix}error_code"]
        found = piece.filter(pc.fill_null(pc.not_equal(code, _NOT_YET), fill_value=True))
        if found.num_rows:
            yield found


def _places(
    shard: Shard, end: int, contributions: list[Contribution], job_files: JobFiles
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield (number of the first row, batch) of the places of all rows, in batches of bounded size."""
    sent = _requests(shard, contributions, job_files)
    row, line = next(sent, (end, None))
    start, size, requests = 0, 0, list[str | None]()
    for number in range(end):
        requests.append(line if number == row else None)
        if number == row:
            size += len(line or "")
            row, line = next(sent, (end, None))
        if len(requests) == BATCH_ROWS or size >= ANSWER_BYTES_MAX or number == end - 1:
            rows = range(start, start + len(requests))
            columns = [[shard.shard_no] * len(rows), rows, requests]
            arrays = [pa.array(values, field.type) for values, field in zip(columns, PLACE, strict=True)]
            yield start, pa.RecordBatch.from_arrays(arrays, schema=PLACE)
            start, size, requests = number + 1, 0, []


def _requests(shard: Shard, contributions: list[Contribution], job_files: JobFiles) -> Iterator[tuple[int, str]]:
    """Yield the rows that were sent, in order, each with its first request."""
    chunks = [one.chunk for one in contributions if one.chunk.shard_no == shard.shard_no and one.chunk.requests]
    next_row = 0
    for chunk in sorted(chunks, key=lambda chunk: (chunk.row_start, chunk.round)):
        if not job_files.exists(chunk.requests):
            continue
        for (_, row), line in request_files.requests_of(job_files, chunk):
            if row >= next_row:
                yield row, line.decode().rstrip("\n")
                next_row = row + 1


def answer(
    job_id: JobId, key: RowKey, *, ledger: Ledger, job_files: JobFiles, finishing: Finishing
) -> pa.RecordBatch | None:
    """Return the answer of one row, or its error, as the output has it; None where there is neither yet."""
    shard = ledger.shard(job_id, key[0])
    near = ledger.contributions(job_id, key[0])
    contributions = [
        one for one in near if one.chunk.shard_no is None or one.chunk.row_start <= key[1] < one.chunk.row_end
    ]
    with ExitStack() as stack:
        join = _join(stack, pa.schema([]), shard, contributions, _row_end(shard, contributions), job_files, finishing)
        row = pa.RecordBatch.from_struct_array(pa.array([{}], pa.struct([])))
        return next(_answered(join, row, key[1], finishing), None)
