"""Answers of other jobs to the same requests: found by content key, and copied into a part of this job.

Rule 1: only answers that succeeded count, but for refused and empty ones: the model may answer another time. One that
        was cut off counts: the same request has the same limit.
Rule 2: the newest job is asked first, and of a job the last time that a row was sent. A part that cannot be read, or is
        gone, has no answers. A store that does not answer is an error: its answers would be bought again.
Rule 3: a copy names the job that paid for the answer, which need not be the one it is copied from; it costs nothing.
Rule 4: memory is bounded by `BLOCK_BYTES` of answers, however many rows are copied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.domain.errors import StorageError
from orchestrator.domain.row_kinds import RowKind
from orchestrator.job_files.answer_index import ABSENT, AnswerIndex, IndexDraft
from orchestrator.job_files.content_keys import KEY_BYTES
from orchestrator.job_files.result_parts import (
    COST,
    GROUP_ROWS_MAX,
    PART_SCHEMA,
    READ_ROWS,
    opened,
    part_writer,
    reading,
)
from orchestrator.log import PART_UNREADABLE, EventLog

if TYPE_CHECKING:
    from orchestrator.domain.model import JobId
    from orchestrator.ports import JobFiles

PARTS: Final = "parts"
BLOCK_BYTES: Final = 64 * 2**20
BLOCK_ROWS_MIN, BLOCK_ROWS_MAX = 1_000, 100_000
_LOOKED_AT: Final = ["content_key", "succeeded", "error_code"]
_NOT_TAKEN: Final = pa.array([RowKind.REFUSED.value, RowKind.EMPTY.value])  # error codes of answers that succeeded
_ROW_BITS: Final = 32
_SUFFIX: Final = ".reused.parquet"


_log: Final = EventLog(__name__)


class AnswersGone(Exception):
    """An answer that was found could not be read: look again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherJob:
    """A job whose answers may be taken."""

    job_id: JobId
    job_files: JobFiles


def part_name(requests: str) -> str:
    """Return the name of the part of a chunk that is not sent, from the name of its requests."""
    return f"{PARTS}/{requests.rpartition('/')[2].removesuffix('.jsonl.zst')}{_SUFFIX}"


def is_reused(part: str) -> bool:
    """Return whether a part holds answers of other jobs."""
    return part.endswith(_SUFFIX)


def error_codes(job_files: JobFiles, part: str) -> Counter[str]:
    """Return how many answers of a part are of each kind that is not whole."""
    codes = Counter[str]()
    with reading(), job_files.open(part) as file:
        for batch in opened(file).iter_batches(READ_ROWS, columns=["error_code"], use_threads=False):
            for found in pc.value_counts(batch["error_code"].drop_null()).to_pylist():
                codes[found["values"]] += found["counts"]
    return codes


def vector_length(job_files: JobFiles, part: str) -> int | None:
    """Return the length of the first vector of a part; None where there is none."""
    with reading(), job_files.open(part) as file:
        for batch in opened(file).iter_batches(READ_ROWS, columns=["embedding"], use_threads=False):
            for vector in batch["embedding"].drop_null():
                return len(vector)
    return None


class OtherAnswers:
    """The answers of other jobs."""

    def __init__(self, jobs: Sequence[OtherJob]) -> None:
        """Read the keys of these jobs' parts, the newest job first."""
        self._parts: list[tuple[OtherJob, str]] = []
        self._gone: set[int] = set()
        self._doubtful: set[int] = set()  # failed to be read once
        self._bytes = self._rows = 0  # of all parts: to know how long answers are
        draft = IndexDraft()
        for job in jobs:
            for name in sorted(job.job_files.names(PARTS), reverse=True):  # retries have the last names
                self._parts.append((job, name))
                while len(self._parts) - 1 not in self._gone:
                    try:
                        self._add(job, name, draft)
                        self._doubtful.discard(len(self._parts) - 1)
                        break
                    except StorageError:
                        self._lose(len(self._parts) - 1)
        self._index: AnswerIndex = draft.close()

    def __len__(self) -> int:
        """Return how many different requests have an answer."""
        return len(self._index)

    def find(self, keys: bytes) -> Any:
        """Return where the answer to each of these requests is, ABSENT where there is none."""
        places = self._index.find(keys)
        if self._gone:
            places[np.isin(places >> _ROW_BITS, list(self._gone))] = ABSENT
        return places

    def job_at(self, place: int) -> JobId:
        """Return the job that has the answer at this place."""
        return self._parts[place >> _ROW_BITS][0].job_id

    def copy(self, out: BinaryIO, *, shard_no: int, rows: Sequence[int], keys: bytes, places: Any) -> None:
        """Write the answers at these places as a part of these rows, which are in order. Raises AnswersGone."""
        average = self._bytes // max(1, self._rows) + 1
        block_rows = min(max(BLOCK_BYTES // average, BLOCK_ROWS_MIN), BLOCK_ROWS_MAX)
        with part_writer(out) as writer:
            for start in range(0, len(rows), block_rows):
                block = slice(start, start + block_rows)
                table = self._taken(places[block], keys[start * KEY_BYTES : (start + block_rows) * KEY_BYTES])
                writer.write_table(_as_own(table, shard_no, rows[block]), row_group_size=GROUP_ROWS_MAX)

    def _add(self, job: OtherJob, name: str, draft: IndexDraft) -> None:
        place = (len(self._parts) - 1) << _ROW_BITS
        with reading(), job.job_files.open(name) as part:
            file = opened(part)
            groups = (file.metadata.row_group(number) for number in range(file.num_row_groups))
            self._bytes += sum(group.total_byte_size for group in groups)
            self._rows += file.metadata.num_rows
            found = list[tuple[bytes, Any]]()
            for batch in file.iter_batches(READ_ROWS, columns=_LOOKED_AT, use_threads=False):
                is_taken = pc.and_(batch["succeeded"], batch["content_key"].is_valid())
                is_taken = pc.and_not(is_taken, pc.is_in(batch["error_code"], _NOT_TAKEN))
                chosen = np.flatnonzero(is_taken.to_numpy(zero_copy_only=False))
                if len(chosen):
                    found.append((_bytes_of(batch["content_key"].take(pa.array(chosen))), place + chosen))
                place += batch.num_rows
        for keys, places in found:  # once the whole part could be read
            draft.add(keys, places)

    def _lose(self, number: int) -> None:
        """Give up a part that is gone, or that could not be read for the second time. Raises StorageError."""
        job, name = self._parts[number]
        is_there = job.job_files.exists(name)
        if is_there and number not in self._doubtful:
            self._doubtful.add(number)
            return
        if is_there:
            _log.warning(PART_UNREADABLE, job=job.job_id, part=name)
        self._gone.add(number)

    def _taken(self, places: Any, keys: bytes) -> Any:
        """Return the rows of other jobs at these places, in this order."""
        order = np.argsort(places, kind="stable")
        parts = places[order] >> _ROW_BITS
        tables = []
        for number in np.unique(parts).tolist():
            wanted = places[order[parts == number]] & ((1 << _ROW_BITS) - 1)
            tables.append(self._rows_of_part(number, wanted))
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        table = pa.concat_tables(tables).take(pa.array(back))
        if _bytes_of(table["content_key"].combine_chunks()) != keys:
            raise StorageError("answers of other jobs have other keys than when they were looked up")
        return table

    def _rows_of_part(self, number: int, wanted: Any) -> Any:
        job, name = self._parts[number]
        try:
            with reading(), job.job_files.open(name) as part:
                file, start, tables = opened(part), 0, []
                for group in range(file.num_row_groups):
                    end = start + file.metadata.row_group(group).num_rows
                    first, last = np.searchsorted(wanted, [start, end])
                    if last > first:
                        read = file.read_row_group(group, use_threads=False)
                        tables.append(read.take(pa.array(wanted[first:last] - start)))
                    start = end
        except StorageError as error:
            self._lose(number)
            raise AnswersGone(f"{job.job_id}: {name}") from error
        self._doubtful.discard(number)
        table = pa.concat_tables(tables)
        payer = pc.coalesce(table["reused_from"], pa.scalar(str(job.job_id)))
        return table.set_column(table.schema.get_field_index("reused_from"), "reused_from", payer)


def _as_own(table: Any, shard_no: int, rows: Sequence[int]) -> Any:
    """Return rows of other jobs as rows of this one: never sent, and for nothing."""
    count = table.num_rows
    own = {
        "shard": pa.array(np.full(count, shard_no, np.int32)),
        "row": pa.array(rows, pa.int64()),
        "retryable": pa.array(np.zeros(count, bool)),
        "cost_usd": pa.array([Decimal(0)] * count, COST),
        "round": pa.array(np.zeros(count, np.int16)),
    }
    return pa.table([own.get(name, table[name]) for name in PART_SCHEMA.names], schema=PART_SCHEMA)


def _bytes_of(keys: Any) -> bytes:
    """Return an array of keys without a null as bytes, one after the other."""
    _, values = keys.buffers()
    start = keys.offset * KEY_BYTES
    return bytes(values[start : start + len(keys) * KEY_BYTES])
