"""The parsed results of one chunk, as Parquet: written once, read back shard by shard in the order of the rows.

Rule 1: rows are in (shard, row) order, each once; a reader refuses any other part.
Rule 2: memory is bounded by a slice, for writing and for reading, however large the part is.
Rule 3: the same answers give the same bytes.
Rule 4: parts are read in the calling thread: one of pyarrow's that still holds a file of Python's when Python ends can
        abort the process (https://github.com/apache/arrow/issues/50482 and 33975, read 2026-12-01).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from enum import StrEnum
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.domain.errors import StorageError
from orchestrator.domain.faults import Fault
from orchestrator.domain.policy import Price
from orchestrator.domain.reconcile import UNREADABLE, Answer, Choice, RowKey
from orchestrator.job_files.content_keys import KEY_BYTES
from orchestrator.job_files.priced_rows import PricedRow, PricedRows, Sums

COST: Final = pa.decimal128(18, 9)
GROUP_ROWS_MAX: Final = 10_000
GROUP_LENGTH_MAX: Final = 16 * 1024 * 1024  # characters of text in a row group, so that a reader's memory is bounded
READ_ROWS: Final = 5_000


def choices_type(text: Any) -> Any:
    """Return the type of the column of choices, whose texts are of this type."""
    return pa.list_(pa.struct([pa.field(name, text) for name in Choice._fields]))


PART_SCHEMA: Final = pa.schema(
    [
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("succeeded", pa.bool_(), nullable=False),
        pa.field("retryable", pa.bool_(), nullable=False),
        pa.field("text", pa.large_string()),  # large: a slice of long answers may exceed 2 GiB
        pa.field("finish_reason", pa.string()),
        pa.field("tool_calls", pa.large_string()),
        pa.field("reasoning", pa.large_string()),
        pa.field("choices", choices_type(pa.large_string())),
        pa.field("input_tokens", pa.int64()),
        pa.field("output_tokens", pa.int64()),
        pa.field("cached_tokens", pa.int64()),
        pa.field("reasoning_tokens", pa.int64()),
        pa.field("cost_usd", COST),
        pa.field("round", pa.int16(), nullable=False),
        pa.field("batch_id", pa.string()),
        pa.field("request_id", pa.string()),
        pa.field("error_code", pa.string()),
        pa.field("error_message", pa.string()),
        pa.field("raw", pa.large_string()),
        pa.field("embedding", pa.list_(pa.float32())),  # all null where answers are texts
        pa.field("content_key", pa.binary(KEY_BYTES)),  # of the request that was answered
        pa.field("reused_from", pa.string()),  # the job that paid for the answer, where another did
    ]
)

# Few values: worth a dictionary.
LOOKED_UP: Final = ["finish_reason", "batch_id", "error_code", "error_message", "reused_from"]


def write_part(
    out: BinaryIO,
    rows: Iterator[tuple[RowKey, Answer]],
    *,
    batch_id: str,
    round: int,  # noqa: A002 - the word for it everywhere
    fees_usd: Decimal | None,
    price: Price | None,
    content_keys: Mapping[RowKey, bytes] | None = None,
) -> Sums:
    """Write the rows, which come in (shard, row) order; return what they used and cost.

    Without `fees_usd` the cost is known if the price is and every succeeded row has its usage; else it is None.

    Args:
        fees_usd: the provider's own total, to be shared out over the rows.
        content_keys: of the rows' requests; None for rows without a request.
    """
    priced = PricedRows(rows, fees_usd=fees_usd, price=price)
    with part_writer(out) as writer:
        for group in _groups(iter(priced)):
            writer.write_table(_table(group, batch_id, round, content_keys or {}), row_group_size=GROUP_ROWS_MAX)
    return priced.sums


def part_writer(out: BinaryIO) -> Any:
    """Return the writer of a part."""
    return pq.ParquetWriter(
        out, PART_SCHEMA, compression="lz4", use_dictionary=LOOKED_UP, write_statistics=["shard", "row"]
    )


def _groups(rows: Iterable[PricedRow]) -> Iterator[list[PricedRow]]:
    group: list[PricedRow] = []
    length = 0
    for row in rows:
        group.append(row)
        length += _length(row.answer)
        if len(group) == GROUP_ROWS_MAX or length > GROUP_LENGTH_MAX:
            yield group
            group, length = [], 0
    if group:
        yield group


def _length(answer: Answer) -> int:
    length = len(answer.text or "") + len(answer.raw or "") + len(answer.embedding or b"")
    length += len(answer.tool_calls or "") + len(answer.reasoning or "")
    return length + sum(len(text or "") for choice in answer.choices or () for text in choice)


def _table(group: Sequence[PricedRow], batch_id: str, round_: int, content_keys: Mapping[RowKey, bytes]) -> Any:
    answers = [row.answer for row in group]
    columns: dict[str, Sequence[Any]] = dict(zip(Answer._fields, zip(*answers, strict=True), strict=True))
    columns |= {
        "shard": [row.key[0] for row in group],
        "row": [row.key[1] for row in group],
        "cost_usd": [row.cost_usd for row in group],
        "round": [round_] * len(group),
        "batch_id": [batch_id] * len(group),
        "choices": [each and [choice._asdict() for choice in each] for each in columns["choices"]],
        "content_key": [content_keys.get(row.key) for row in group],
        "reused_from": [None] * len(group),
    }
    arrays = [
        _vectors(columns[field.name]) if field.name == "embedding" else pa.array(columns[field.name], field.type)
        for field in PART_SCHEMA
    ]
    return pa.table(arrays, schema=PART_SCHEMA)


def _vectors(given: Sequence[bytes | None]) -> Any:
    """Return vectors, given as little-endian 32-bit floats, as an array of lists; null where there is none."""
    ends = np.cumsum([0, *(len(vector or b"") // 4 for vector in given)], dtype=np.int32)
    is_absent = np.array([*(vector is None for vector in given), False])
    values = np.frombuffer(b"".join(vector for vector in given if vector is not None), "<f4").astype(np.float32)
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32(), mask=is_absent), pa.array(values))


class Failed(StrEnum):
    """Which failed rows: those that go again by themselves, the others, or both; with an answer that can be read."""

    RETRYABLE = "retryable"
    FAILED = "failed"
    ALL = "all"
    UNREADABLE = "unreadable"  # their answer is kept, and cannot be read
    READABLE = "readable"  # of FAILED: the others
    READABLE_ALL = "readable_all"  # of ALL: the others


_KIND: Final = ["shard", "row", "succeeded", "retryable", "error_code"]


def read_failed(part: BinaryIO, which: Failed) -> list[RowKey]:
    """Return failed rows, in order."""
    found: list[RowKey] = []
    for batch in batches_of(part, _KIND):
        wanted = pc.invert(batch["succeeded"])
        if which is Failed.RETRYABLE:
            wanted = pc.and_(wanted, batch["retryable"])
        elif which in (Failed.FAILED, Failed.READABLE):
            wanted = pc.and_(wanted, pc.invert(batch["retryable"]))
        is_unreadable = pc.fill_null(pc.equal(batch["error_code"], UNREADABLE), False)
        if which is Failed.UNREADABLE:
            wanted = pc.and_(wanted, is_unreadable)
        elif which in (Failed.READABLE, Failed.READABLE_ALL):
            wanted = pc.and_(wanted, pc.invert(is_unreadable))
        found += _keys(batch.filter(wanted))
    return found


def read_answers(part: BinaryIO) -> Iterator[tuple[RowKey, Answer]]:
    """Yield every row with its answer, as it was written, but for the digest of its line."""
    for batch in batches_of(part):
        for row in batch.to_pylist():
            yield (row["shard"], row["row"]), _answer(row)


def _answer(row: dict[str, Any]) -> Answer:
    values = {name: row[name] for name in Answer._fields if name in row}
    if row["choices"] is not None:
        values["choices"] = tuple(Choice(**choice) for choice in row["choices"])
    if row["embedding"] is not None:
        values["embedding"] = np.array(row["embedding"], "<f4").tobytes()
    is_unreadable = not row["succeeded"] and row["error_code"] == UNREADABLE
    return Answer(**values, fault=Fault.UNREADABLE if is_unreadable else None)


def read_rows(part: BinaryIO) -> list[dict[str, Any]]:
    """Return all rows, with the columns of PART_SCHEMA: only for a part of few rows."""
    with reading(part):
        rows: list[dict[str, Any]] = opened(part).read(use_threads=False).to_pylist()
        return rows


class Failure(NamedTuple):
    """A failed row."""

    key: RowKey
    retryable: bool
    code: str
    message: str
    text: str


def read_failures(part: BinaryIO) -> Iterator[Failure]:
    """Yield the failed rows, in order."""
    columns = ["shard", "row", "retryable", "error_code", "error_message", "text"]
    for batch in batches_of(part, ["succeeded", *columns]):
        chosen = batch.filter(pc.invert(batch["succeeded"]))
        for shard, row, again, *texts in zip(*(chosen[name].to_pylist() for name in columns), strict=True):
            yield Failure((shard, row), again, *(text or "" for text in texts))


def read_succeeded(part: BinaryIO) -> Iterator[RowKey]:
    """Yield the rows with an answer, in order."""
    for batch in batches_of(part, ["shard", "row", "succeeded"]):
        yield from _keys(batch.filter(batch["succeeded"]))


def read_kind(part: BinaryIO, kind: str, *, also_sent: bool = False) -> list[RowKey]:
    """Return the answered rows of a kind that is not whole, in order; `also_sent`: with those that were sent again."""
    found: list[RowKey] = []
    for batch in batches_of(part, _KIND):
        answered = pc.and_(batch["succeeded"], pc.or_(pc.invert(batch["retryable"]), also_sent))
        found += _keys(batch.filter(pc.and_(answered, pc.equal(batch["error_code"], kind))))
    return found


def _keys(batch: Any) -> Iterator[RowKey]:
    return zip(batch["shard"].to_pylist(), batch["row"].to_pylist(), strict=True)


def batches_of(part: BinaryIO, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """Yield the rows of a part, some thousand at a time; with these columns, or with all. Raises StorageError."""
    with reading(part):
        yield from opened(part).iter_batches(READ_ROWS, columns=columns, use_threads=False)


def opened(part: BinaryIO) -> Any:
    """Return the Parquet file of a part. Raises StorageError where it is none."""
    file = pq.ParquetFile(part, pre_buffer=False)  # pre-buffering would load the whole part
    if not file.schema_arrow.equals(PART_SCHEMA):
        raise StorageError(f"{_called(part)} has other columns than a file of parsed results should")
    return file


@contextmanager
def reading(part: BinaryIO) -> Iterator[None]:
    """Translate errors of a file that is read in the block into StorageError."""
    try:
        yield
    except (pa.ArrowException, OSError) as exc:
        raise StorageError(f"{_called(part)} cannot be read: {type(exc).__name__}") from exc


def _called(part: BinaryIO) -> str:
    """Return what a message calls a part: its place, where the file knows it."""
    return str(getattr(part, "name", "")) or "a file of parsed results"
