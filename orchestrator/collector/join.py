"""Joins source rows with parsed results: each source row once, in source order, with one answer or failure reason.

Rule 1: a row's record is the first whole answer in the order of the parts, else the last answer that is not whole
        (a person asked for another), else the last failure, else its gap's reason. An answer in a part that improves
        whole ones takes the place of all before it: a person asked for another though the first was whole.
Rule 2: a row that has none of these stops the join: the output would be incomplete.
Rule 3: only one loop runs over rows, the one that formats the ids; the output does not depend on the batches' sizes.
Rule 4: what is joined at once is bounded by the bytes of the answers, however many rows a batch of the source has.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.dataset.well_formed import well_formed
from orchestrator.domain import custom_id
from orchestrator.domain.chosen import WHOLE as REPLACED
from orchestrator.domain.errors import ConfigError, OutputError
from orchestrator.domain.policy import OutputOptions
from orchestrator.job_files.part_cursor import PartCursor
from orchestrator.job_files.result_parts import PART_SCHEMA, choices_type

if TYPE_CHECKING:
    from orchestrator.collector.typed_answers import TypedAnswers

SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
ANSWER_BYTES_MAX: Final = 8 * 2**20  # joined at once; each is in memory a few times
WHOLE: Final = 2  # the worth of a whole answer
COPIED: Final = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")  # as in a part
COPIED_AFTER: Final = ("batch_id", "request_id", "error_code", "error_message", "reused_from")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Rows [row_start, row_end) that a chunk left without any line: failed, for this reason, in this round."""

    row_start: int
    row_end: int
    code: str
    message: str
    round: int


@dataclass(slots=True, kw_only=True)
class Counts:
    """The counts of the output so far."""

    succeeded: int = 0
    failed: int = 0
    by_error_code: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Spent:
    """What was paid for rows, as far as it is known."""

    rows_usd: Decimal = Decimal(0)  # for the answers and failures that the output has
    failed_usd: Decimal = Decimal(0)  # of those: for failed rows
    replaced_usd: Decimal = Decimal(0)  # for answers that others have taken the place of, because a person asked
    twice: int = 0  # second answers that nobody asked for
    twice_usd: Decimal = Decimal(0)

    def add(self, other: Spent) -> None:
        """Add what was paid for other rows."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


def result_fields(options: OutputOptions, *, vector_type: Any = None, typed: TypedAnswers | None = None) -> Any:
    """Return the schema of the result columns, which follow the source's.

    Args:
        vector_type: the type of the column of vectors; None where answers are texts.
        typed: what makes columns of answers, which follow the answer itself.
    """
    own = _own_fields(options, vector_type)
    if typed is None:
        return pa.schema(own)
    after = 1 + [field.name for field in own].index(f"{options.prefix}response")
    return pa.schema([*own[:after], *response_fields(options, typed), *own[after:]])


def response_fields(options: OutputOptions, typed: TypedAnswers) -> list[Any]:
    """Return the columns of typed answers. Raises ConfigError where one would be there twice."""
    # Among all columns that there can be: whether another setting asks for them changes no name.
    names = typed.names(options.prefix, {field.name for field in _own_fields(replace(options, raw=True), pa.null())})
    return [pa.field(name, column.kind.type) for name, column in zip(names, typed.columns, strict=True)]


def _own_fields(options: OutputOptions, vector_type: Any) -> list[Any]:
    prefix = options.prefix
    fields = [
        pa.field(options.custom_id, pa.string(), nullable=False),
        pa.field(f"{prefix}response", pa.string()),
        pa.field(f"{prefix}status", pa.string(), nullable=False),
        pa.field(f"{prefix}finish_reason", pa.string()),
        pa.field(f"{prefix}tool_calls", pa.string()),
        pa.field(f"{prefix}reasoning", pa.string()),
        pa.field(f"{prefix}choices", choices_type(pa.string())),
        pa.field(f"{prefix}input_tokens", pa.int64()),
        pa.field(f"{prefix}output_tokens", pa.int64()),
        pa.field(f"{prefix}cached_tokens", pa.int64()),
        pa.field(f"{prefix}reasoning_tokens", pa.int64()),
        pa.field(f"{prefix}cost_usd", pa.float64()),
        pa.field(f"{prefix}attempts", pa.int32(), nullable=False),
        pa.field(f"{prefix}batch_id", pa.string()),
        pa.field(f"{prefix}request_id", pa.string()),
        pa.field(f"{prefix}error_code", pa.string()),
        pa.field(f"{prefix}error_message", pa.string()),
        pa.field(f"{prefix}reused_from", pa.string()),
    ]
    if vector_type is not None:
        fields.append(pa.field(f"{prefix}embedding", vector_type))
    return [*fields, pa.field(f"{prefix}raw", pa.string())] if options.raw else fields


def output_schema(
    source: Any, options: OutputOptions, *, vector_type: Any = None, typed: TypedAnswers | None = None
) -> Any:
    """Return the source's columns and then the result columns. Raises ConfigError for a duplicate name."""
    results = result_fields(options, vector_type=vector_type, typed=typed)
    for position, name in enumerate(results.names):
        setting = "output.custom_id" if position == 0 else "output.prefix"
        if name in source.names:
            raise ConfigError(f"the dataset has a column {name!r}, which the results need: set {setting} to another")
        if name in results.names[:position]:
            raise ConfigError(f"output.prefix and output.custom_id both make a column {name!r}: change one of them")
    return pa.schema([*source, *results], metadata=_kept(source.metadata))


def _kept(metadata: dict[bytes, bytes] | None) -> dict[bytes, bytes] | None:
    """Return the source's metadata without the entries that do not hold for the output.

    The pandas entry restores dtypes and the index (pandas itself ignores a range of another length). But a column index
    of numbers or tuples would also be applied to the names of the result columns, which are neither.
    """
    if not metadata or b"pandas" not in metadata:
        return metadata
    others = {key: value for key, value in metadata.items() if key != b"pandas"}
    try:
        pandas = json.loads(metadata[b"pandas"])
        if [index["pandas_type"] for index in pandas["column_indexes"]] != ["unicode"]:
            pandas["column_indexes"] = []
    except (ValueError, TypeError, KeyError):
        return others
    return {**others, b"pandas": json.dumps(pandas).encode()}


class Join:
    """Makes a shard's output, one source batch after another, in order."""

    def __init__(
        self,
        *,
        job_digest: str,
        shard_no: int,
        options: OutputOptions,
        source_schema: Any,
        parts: Sequence[PartCursor],
        gaps: Sequence[Gap],
        vector_type: Any = None,
        typed: TypedAnswers | None = None,
    ) -> None:
        self.counts, self.spent = Counts(), Spent()
        self.schema = output_schema(source_schema, options, vector_type=vector_type, typed=typed)
        self._vector_type = vector_type
        self._typed = typed
        self._source_schema = source_schema
        self._job_digest = job_digest
        self._shard_no = shard_no
        self._options = options
        self._parts = parts
        self._gaps = gaps
        self._gap_records = records_of(gaps)
        self._next_row: int | None = None

    def pieces(self, batch: Any, *, row_start: int) -> Iterator[Any]:
        """Yield the batch with its result columns, in pieces of bounded size; see `add`."""
        pieces = [(row_start, row_start + batch.num_rows)]
        while pieces:
            start, end = pieces.pop()
            if end - start > 1 and sum(part.weight(start, end) for part in self._parts) > ANSWER_BYTES_MAX:
                middle = (start + end) // 2
                pieces += [(middle, end), (start, middle)]
            else:
                yield self.add(batch.slice(start - row_start, end - start), row_start=start)

    def add(self, batch: Any, *, row_start: int) -> Any:
        """Return the batch with its result columns; `row_start` is the number of its first row in the shard.

        The first batch may start at any row; each further batch starts where the previous one ended.

        Raises OutputError where a row has neither answer nor reason, or the batch has other columns than the source.
        """
        if (batch.schema.names, batch.schema.types) != (self._source_schema.names, self._source_schema.types):
            raise OutputError("the source has other columns than when it was planned")
        if self._next_row is None:
            for part in self._parts:
                part.skip(row_start)
        if self._next_row not in (None, row_start):
            raise OutputError(f"the source gave row {row_start} after row {self._next_row}: rows must come in order")
        self._next_row = row_start + batch.num_rows
        records, chosen = self._chosen(row_start, batch.num_rows)
        answers = records.take(pa.array(chosen))
        self._count(answers)
        source = map(well_formed, batch.columns)
        columns = [*source, self._ids(row_start, batch.num_rows), *self._results(answers)]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _chosen(self, row_start: int, row_count: int) -> tuple[Any, Any]:
        """Return all records of these rows, in one batch, and for each row the position of the one to be used."""
        taken = [part.take(row_start + row_count) for part in self._parts]
        replacing = [number for number, part in enumerate(self._parts) if part.improves == REPLACED]
        chosen = positions(taken, row_start, row_count, replacing)
        self._add_up(taken, row_start, row_count)
        bare = np.flatnonzero(chosen < 0)
        if len(bare):
            chosen[bare] = self._gap_of(bare + row_start) + sum(table.num_rows for table in taken)
        return pa.concat_tables([*taken, self._gap_records]).combine_chunks(), chosen

    def _add_up(self, taken: Sequence[Any], row_start: int, row_count: int) -> None:
        """Add what the answers to these rows have cost, before it is known which of them are used."""
        answered = np.zeros(row_count, bool)
        for part, table in zip(self._parts, taken, strict=True):
            succeeded = table.filter(table["succeeded"]) if table.num_rows else table
            if not succeeded.num_rows:
                continue
            self.spent.replaced_usd += _usd(succeeded["cost_usd"])
            if part.improves:  # a second answer on demand
                continue
            rows = succeeded["row"].to_numpy() - row_start
            again = answered[rows]
            if again.any():
                self.spent.twice += int(again.sum())
                twice_usd = _usd(succeeded.filter(pa.array(again))["cost_usd"])
                self.spent.twice_usd += twice_usd
                self.spent.replaced_usd -= twice_usd
            answered[rows] = True

    def _gap_of(self, rows: Any) -> Any:
        """Return for each row the number of the last gap that it lies in."""
        found = last_gaps(self._gaps, rows)
        if (found < 0).any():
            row = rows[np.argmax(found < 0)]
            raise OutputError(f"row {row} of shard {self._shard_no} has no answer and no reason")
        return found

    def _count(self, answers: Any) -> None:
        failed = answers.filter(pc.invert(answers["succeeded"]))
        usd, failed_usd = _usd(answers["cost_usd"]), _usd(failed["cost_usd"])
        self.spent.rows_usd += usd
        self.spent.failed_usd += failed_usd
        self.spent.replaced_usd -= usd - failed_usd  # these are in the output: the rest is not
        self.counts.failed += failed.num_rows
        self.counts.succeeded += answers.num_rows - failed.num_rows
        for code in pc.value_counts(failed["error_code"]).to_pylist():
            self.counts.by_error_code[code["values"] or "unknown"] += code["counts"]

    def _ids(self, row_start: int, row_count: int) -> Any:
        return pa.array(custom_id.custom_ids(self._job_digest, self._shard_no, row_start, row_count), pa.string())

    def _results(self, answers: Any) -> list[Any]:
        columns = [
            answers["text"].cast(pa.string()),
            *(self._typed.arrays(answers["succeeded"], answers["text"]) if self._typed is not None else ()),
            pc.if_else(answers["succeeded"], SUCCEEDED, FAILED),
            answers["finish_reason"],
            answers["tool_calls"].cast(pa.string()),
            answers["reasoning"].cast(pa.string()),
            answers["choices"].cast(choices_type(pa.string())),
            *(answers[name] for name in COPIED),
            nearest_floats(answers["cost_usd"]),
            answers["round"].cast(pa.int32()),
            *(answers[name] for name in COPIED_AFTER),
        ]
        if self._vector_type is not None:
            columns.append(answers["embedding"].cast(self._vector_type))
        if self._options.raw:
            columns.append(answers["raw"].cast(pa.string()))
        return [column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column for column in columns]


def positions(taken: Sequence[Any], row_start: int, row_count: int, replacing: Collection[int] = ()) -> Any:
    """Return for each row the position, in all tables one after another, of the record to be used; -1 where none is.

    Args:
        taken: the records of these rows, by part, in the order of the parts.
        replacing: the numbers of parts whose answers take the place of all before them.
    """
    ends = np.cumsum([table.num_rows for table in taken], dtype=np.int64)
    chosen, worth = np.full(row_count, -1, np.int64), np.zeros(row_count, np.int8)
    for number, (table, end) in enumerate(zip(taken, ends, strict=True)):
        rows = table["row"].to_numpy() - row_start
        succeeded = table["succeeded"].to_numpy()
        places = np.arange(end - table.num_rows, end)
        is_whole = succeeded & table["error_code"].is_null().to_numpy()
        value = succeeded.astype(np.int8) + is_whole  # 0: a failure, 1: an answer that is not whole, 2: a whole one
        is_better = (value >= worth[rows]) & (worth[rows] < WHOLE)
        now = is_better | succeeded if number in replacing else is_better
        chosen[rows[now]], worth[rows[now]] = places[now], value[now]
    return chosen


def last_gaps(gaps: Sequence[Gap], rows: Any) -> Any:
    """Return for each row, in ascending order, the number of the last gap that it lies in; -1 where it is in none."""
    found = np.full(len(rows), -1, np.int64)
    for number, gap in enumerate(gaps):
        first, end = np.searchsorted(rows, [gap.row_start, gap.row_end])
        found[first:end] = number
    return found


def _usd(amounts: Any) -> Decimal:
    total: Decimal | None = pc.sum(amounts).as_py()
    return total or Decimal(0)


def nearest_floats(amounts: Any) -> Any:
    """Return amounts as the nearest floats, which Arrow's own cast of decimals does not give."""
    billionths = pc.multiply(amounts, pa.scalar(10**9, pa.decimal128(10, 0))).cast(pa.int64())
    return pc.divide(billionths.cast(pa.float64(), safe=False), 1e9)


def records_of(gaps: Sequence[Gap]) -> Any:
    """Return one record for each gap, in the form of a failure in a part."""
    absent = {name: [None] * len(gaps) for name in PART_SCHEMA.names}
    given: dict[str, list[Any]] = {
        "shard": [0] * len(gaps),
        "row": [gap.row_start for gap in gaps],
        "succeeded": [False] * len(gaps),
        "retryable": [False] * len(gaps),
        "round": [gap.round for gap in gaps],
        "error_code": [gap.code for gap in gaps],
        "error_message": [gap.message for gap in gaps],
    }
    return pa.Table.from_pydict({**absent, **given}, schema=PART_SCHEMA)
