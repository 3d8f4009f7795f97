"""Evaluates conditions on columns (`domain.row_expression`) over Arrow batches.

Rule 1: what cannot be evaluated is found on an empty batch, before a row is read, and the error names the column and
        its type.
Rule 2: a text that is compared with a number is read as one, as the columns of a CSV file are texts. One that is no
        number is unknown, like a null.
"""

from __future__ import annotations

import difflib
from datetime import UTC, date, datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.row_expression import Call, Column, Node, Value, columns_of

NAMES_SHOWN: Final = 12
_COMPARE: Final = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_NUMBERS: Final = {  # an overflow is an error: as another number it would choose other rows
    "+": pc.add_checked,
    "-": pc.subtract_checked,
    "*": pc.multiply_checked,
    "/": pc.divide,
    "abs": pc.abs_checked,
}
NUMBER: Final = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
WHOLE: Final = r"^[+-]?[0-9]{1,18}$"  # fits 64 bits: as a float an id could equal its neighbour
INT64_END: Final = 2**63
_TEXTS: Final = {"lower": pc.utf8_lower, "upper": pc.utf8_upper, "trim": pc.utf8_trim_whitespace}


def columns_needed(node: Node, schema: pa.Schema) -> list[str]:
    """Return the columns of a schema that a condition reads. Raises ConfigError where it has none, or cannot be so."""
    needed = list(dict.fromkeys(_top(column, schema) for column in columns_of(node)))
    empty = pa.RecordBatch.from_pylist([], pa.schema([schema.field(name) for name in needed]))
    is_true(node, empty)
    return needed


def is_true(node: Node, batch: pa.RecordBatch) -> pa.Array:
    """Return for each row whether the condition is true of it, and not false or unknown. Raises ConfigError."""
    try:
        found = _condition(node, batch)
    except (pa.ArrowException, OverflowError) as error:
        raise ConfigError(f"--rows: this cannot be computed ({type(error).__name__}): {_words(node)}") from None
    if isinstance(found, pa.Scalar):
        found = pa.repeat(found, batch.num_rows)
    return pc.fill_null(found, fill_value=False)


def _top(column: Column, schema: pa.Schema) -> str:
    for name in (column.name, column.names[0]):
        if name in schema.names:
            return name
    near = [f"llm_{column.name}"] if f"llm_{column.name}" in schema.names else []
    near = near or difflib.get_close_matches(column.name, schema.names, n=1)
    meant = f"; did you mean {near[0]}?" if near else ","
    names = ", ".join(schema.names[:NAMES_SHOWN]) + (", …" if len(schema.names) > NAMES_SHOWN else "")
    raise ConfigError(
        f"--rows: there is no column {column.name!r}{meant} there are: {names} (a text is written in single quotes)"
    )


def _evaluated(node: Node, batch: pa.RecordBatch) -> Any:
    if isinstance(node, Column):
        return _column(node, batch)
    if isinstance(node, Value):
        return pa.scalar(node.value)
    if node.name in _NUMBERS:
        given = [_number(one, batch) for one in node.of]
        if node.name == "/":
            given = [one.cast(pa.float64()) for one in given]
        return _NUMBERS[node.name](*given)
    if node.name in _TEXTS:
        return _TEXTS[node.name](_text(node.of[0], batch))
    if node.name == "length":
        return _length(node.of[0], batch)
    if node.name == "number":
        found = _evaluated(node.of[0], batch)
        return _read(found, NUMBER, pa.float64()) if _is_text(found.type) else _number(node.of[0], batch)
    return _condition(node, batch)


def _condition(node: Node, batch: pa.RecordBatch) -> Any:
    if isinstance(node, Column | Value):
        found = _evaluated(node, batch)
        if not pat.is_boolean(found.type):
            raise ConfigError(
                f"--rows: {_words(node)} is {found.type}, no condition: write one such as column = 'text'"
            )
        return found
    match node.name:
        case "and" | "or":
            combine = pc.and_kleene if node.name == "and" else pc.or_kleene
            found = _condition(node.of[0], batch)
            for one in node.of[1:]:
                found = combine(found, _condition(one, batch))
            return found
        case "not":
            return pc.invert(_condition(node.of[0], batch))
        case "null":
            return pc.is_null(_evaluated(node.of[0], batch))
        case "like" | "ilike":
            return pc.match_like(_text(node.of[0], batch), node.of[1].value, ignore_case=node.name == "ilike")  # type: ignore[union-attr]
        case "in":
            return _among(node, batch)
        case name if name in _COMPARE:
            return _compared(name, *node.of, batch=batch)
    raise ConfigError(f"--rows: {_words(node)} is no condition: compare it with something")


def _column(column: Column, batch: pa.RecordBatch) -> Any:
    name = _top(column, batch.schema)
    found = batch[name]
    for field in () if name == column.name else column.names[1:]:
        if not pat.is_struct(found.type) or field not in [one.name for one in found.type]:
            fields = ", ".join(one.name for one in found.type) if pat.is_struct(found.type) else "none"
            raise ConfigError(f"--rows: {column.name}: {name} ({found.type}) has no field {field!r}; it has: {fields}")
        found = pc.struct_field(found, field)
    if isinstance(found.type, pa.BaseExtensionType):
        found = found.storage
    return found.dictionary_decode() if pat.is_dictionary(found.type) else found


def _is_text(kind: pa.DataType) -> bool:
    return bool(pat.is_string(kind) or pat.is_large_string(kind) or pat.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pat.is_integer(kind) or pat.is_floating(kind) or pat.is_decimal(kind))


def _text(node: Node, batch: pa.RecordBatch) -> Any:
    found = _evaluated(node, batch)
    if not _is_text(found.type):
        raise ConfigError(f"--rows: {_words(node)} is {found.type}, and a text is needed here")
    return found.cast(pa.string()) if pat.is_string_view(found.type) else found


def _number(node: Node, batch: pa.RecordBatch) -> Any:
    found = _evaluated(node, batch)
    if not _is_number(found.type):
        way_out = f": write number({_words(node)})" if _is_text(found.type) else ""
        raise ConfigError(f"--rows: {_words(node)} is {found.type}, and a number is needed here{way_out}")
    if pat.is_decimal(found.type):
        return found.cast(pa.float64())
    return found.cast(pa.int64()) if pat.is_integer(found.type) else found  # two of 8 bits may make one of 9


def _length(node: Node, batch: pa.RecordBatch) -> Any:
    found = _evaluated(node, batch)
    if pat.is_list(found.type) or pat.is_large_list(found.type) or pat.is_fixed_size_list(found.type):
        return pc.list_value_length(found)
    if pat.is_binary(found.type) or pat.is_large_binary(found.type):
        return pc.binary_length(found)
    return pc.utf8_length(_text(node, batch))


def _compared(name: str, left: Node, right: Node, *, batch: pa.RecordBatch) -> Any:
    for texts, number, is_turned in ((left, right, False), (right, left, True)):
        inner = texts.of[0] if isinstance(texts, Call) and texts.name == "number" else texts
        if (value := _written_number(number)) is not None and not isinstance(inner, Value):
            found = _evaluated(inner, batch)
            if _is_text(found.type):
                return _read_and_compared(name, found, value, is_turned=is_turned)
    return _COMPARE[name](*_alike(left, right, batch=batch))


def _written_number(node: Node) -> float | None:
    is_one = isinstance(node, Value) and isinstance(node.value, int | float) and not isinstance(node.value, bool)
    return node.value if is_one else None  # type: ignore[union-attr, return-value]


def _read_and_compared(name: str, texts: Any, number: float, *, is_turned: bool) -> Any:
    def compared(column: Any, value: float) -> Any:
        written = pa.scalar(value, column.type)
        return _COMPARE[name](*((written, column) if is_turned else (column, written)))

    found = compared(_read(texts, NUMBER, pa.float64()), float(number))
    if not float(number).is_integer() or abs(number) >= INT64_END:
        return found
    whole = _read(texts, WHOLE, pa.int64())
    return pc.if_else(pc.is_valid(whole), compared(whole, int(number)), found)


def _read(texts: Any, pattern: str, kind: pa.DataType) -> Any:
    """Return texts of a pattern as numbers, others as nulls; spaces around them do not count."""
    trimmed = pc.utf8_trim_whitespace(texts.cast(pa.large_string()))
    is_one = pc.match_substring_regex(trimmed, pattern)
    return pc.if_else(is_one, pc.utf8_ltrim(trimmed, "+"), pa.scalar(None, pa.large_string())).cast(kind)


def _alike(left: Node, right: Node, *, batch: pa.RecordBatch) -> tuple[Any, Any]:
    """Return two sides of a comparison in types that can be compared."""
    if isinstance(left, Value) and not isinstance(right, Value):
        other, mine = _alike(right, left, batch=batch)
        return mine, other
    found = _evaluated(left, batch)
    if pat.is_decimal(found.type):
        found = found.cast(pa.float64())
    if isinstance(right, Value):
        return found, _value_like(right.value, found.type, left)
    other = _evaluated(right, batch)
    other = other.cast(pa.float64()) if pat.is_decimal(other.type) else other
    is_same = found.type == other.type or any(
        kind(found.type) and kind(other.type) for kind in (_is_text, _is_number, pat.is_temporal)
    )
    if not is_same:
        raise ConfigError(
            f"--rows: {_words(left)} is {found.type} and {_words(right)} is {other.type}: these cannot be compared"
            f"{_hint(left, found.type, other.type) or _hint(right, other.type, found.type)}"
        )
    return found, other


def _hint(node: Node, kind: pa.DataType, other: pa.DataType) -> str:
    return f"; number({_words(node)}) reads a text as a number" if _is_text(kind) and _is_number(other) else ""


def _value_like(value: object, kind: pa.DataType, beside: Node) -> pa.Scalar:
    """Return a written value in the type of what it is compared with. Raises ConfigError."""
    if value is None:
        raise ConfigError(f"--rows: nothing equals NULL: write {_words(beside)} IS NULL, or IS NOT NULL")
    if _is_text(kind) and isinstance(value, str):
        return pa.scalar(value, kind)
    if pat.is_boolean(kind) and isinstance(value, bool):
        return pa.scalar(value)
    if _is_number(kind) and isinstance(value, int | float) and not isinstance(value, bool):
        return pa.scalar(value)
    if isinstance(value, str) and (found := _moment(value, kind)) is not None:
        return found
    example = "'2026-12-01'" if pat.is_temporal(kind) else "a number" if _is_number(kind) else "true or false"
    if _is_text(kind):
        example = "a text in single quotes"
    elif not (pat.is_temporal(kind) or _is_number(kind) or pat.is_boolean(kind)):
        raise ConfigError(f"--rows: {_words(beside)} is {kind}, which is compared with no value; IS NULL is possible")
    raise ConfigError(f"--rows: {_words(beside)} is {kind}: compare it with {example}, not with {_words(Value(value))}")  # type: ignore[arg-type]


def _moment(value: str, kind: pa.DataType) -> pa.Scalar | None:
    try:
        if pat.is_date(kind):
            return pa.scalar(date.fromisoformat(value), kind)
        if pat.is_timestamp(kind):
            found = datetime.fromisoformat(value)
            if kind.tz is None:
                return None if found.tzinfo else pa.scalar(found, kind)
            return pa.scalar(found if found.tzinfo else found.replace(tzinfo=UTC), kind)
    except ValueError:
        return None
    return None


def _among(node: Call, batch: pa.RecordBatch) -> Any:
    of, *written = node.of
    found = _evaluated(of, batch)
    if None not in map(_written_number, written) and _is_text(found.type):
        return _condition(Call("or", tuple(Call("=", (of, one)) for one in written)), batch)
    if pat.is_decimal(found.type):
        found = found.cast(pa.float64())
    values = [_value_like(one.value, found.type, of) for one in written if isinstance(one, Value)]
    if _is_number(found.type) and any(pat.is_floating(value.type) for value in values):
        found = found.cast(pa.float64())
    wanted = pa.array([value.as_py() for value in values], found.type)
    return pc.if_else(pc.is_null(found), None, pc.is_in(found, value_set=wanted))


def _words(node: Node) -> str:
    """Return a condition about as it was written."""
    if isinstance(node, Column):
        return node.name
    if isinstance(node, Value):
        if isinstance(node.value, str):
            return "'" + node.value.replace("'", "''") + "'"
        return "null" if node.value is None else str(node.value).lower()
    of = [_words(one) for one in node.of]
    if node.name in ("and", "or", "+", "-", "*", "/", "like", "ilike") or node.name in _COMPARE:
        return f" {node.name.upper()} ".join(of)
    return f"{node.name}({', '.join(of)})"
