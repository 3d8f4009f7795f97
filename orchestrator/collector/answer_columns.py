"""The Arrow columns of typed answers: one for each field of the schema.

    string, integer, number, boolean   string, int64, double, bool
    format date, format date-time      date32, timestamp[us, UTC]
    an enum of texts                   dictionary<int32, string>; inside a list or an object: string
    list, object with fields           list, struct
    of several simple types            string: a text as it is, a number as JSON has it
    anything else                      string: JSON

Rule 1: the types follow from the schema alone: every part of the output has the same.
Rule 2: what a type cannot hold (an integer over 2^63, the year 0) is found when the answer is checked (`Unfit`), so
    that a row that has succeeded has its values.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
import pyarrow as pa

from orchestrator.domain.response_schema import Node, without_null

INT64_MAX: Final = 2**63 - 1
ENUM: Final = pa.dictionary(pa.int32(), pa.string())
TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
_SCALARS: Final = frozenset({"string", "integer", "number", "boolean"})

Convert = Callable[[Any], Any]


class Unfit(ValueError):
    """A value that its column cannot hold; the message names no value."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How values of a schema are held. `convert` gets no null; None: a value is held as it is."""

    type: Any
    convert: Convert | None = None
    is_sure: bool = True  # `convert` raises no Unfit


@dataclass(frozen=True, slots=True)
class AnswerColumn:
    """The column of one field."""

    field: str
    kind: Kind
    choices: tuple[str, ...] = ()  # of an enum

    @property
    def type_text(self) -> str:
        """The type, for people."""
        return f"one of {len(self.choices)} texts" if self.choices else str(self.kind.type)

    def array(self, answers: Sequence[Mapping[str, Any] | None]) -> Any:
        """Return the column for answers, of which None are missing."""
        name, convert = self.field, self.kind.convert
        values = [None if answer is None else answer.get(name) for answer in answers]
        if self.choices:
            numbers: dict[Any, int] = {choice: number for number, choice in enumerate(self.choices)}
            indices = pa.array([numbers.get(value) for value in values], pa.int32())
            return pa.DictionaryArray.from_arrays(indices, pa.array(self.choices, pa.string()))
        if convert is not None:
            values = [None if value is None else convert(value) for value in values]
        return pa.array(values, self.kind.type)


def column_of(field: str, schema: Node) -> AnswerColumn:
    """Return the column of a field."""
    inner, _ = without_null(schema)
    values = inner.get("enum", ())
    if values and all(isinstance(value, str) for value in values):
        return AnswerColumn(field, Kind(ENUM), tuple(values))
    return AnswerColumn(field, kind_of(schema))


def kind_of(schema: Node) -> Kind:
    """Return how values of a schema in canonical form are held."""
    inner, _ = without_null(schema)
    match inner:
        case {"type": "object", "properties": dict() as fields, "additionalProperties": False} if fields:
            return _struct({name: kind_of(one) for name, one in fields.items()})
        case {"type": "array", "items": dict() as items} if "prefixItems" not in inner:
            return _list(kind_of(items))
        case {"type": "string", "format": "date"}:
            return Kind(pa.date32(), _date, is_sure=False)
        case {"type": "string", "format": "date-time"}:
            return Kind(TIMESTAMP, _timestamp, is_sure=False)
        case {"type": "string"}:
            return Kind(pa.string())
        case {"type": "integer"}:
            bounds = [inner.get(name) for name in ("minimum", "maximum")]
            is_sure = all(isinstance(bound, int) and abs(bound) <= INT64_MAX for bound in bounds)
            return Kind(pa.int64(), _integer, is_sure=is_sure)
        case {"type": "number"}:
            return Kind(pa.float64(), float)
        case {"type": "boolean"}:
            return Kind(pa.bool_())
    return Kind(pa.string(), _scalar_text if _is_scalar(inner) else _json, is_sure=False)


def _is_scalar(schema: Node) -> bool:
    """Whether all values are texts, numbers or truth values: they are written without quotes."""
    options = schema.get("anyOf")
    if options:
        return all(_is_scalar(option) for option in options)
    kind = schema.get("type")
    if kind is None and "enum" in schema:
        return not any(isinstance(value, dict | list) for value in schema["enum"])
    kinds = kind if isinstance(kind, list) else [kind]
    return _SCALARS.issuperset(kinds)


def _struct(kinds: Mapping[str, Kind]) -> Kind:
    converts = {name: kind.convert for name, kind in kinds.items() if kind.convert is not None}
    fields = pa.struct([pa.field(name, kind.type) for name, kind in kinds.items()])
    if not converts:
        return Kind(fields)

    def convert(value: Mapping[str, Any]) -> dict[str, Any]:
        found = dict(value)
        for name, inner in converts.items():
            if found.get(name) is not None:
                found[name] = inner(found[name])
        return found

    return Kind(fields, convert, is_sure=all(kind.is_sure for kind in kinds.values()))


def _list(kind: Kind) -> Kind:
    inner = kind.convert
    if inner is None:
        return Kind(pa.list_(kind.type))

    def convert(value: list[Any]) -> list[Any]:
        return [None if one is None else inner(one) for one in value]

    return Kind(pa.list_(kind.type), convert, is_sure=kind.is_sure)


def _integer(value: float) -> int:
    """Return a whole number; 3.0 is one, and so is what JSON readers make of a number over 64 bits."""
    if -INT64_MAX <= value <= INT64_MAX and not (isinstance(value, float) and abs(value) >= 2.0**63):
        return int(value)
    raise Unfit("the integer has more than 64 bits")


def _date(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise Unfit("the date is outside of the years 1 to 9999") from None


def _timestamp(text: str) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(text.upper()).astimezone(dt.UTC)  # it has an offset: its format says so
    except (ValueError, OverflowError):  # a leap second, the year 0
        raise Unfit("the time is none that a timestamp holds") from None


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        raise Unfit("the value is nested too deep") from None


def _scalar_text(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)
