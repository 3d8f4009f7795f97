"""Checks that the rows which are joined with answers are the rows that the answers are for.

Rule 1: planning keeps, with each slice, the digests of the columns that its requests were made from (`SlicePlan`).
Rule 2: finishing digests the same columns again, and no output part with other rows is put in place.
Rule 3: the error names the slice, and the first row whose request would be another now.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import orjson
import pyarrow as pa
import xxhash

from orchestrator.dataset.arrow_digest import RowsDigest
from orchestrator.domain.errors import ConfigError, DatasetError
from orchestrator.job_files import records, request_files

if TYPE_CHECKING:
    from orchestrator.domain.model import Chunk
    from orchestrator.job_files.records import SlicePlan
    from orchestrator.ports import JobFiles


def planned_slices(job_files: JobFiles, shard_no: int, chunks: list[Chunk]) -> list[SlicePlan]:
    """Return a shard's slices in order, as they are in the ledger: a slice that was planned twice counts once."""
    requests = {chunk.requests for chunk in chunks if chunk.requests}
    found = dict[int, records.SlicePlan]()
    for plan in records.read_slices(job_files, shard_no):
        is_sent = any(chunk.requests in requests for chunk in plan.chunks)
        if is_sent or plan.slice_no not in found:
            found[plan.slice_no] = plan
    return [found[number] for number in sorted(found)]


class SameRows:
    """Compares a shard's rows, from `row` on, with the slices that were planned of them."""

    def __init__(self, slices: list[SlicePlan], row: int) -> None:
        self._slices = iter([plan for plan in slices if plan.row_end > row])
        self._slice = next(self._slices, None)
        self._row = row
        self._digest = RowsDigest()

    def differences(self, batch: pa.RecordBatch) -> Iterator[tuple[SlicePlan, str]]:
        """Take the next rows; yield the slices that end in them and have other values now, each with a column."""
        while batch.num_rows and self._slice is not None:
            head = batch.slice(0, self._slice.row_end - self._row)
            batch = batch.slice(head.num_rows)
            self._row += head.num_rows
            if self._slice.digests:
                self._digest.add(head.select([name for name in head.schema.names if name in self._slice.digests]))
            if self._row == self._slice.row_end:
                yield from ((self._slice, column) for column in self._other_columns(self._slice))
                self._slice, self._digest = next(self._slices, None), RowsDigest()

    def _other_columns(self, plan: SlicePlan) -> Iterator[str]:
        found = self._digest.values()
        for name, digest in plan.digests.items():
            now = found.get(name, "")
            # A file may hold a column in another type than its source (seconds as milliseconds): nothing to compare.
            if now != digest and now.rpartition(" ")[0] == digest.rpartition(" ")[0]:
                yield name


def first_other_row(
    plan: SlicePlan, chunks: list[Chunk], lines: Iterator[tuple[int, bytes | None]], job_files: JobFiles
) -> int | None:
    """Return the first row of a slice whose request would be another now; None where that cannot be found out.

    Args:
        lines: the rows from the slice's first on, each with the request line that it would have now.
    """
    planned = dict[int, int]()
    for chunk in chunks:
        if chunk.shard_no == plan.shard_no and chunk.requests and chunk.row_start < plan.row_end:
            for (_, row), line in request_files.requests_of(job_files, chunk):
                planned[row] = _request_digest(line)
    with suppress(ConfigError, DatasetError):  # such as a function that only another process has
        for row, now in lines:
            known = planned.get(row)
            if known is not None and (now is None or _request_digest(now) != known):
                return row
            if row + 1 >= plan.row_end:
                break
    return None


def _request_digest(line: bytes) -> int:
    """Return the digest of a request, whatever the order of its keys."""
    return xxhash.xxh3_64_intdigest(orjson.dumps(orjson.loads(line), option=orjson.OPT_SORT_KEYS))
