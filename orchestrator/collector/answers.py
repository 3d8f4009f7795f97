"""What was answered, without the dataset: for a job whose source cannot be read, or is another by now.

Rule 1: it is read from the result parts alone: the numbers of shard and row, the id, and the columns of the output.
Rule 2: rows without an answer or an error yet are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.collector.finish import gaps_of, open_parts
from orchestrator.collector.join import Gap, Join

if TYPE_CHECKING:
    from orchestrator.collector.vectors import Vectors
    from orchestrator.domain.model import JobId, Shard
    from orchestrator.domain.policy import OutputOptions
    from orchestrator.ports import JobFiles, Ledger

PLACE: Final = pa.schema([("shard", pa.int32()), ("row", pa.int64())])
BATCH_ROWS: Final = 5_000
_NOT_YET: Final = "not_answered_yet"  # no error of a row: it is left out


def answers(
    job_id: JobId,
    *,
    ledger: Ledger,
    job_files: JobFiles,
    job_digest: str,
    options: OutputOptions,
    vectors: Vectors | None,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a job that have an answer or an error, in source order."""
    vector_type = None if vectors is None else vectors.type(job_files)
    for shard in ledger.shards(job_id):
        with ExitStack() as stack:
            contributions = ledger.contributions(job_id, shard.shard_no)
            rows = max([shard.row_count, *(one.chunk.row_end for one in contributions)])
            not_yet = Gap(row_start=0, row_end=rows, code=_NOT_YET, message="", round=0)
            join = Join(
                job_digest=job_digest,
                shard_no=shard.shard_no,
                options=options,
                source_schema=PLACE,
                parts=open_parts(stack, shard, contributions, 0, job_files),
                gaps=[not_yet, *gaps_of(contributions)],
                vector_type=vector_type,
            )
            for start in range(0, rows, BATCH_ROWS):
                found = join.add(_places(shard, start, min(start + BATCH_ROWS, rows)), row_start=start)
                code = found[f"{options.prefix}error_code"]
                yield found.filter(pc.fill_null(pc.not_equal(code, _NOT_YET), fill_value=True))


def _places(shard: Shard, start: int, end: int) -> pa.RecordBatch:
    numbers = [pa.array([shard.shard_no] * (end - start), pa.int32()), pa.array(range(start, end), pa.int64())]
    return pa.RecordBatch.from_arrays(numbers, schema=PLACE)
