"""Renders rows as request lines: for each row of a batch one line of bytes, or the reason why there is none.

Rule 1: a line is complete and well formed, or it is None and the row is refused.
Rule 2: a custom_id depends only on the row's number in its shard.
Rule 3: errors name rows, columns and types of exceptions, never the values of a row.

    before_id  id_prefix  1f  before_body  {"model":…,"content":"Classify:   title   "}  after_body  newline
               `--custom_id--'             `---constant---------------'`-field-'`-'
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import ClassVar, Final, Literal, Protocol

import orjson
import pyarrow as pa

from orchestrator.domain import custom_id
from orchestrator.domain.batch import LineEnvelope
from orchestrator.domain.errors import ConfigError, DatasetError
from orchestrator.planner.json_text import EscapedTexts, escaped_texts, plain_values
from orchestrator.planner.template import CompiledBody, Field
from orchestrator.ports import Checkpoint, never_interrupted

NullPolicy = Literal["error", "empty", "skip"]
NULL_SKIPPED: Final = "null_skipped"
RENDER_FAILED: Final = "render_failed"
UNWRITABLE: Final = "column {!r} holds a value that cannot be written as UTF-8 text"
_ROWS_NAMED_MAX: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRefused:
    """A row that could not become a request."""

    offset: int  # in the batch
    code: str  # NULL_SKIPPED or RENDER_FAILED
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """One line for each row of a batch, newline included; None where, and only where, the row is refused."""

    lines: list[bytes | None]
    refused: tuple[RowRefused, ...] = ()


class Renderer(Protocol):
    """Renders rows as request lines."""

    @property
    def envelope(self) -> LineEnvelope:
        """What is around the body of each line."""

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The columns that must be in the batches; None: all."""

    @property
    def rows_max(self) -> int | None:
        """How many rows may be rendered at once; None: as many as a batch has."""

    def render(self, batch: pa.RecordBatch, *, row_start: int) -> Rendered:
        """Render the rows of `batch`, the first of which is row `row_start` of its shard."""


def row_in_shard(row: int) -> str:
    """Name a row in an error, where the caller gives no better name."""
    return f"row {row}"


def refused_nulls(
    columns: Mapping[str, pa.Array], row_start: int, *, policy: NullPolicy, label: Callable[[int], str]
) -> dict[int, RowRefused]:
    """Return the rows, by offset, that are skipped for a null. Raises DatasetError for one that no policy allows."""
    refused: dict[int, RowRefused] = {}
    if policy == "empty":
        return refused
    for name, values in columns.items():
        if not values.null_count:
            continue
        offsets = [offset for offset, is_null in enumerate(values.is_null().to_pylist()) if is_null]
        if policy == "error":
            raise DatasetError(_null_message(name, [row_start + offset for offset in offsets], label))
        for offset in offsets:
            message = f"column {name!r} is null"
            refused.setdefault(offset, RowRefused(offset=offset, code=NULL_SKIPPED, message=message))
    return refused


def _null_message(name: str, rows: Sequence[int], label: Callable[[int], str]) -> str:
    labels = ", ".join(label(row) for row in rows[:_ROWS_NAMED_MAX])
    more = f" and {len(rows) - _ROWS_NAMED_MAX} more nearby" if len(rows) > _ROWS_NAMED_MAX else ""
    return (
        f"column {name!r} is null in {labels}{more}; fill it, or set policy.null_policy to "
        '"empty" (write nothing in its place) or "skip" (send no request for such a row)'
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateRenderer:
    """Fills a compiled template; all rows of a batch at once, column by column."""

    compiled: CompiledBody
    envelope: LineEnvelope
    id_prefix: bytes
    null_policy: NullPolicy
    row_label: Callable[[int], str] = row_in_shard
    rows_max: ClassVar[None] = None

    @property
    def columns(self) -> tuple[str, ...]:
        return self.compiled.columns

    def render(self, batch: pa.RecordBatch, *, row_start: int) -> Rendered:
        """Render `batch`; raise DatasetError where a used column is null and the policy is `error`."""
        columns = {name: plain_values(batch.column(name)) for name in self.columns}
        refused = refused_nulls(columns, row_start, policy=self.null_policy, label=self.row_label)
        texts = {name: escaped_texts(values) for name, values in columns.items()}
        for name, column in texts.items():
            for offset in column.unwritable:
                refused[offset] = RowRefused(offset=offset, code=RENDER_FAILED, message=UNWRITABLE.format(name))
        parts = self._parts(texts, batch.num_rows, row_start)
        lines: list[bytes | None] = list(map(b"".join, zip(*parts, strict=False)))  # constants repeat without end
        for offset in refused:
            lines[offset] = None
        return Rendered(lines=lines, refused=tuple(refused[offset] for offset in sorted(refused)))

    def _parts(self, texts: Mapping[str, EscapedTexts], row_count: int, row_start: int) -> list[Iterable[bytes]]:
        """Return the pieces of a line in order, each an iterable of one value for each row."""
        constants_and_fields: list[bytes | Iterable[bytes]] = [
            self.envelope.before_id + self.id_prefix,
            custom_id.numbers(row_start, row_count),
            self.envelope.before_body,
            *(texts[part.column].texts if isinstance(part, Field) else part for part in self.compiled.segments),
            self.envelope.after_body + b"\n",
        ]
        merged: list[bytes | Iterable[bytes]] = []
        for part in constants_and_fields:
            if isinstance(part, bytes) and merged and isinstance(merged[-1], bytes):
                merged[-1] += part
            else:
                merged.append(part)
        return [repeat(part) if isinstance(part, bytes) else part for part in merged]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallableRenderer:
    """Calls the user's function for the request of each row: general, and some ten times slower than a template."""

    function: Callable[[dict[str, object]], Mapping[str, object]]
    translate: Callable[[Mapping[str, object]], Mapping[str, object]]  # neutral fields to the provider's body
    model: str  # for requests that name none
    envelope: LineEnvelope
    id_prefix: bytes
    columns: tuple[str, ...] | None = None
    row_label: Callable[[int], str] = row_in_shard
    checkpoint: Checkpoint = never_interrupted
    rows_max: ClassVar[None] = None

    def render(self, batch: pa.RecordBatch, *, row_start: int) -> Rendered:
        """Render `batch`; raise DatasetError where the function raises, or returns no valid request.

        The checkpoint is called before each row: a user's function may take seconds for one.
        """
        before_id = self.envelope.before_id + self.id_prefix
        after_body = self.envelope.after_body + b"\n"
        lines: list[bytes | None] = []
        refused: list[RowRefused] = []
        for offset, row in enumerate(_rows(batch)):
            self.checkpoint()
            if row is None:
                message = "the row holds a value that Python cannot read, such as text that is not UTF-8"
                refused.append(RowRefused(offset=offset, code=RENDER_FAILED, message=message))
                lines.append(None)
                continue
            number = row_start + offset
            line_id = before_id + custom_id.number(number).encode()
            lines.append(b"%b%b%b%b" % (line_id, self.envelope.before_body, self._body(row, number), after_body))
        return Rendered(lines=lines, refused=tuple(refused))

    def _body(self, row: dict[str, object], number: int) -> bytes:
        try:
            body = self.function(row)
        except Exception as exc:  # noqa: BLE001 - the user's own code may raise anything, with a message that quotes the row
            raise DatasetError(f"{self.row_label(number)}: the row function raised {type(exc).__name__}") from None
        if not isinstance(body, Mapping):
            raise DatasetError(
                f"{self.row_label(number)}: the row function returned a {type(body).__name__}, not a dict"
            )
        try:
            request = body if "model" in body else {"model": self.model, **body}
            encoded = orjson.dumps(dict(self.translate(request)))
        except ConfigError as exc:
            raise DatasetError(f"{self.row_label(number)}: {exc}") from None
        except orjson.JSONEncodeError as exc:
            cause = type(exc.__cause__ or exc).__name__
            raise DatasetError(
                f"{self.row_label(number)}: the row function returned a dict that is not JSON ({cause})"
            ) from None
        if b"null" in encoded and _holds_no_number(body):
            raise DatasetError(
                f"{self.row_label(number)}: the row function returned NaN or infinity, which is not JSON"
            )
        return encoded


def _rows(batch: pa.RecordBatch) -> Iterable[dict[str, object] | None]:
    try:
        return list(batch.to_pylist())
    except (pa.ArrowException, ValueError, OverflowError):
        return [_row(batch.slice(offset, 1)) for offset in range(batch.num_rows)]


def _row(batch: pa.RecordBatch) -> dict[str, object] | None:
    try:
        row: dict[str, object] = batch.to_pylist()[0]
    except (pa.ArrowException, ValueError, OverflowError):
        return None
    return row


def _holds_no_number(value: object) -> bool:
    """Whether a value contains NaN or infinity: orjson writes both as null without an error."""
    match value:
        case float():
            return not math.isfinite(value)
        case Mapping():
            return any(map(_holds_no_number, value.values()))
        case list() | tuple():
            return any(map(_holds_no_number, value))
        case _:
            return False
