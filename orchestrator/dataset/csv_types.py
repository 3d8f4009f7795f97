"""The types of CSV columns, where a job declares them or has them inferred.

Rule 1: an empty field of a column that is not text is a null.
Rule 2: nothing that a value says is lost by inference: `007`, `+1`, a number of so many digits that a float would round
        it, and dates make a column of text. Only `true` and `false`, whole numbers and floats are more than text.
Rule 3: a value that does not fit is refused with its row and column, never its content.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from orchestrator.domain.dataset import ReadOptions

_BOOL: Final = "^(?:true|false|True|False|TRUE|FALSE)$"
_INT: Final = "^-?(?:0|[1-9][0-9]{0,17})$"
_FLOAT: Final = r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?$"
_ROUNDED: Final = r"(?:[0-9]\.?){16}"  # as many digits as a float may not hold
_DECIMAL: Final = re.compile(r"decimal\((\d+), ?(\d+)\)")
_TIMESTAMP: Final = re.compile(r"timestamp(?:\[(s|ms|us|ns)(?:, ?(.+))?\])?")


class DoesNotFit(Exception):
    """A value is not of its column's type."""

    def __init__(self, offset: int, column: str, kind: pa.DataType) -> None:
        super().__init__(column)
        self.offset, self.column, self.kind = offset, column, kind


def declared_type(name: str) -> pa.DataType:
    """Return the type of a name that ReadOptions has checked. Raises ValueError where Arrow has no such type."""
    if found := _DECIMAL.fullmatch(name):
        return pa.decimal128(int(found[1]), int(found[2]))
    if found := _TIMESTAMP.fullmatch(name):
        return pa.timestamp(found[1] or "us", found[2])
    return pa.type_for_alias({"text": "string", "date": "date32"}.get(name, name))


def declared_types(options: ReadOptions) -> dict[str, pa.DataType]:
    """Return the types that the options name."""
    return {name: declared_type(kind) for name, kind in options.declared_types.items()}


class Inference:
    """What the values of each column have been so far."""

    def __init__(self) -> None:
        self._seen: dict[str, set[str]] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at rows; all columns are strings."""
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            seen = self._seen.setdefault(name, set())
            if "string" not in seen:
                seen |= _kinds(pc.drop_null(values).filter(pc.not_equal(pc.drop_null(values), "")))

    def types(self) -> dict[str, pa.DataType]:
        """Return the type of each column that was seen."""
        return {name: _joined(seen) for name, seen in self._seen.items()}


def _kinds(values: Any) -> set[str]:
    """Return what the values are, none of them null or empty."""
    kinds: set[str] = set()
    for kind, pattern in (("bool", _BOOL), ("int64", _INT), ("double", _FLOAT)):
        if not len(values):
            break
        is_such = pc.match_substring_regex(values, pattern)
        such, values = values.filter(is_such), values.filter(pc.invert(is_such))
        if not len(such):
            continue
        kinds.add(kind)
        if kind != "bool" and pc.any(pc.match_substring_regex(such, _ROUNDED)).as_py():
            kinds.add("long" if kind == "int64" else "string")
    return kinds | {"string"} if len(values) else kinds


def _joined(seen: set[str]) -> pa.DataType:
    if seen in ({"bool"}, {"int64"}):
        return pa.type_for_alias(next(iter(seen)))
    if seen == {"int64", "long"}:
        return pa.int64()
    return pa.float64() if seen in ({"double"}, {"int64", "double"}) else pa.string()


def typed(batch: pa.RecordBatch, types: Mapping[str, pa.DataType]) -> pa.RecordBatch:
    """Return a batch of strings with the columns that have another type cast. Raises DoesNotFit."""
    columns = [
        values if types.get(name, pa.string()) == pa.string() else _cast(values, name, types[name])
        for name, values in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names) if columns else batch


def _cast(values: Any, name: str, kind: pa.DataType) -> Any:
    values = pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)
    cast = _fitting(values, kind)
    if cast is None:
        raise DoesNotFit(_first_misfit(values, kind), name, kind)
    return cast


def _first_misfit(values: Any, kind: pa.DataType) -> int:
    good, bad = 0, len(values)  # the longest head known to fit, the shortest known not to
    while bad - good > 1:
        middle = (good + bad) // 2
        fits = _fitting(values.slice(good, middle - good), kind) is not None
        good, bad = (middle, bad) if fits else (good, middle)
    return good


def _fitting(values: Any, kind: pa.DataType) -> Any:
    """Return texts as `kind`; None where one is no such value, or a number too large for it."""
    try:
        cast = values.cast(kind)
    except pa.ArrowException:
        return None
    if pat.is_floating(kind):
        large = values.filter(pc.fill_null(pc.is_inf(cast), fill_value=False))
        if len(large) and not pc.all(pc.match_substring(large, "inf", ignore_case=True)).as_py():
            return None
    return cast
