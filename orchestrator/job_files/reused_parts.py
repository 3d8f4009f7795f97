"""Answers to the same requests, of other jobs or of this one: found by content key, and copied into a part of this job.

Rule 1: only answers that succeeded count, but for refused and empty ones: the model may answer another time. One that
        was cut off counts: the same request has the same limit.
Rule 2: the newest job is asked first, and of a job the last time that a row was sent. A part that cannot be read, or is
        gone, has no answers. A store that does not answer is an error: its answers would be bought again.
Rule 3: a copy names the job that paid for the answer, which need not be the one it is copied from; it costs nothing.
Rule 4: memory is bounded by `BLOCK_BYTES` of answers, however many rows are copied. Where they are wanted in quite
        another order, parts are unpacked on the local disk (see `unpacked_parts`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.domain.errors import StorageError
from orchestrator.domain.reconcile import Answer
from orchestrator.domain.row_kinds import RowKind
from orchestrator.job_files.answer_index import ABSENT, AnswerIndex, IndexDraft
from orchestrator.job_files.content_keys import KEY_BYTES
from orchestrator.job_files.result_parts import (
    COST,
    GROUP_ROWS_MAX,
    PART_SCHEMA,
    READ_ROWS,
    batches_of,
    opened,
    part_writer,
    reading,
)
from orchestrator.job_files.unpacked_parts import UnpackedParts
from orchestrator.log import PART_UNREADABLE, EventLog

if TYPE_CHECKING:
    from orchestrator.domain.model import JobId
    from orchestrator.domain.reconcile import RowKey
    from orchestrator.ports import JobFiles

PARTS: Final = "parts"
BLOCK_BYTES: Final = 64 * 2**20
BLOCK_ROWS_MIN, BLOCK_ROWS_MAX = 1_000, 100_000
_LOOKED_AT: Final = ["content_key", "succeeded", "error_code"]
_NOT_TAKEN: Final = pa.array([RowKind.REFUSED.value, RowKind.EMPTY.value])  # error codes of answers that succeeded
_ROW_BITS: Final = 32
_SUFFIX: Final = ".reused.parquet"


NO_REASON: Final = Answer(succeeded=False, error_code="missing", error_message="an equal request has no answer")
_log: Final = EventLog(__name__)


class AnswersGone(Exception):
    """An answer that was found could not be read: look again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherJob:
    """A job whose answers may be taken."""

    job_id: JobId
    job_files: JobFiles


def part_name(requests: str, revision: int = 1) -> str:
    """Return the name of the part of a chunk that is not sent, from the name of its requests.

    Args:
        revision: of the output, for which it is made.
    """
    again = f".{revision}" if revision > 1 else ""
    return f"{PARTS}/{requests.rpartition('/')[2].removesuffix('.jsonl.zst')}{again}{_SUFFIX}"


def is_reused(part: str) -> bool:
    """Return whether a part holds answers of other jobs."""
    return part.endswith(_SUFFIX)


def error_codes(job_files: JobFiles, part: str) -> Counter[str]:
    """Return how many answers of a part are of each kind that is not whole."""
    codes = Counter[str]()
    with job_files.open(part) as file:
        for batch in batches_of(file, ["error_code"]):
            for found in pc.value_counts(batch["error_code"].drop_null()).to_pylist():
                codes[found["values"]] += found["counts"]
    return codes


def outcomes(job_files: JobFiles, part: str) -> Iterator[tuple[RowKey, bool, str | None]]:
    """Yield the rows of a part: whether each has an answer, and what is wrong with it."""
    columns = ["shard", "row", "succeeded", "error_code"]
    with job_files.open(part) as file:
        for batch in batches_of(file, columns):
            for shard_no, row, succeeded, code in zip(*(batch[name].to_pylist() for name in columns), strict=True):
                yield (shard_no, row), succeeded, code


def vector_length(job_files: JobFiles, part: str) -> int | None:
    """Return the length of the first vector of a part; None where there is none."""
    with job_files.open(part) as file:
        for batch in batches_of(file, ["embedding"]):
            for vector in batch["embedding"].drop_null():
                return len(vector)
    return None


class OtherAnswers:
    """The answers of other jobs."""

    def __init__(self, jobs: Sequence[OtherJob]) -> None:
        """Read the keys of these jobs' parts, the newest job first."""
        # Retries have the last names.
        names = ((job, name) for job in jobs for name in sorted(job.job_files.names(PARTS), reverse=True))
        self._read(names, _is_taken)

    def _read(self, names: Iterable[tuple[OtherJob, str]], *ranks: Callable[[Any], Any]) -> None:
        """Read the keys of these parts; what is of an earlier rank counts before what is of a later one."""
        self._parts: list[tuple[OtherJob, str]] = []
        self._gone: set[int] = set()
        self._doubtful: set[int] = set()  # failed to be read once
        self._unpacked = UnpackedParts()
        self._bytes = self._rows = 0  # of all parts: to know how long answers are
        draft = IndexDraft()
        parts = list(names)
        for (job, name), is_counted in ((part, rank) for rank in ranks for part in parts):
            self._parts.append((job, name))
            while len(self._parts) - 1 not in self._gone:
                try:
                    self._add(job, name, draft, is_counted)
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
        block_rows = self.rows_at_once(BLOCK_ROWS_MAX)
        with part_writer(out) as writer:
            for start in range(0, len(rows), block_rows):
                block = slice(start, start + block_rows)
                table = self._taken(places[block], keys[start * KEY_BYTES : (start + block_rows) * KEY_BYTES])
                writer.write_table(as_own(table, shard_no, rows[block]), row_group_size=GROUP_ROWS_MAX)

    def rows_at_once(self, rows_max: int) -> int:
        """Return of how many rows, up to `rows_max`, the answers may be held."""
        average = self._bytes // max(1, self._rows) + 1
        return min(max(BLOCK_BYTES // average, BLOCK_ROWS_MIN), rows_max)

    def _add(self, job: OtherJob, name: str, draft: IndexDraft, is_counted: Callable[[Any], Any]) -> None:
        place = (len(self._parts) - 1) << _ROW_BITS
        with job.job_files.open(name) as part, reading(part):
            file = opened(part)
            groups = (file.metadata.row_group(number) for number in range(file.num_row_groups))
            self._bytes += sum(group.total_byte_size for group in groups)
            self._rows += file.metadata.num_rows
            found = list[tuple[bytes, Any]]()
            for batch in file.iter_batches(READ_ROWS, columns=_LOOKED_AT, use_threads=False):
                is_one = pc.and_(is_counted(batch), batch["content_key"].is_valid())
                chosen = np.flatnonzero(is_one.to_numpy(zero_copy_only=False))
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
            table = self._unpacked.take(number, wanted)
            if table is None:
                with job.job_files.open(name) as part, reading(part):
                    table = self._unpacked.taken_of(number, opened(part), wanted)
        except StorageError as error:
            self._lose(number)
            raise AnswersGone(f"{job.job_id}: {name}") from error
        self._doubtful.discard(number)
        payer = pc.coalesce(table["reused_from"], pa.scalar(str(job.job_id)))
        return table.set_column(table.schema.get_field_index("reused_from"), "reused_from", payer)


class OwnAnswers(OtherAnswers):
    """What requests of this job itself came to: whole answers count before such as are not, and those before failures.

    A part that cannot be read is an error: its answers are paid for.
    """

    def __init__(self, job: OtherJob, parts: Sequence[str]) -> None:
        """Read the keys of these parts, which are in the order in which their rows were sent."""
        self._read([(job, name) for name in reversed(parts)], _is_whole, _is_flawed, _is_failed)
        self._must_be_readable()

    def outcomes(self, keys: bytes, reason: Callable[[int], Answer]) -> Any:
        """Return what requests came to, as rows of a part that are still to be named; `reason` is asked by the place
        of a request that is in no part.
        """
        places = self.find(keys)
        found, absent = np.flatnonzero(places != ABSENT), np.flatnonzero(places == ABSENT)
        tables = list[Any]()
        if len(found):
            table = self._fetched(places[found], _keys_at(keys, found))
            payer = pc.if_else(table["succeeded"], table["reused_from"], pa.scalar(None, pa.string()))
            tables.append(table.set_column(table.schema.get_field_index("reused_from"), "reused_from", payer))
        if len(absent):
            tables.append(_failures(_keys_at(keys, absent), [reason(number) for number in absent.tolist()]))
        table = pa.concat_tables(tables)
        if len(tables) == 1:
            return table
        return table.take(pa.array(np.argsort(np.concatenate([found, absent]), kind="stable")))

    def _fetched(self, places: Any, keys: bytes) -> Any:
        """Return the rows at these places; each is read once, however often it is named. Raises StorageError."""
        once, first, again = np.unique(places, return_index=True, return_inverse=True)
        try:
            table = self._taken(once, _keys_at(keys, first))
        except AnswersGone:
            self._must_be_readable()
            raise
        return table.take(pa.array(again.reshape(-1)))

    def _must_be_readable(self) -> None:
        if self._gone or self._doubtful:
            job, name = self._parts[min(self._gone | self._doubtful)]
            self._doubtful.clear()
            raise StorageError(f"{job.job_id}: {name} cannot be read")


def _is_taken(batch: Any) -> Any:
    return pc.and_not(batch["succeeded"], pc.is_in(batch["error_code"], _NOT_TAKEN))


def _is_whole(batch: Any) -> Any:
    return pc.and_(batch["succeeded"], batch["error_code"].is_null())


def _is_flawed(batch: Any) -> Any:
    return pc.and_(batch["succeeded"], batch["error_code"].is_valid())


def _is_failed(batch: Any) -> Any:
    return pc.invert(batch["succeeded"])


def _keys_at(keys: bytes, numbers: Any) -> bytes:
    found: bytes = np.frombuffer(keys, f"V{KEY_BYTES}")[numbers].tobytes()
    return found


def _failures(keys: bytes, reasons: Sequence[Answer]) -> Any:
    """Return failures as rows of a part, of rows that are still to be named."""
    given: dict[str, list[Any]] = {name: [None] * len(reasons) for name in PART_SCHEMA.names}
    given |= dict.fromkeys(("shard", "row", "round"), [0] * len(reasons))
    given |= dict.fromkeys(("succeeded", "retryable"), [False] * len(reasons))
    given |= {name: [getattr(reason, name) for reason in reasons] for name in ("error_code", "error_message")}
    each = [keys[start : start + KEY_BYTES] for start in range(0, len(keys), KEY_BYTES)]
    return pa.Table.from_pydict(given | {"content_key": each}, schema=PART_SCHEMA)


def as_own(table: Any, shard_no: int, rows: Sequence[int]) -> Any:
    """Return rows of parts as rows of this one: never sent, and for nothing."""
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
