"""Texts that are Unicode, for output: bytes that are none become U+FFFD.

JSON can spell half of a surrogate pair, and a Parquet file can hold any bytes as a text. Requests are never made of
such a text; but a column that is only carried along would make the whole output unreadable: DuckDB, polars and Python
refuse a file for one such value.
"""

from __future__ import annotations

import re
from typing import Any, Final

import pyarrow as pa
import pyarrow.types as pat

_TEXTS: Final = (pat.is_string, pat.is_large_string, pat.is_string_view)
_HALF: Final = re.compile("[\ud800-\udfff]")


def well_formed(values: Any) -> Any:
    """Return an array whose texts are Unicode: the same one, if they are."""
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        return _repaired(values)
    return values


def _repaired(values: Any) -> Any:
    kind = values.type
    if isinstance(values, pa.ExtensionArray):
        return pa.ExtensionArray.from_storage(kind, _repaired(values.storage))
    if pat.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(values.indices, _repaired(values.dictionary), ordered=kind.ordered)
    raw = values.cast(_as_bytes(kind)).to_pylist()
    return pa.array([_text(value, kind) for value in raw], kind)


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    """Return the type with bytes in the place of texts."""
    if any(is_text(kind) for is_text in _TEXTS):
        return pa.large_binary()
    if pat.is_struct(kind):
        return pa.struct([field.with_type(_as_bytes(field.type)) for field in kind])
    if pat.is_map(kind):
        return pa.map_(_as_bytes(kind.key_type), _as_bytes(kind.item_type))
    if pat.is_fixed_size_list(kind):
        return pa.list_(_as_bytes(kind.value_type), kind.list_size)
    if pat.is_list(kind):
        return pa.list_(kind.value_field.with_type(_as_bytes(kind.value_type)))
    if pat.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_as_bytes(kind.value_type)))
    return kind


def _text(value: Any, kind: pa.DataType) -> Any:
    """Return a value with texts in the place of bytes, where its type has them."""
    if value is None:
        return None
    if any(is_text(kind) for is_text in _TEXTS):
        return _decoded(value)
    if pat.is_struct(kind):
        return {field.name: _text(value[field.name], field.type) for field in kind}
    if pat.is_map(kind):
        return [(_text(key, kind.key_type), _text(item, kind.item_type)) for key, item in value]
    if pat.is_nested(kind):
        return [_text(item, kind.value_type) for item in value]
    return value


def _decoded(value: bytes) -> str:
    try:
        return _HALF.sub("\ufffd", value.decode(errors="surrogatepass"))
    except UnicodeDecodeError:
        return value.decode(errors="replace")
