r"""Arrow columns as text, escaped for a JSON string: bytes in, bytes out, no `str` on the fast path.

Rule 1: the bytes are those that `orjson.dumps(text)[1:-1]` would give, for every text; a test compares them.
Rule 2: text that is not UTF-8, or a value without a text (a time stamp of the year 20000), fails its own row only.
Rule 3: one form per type. Strings as they are; integers in decimal; floats as Python writes them, shortest that reads
        back the same (`1.0`, `1e-07`, `nan`, `inf`); decimals without exponent; `true`, `false`; dates, times and time
        stamps in ISO 8601, with the offset where they have a zone; durations in ISO 8601 (`PT93784.5S`, seconds only);
        UUIDs with hyphens; lists, structs and maps as compact JSON, not ASCII-escaped. A null is the empty text.

How: a column's texts are joined with 0xFF, a byte UTF-8 never holds, escaped by one chain of replaces over the whole,
and split again. A row at a time costs twice as much, `str` and orjson three times (`benchmarks/render.py`).
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

_SEPARATOR: Final = b"\xff"
_FREQUENT: Final = ((b"\\", b"\\\\"), (b'"', b'\\"'), (b"\n", b"\\n"), (b"\r", b"\\r"), (b"\t", b"\\t"))
_SHORT: Final = {8: b"\\b", 9: b"\\t", 10: b"\\n", 12: b"\\f", 13: b"\\r"}
_RARE: Final = tuple((bytes([code]), _SHORT.get(code, b"\\u%04x" % code)) for code in range(0x20))
_NESTED_OPTIONS: Final = orjson.OPT_NON_STR_KEYS
_TICKS_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_UNWRITABLE: Final = (pa.ArrowException, ValueError, OverflowError, KeyError, TypeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class EscapedTexts:
    """A column's texts, each ready to stand in a JSON string; b"" for nulls and for the unwritable."""

    texts: Sequence[bytes]
    unwritable: tuple[int, ...] = ()  # offsets of values that have no text


def plain_values(array: Any) -> Any:
    """Return the values behind dictionary codes and extension types (UUIDs excepted); nulls show as nulls."""
    if pat.is_dictionary(array.type):
        return plain_values(array.dictionary_decode())
    if isinstance(array.type, pa.BaseExtensionType) and not isinstance(array.type, pa.UuidType):
        return plain_values(array.storage)
    return array


def escaped_texts(values: Any) -> EscapedTexts:
    """Return the texts of `values`, an array as `plain_values` gives it."""
    if len(values) == 0 or pat.is_null(values.type):
        return EscapedTexts(texts=[b""] * len(values))
    if pat.is_string(values.type):
        return _escaped_strings(values)
    if pat.is_large_string(values.type) or pat.is_string_view(values.type):
        return _escaped_strings(values.cast(pa.string()))
    if pat.is_integer(values.type) or pat.is_date(values.type) or pat.is_time(values.type):
        texts = values.cast(pa.string()).cast(pa.binary()).fill_null(b"").to_pylist()
        return EscapedTexts(texts=texts)
    return _written_one_by_one(values, _writer(values.type))


def escape(text: bytes) -> bytes:
    """Return UTF-8 `text` as it stands in a JSON string, byte for byte as orjson writes it."""
    for plain, escaped in _FREQUENT:
        text = text.replace(plain, escaped)
    if text and np.frombuffer(text, np.uint8).min() < 0x20:
        for plain, escaped in _RARE:
            text = text.replace(plain, escaped)
    return text


def _escaped_strings(values: Any) -> EscapedTexts:
    binary = values.cast(pa.binary()).fill_null(b"")  # no copy: the same buffers under another type
    try:
        # Parquet does not check what it reads. A vectorised check in numpy was tried: no faster than Arrow's.
        values.validate(full=True)
    except pa.ArrowInvalid:
        texts = binary.to_pylist()
        unwritable = tuple(offset for offset, text in enumerate(texts) if not _is_utf8(text))
        for offset in unwritable:
            texts[offset] = b""
        return EscapedTexts(texts=[escape(text) for text in texts], unwritable=unwritable)
    joined = pc.binary_join(pa.ListArray.from_arrays([0, len(binary)], binary), _SEPARATOR)[0].as_buffer().to_pybytes()
    return EscapedTexts(texts=escape(joined).split(_SEPARATOR))


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _written_one_by_one(values: Any, write: Callable[[Any], list[bytes]]) -> EscapedTexts:
    valid = values.is_valid().to_pylist()
    try:
        written = iter(write(values.drop_null()))
        return EscapedTexts(texts=[next(written) if present else b"" for present in valid])
    except _UNWRITABLE:
        pass
    texts: list[bytes] = []
    unwritable: list[int] = []
    for offset, present in enumerate(valid):
        try:
            texts.append(write(values.slice(offset, 1))[0] if present else b"")
        except _UNWRITABLE:
            texts.append(b"")
            unwritable.append(offset)
    return EscapedTexts(texts=texts, unwritable=tuple(unwritable))


def _writer(kind: pa.DataType) -> Callable[[Any], list[bytes]]:
    """Return what writes an array of `kind` without nulls."""
    if pat.is_boolean(kind):
        return lambda values: [b"true" if value else b"false" for value in values.to_pylist()]
    if pat.is_floating(kind):
        # str of a numpy float is the shortest for its own width: 0.1, where float(float32) gives 0.10000000149011612.
        return lambda values: [str(value).encode() for value in values.to_numpy()]
    if pat.is_decimal(kind):
        return lambda values: [f"{value:f}".encode() for value in values.to_pylist()]
    if pat.is_timestamp(kind):
        return lambda values: [value.isoformat().encode() for value in values.to_pylist()]
    if pat.is_duration(kind):
        ticks = _TICKS_PER_SECOND[kind.unit]
        return lambda values: [_duration(value, ticks) for value in values.cast(pa.int64()).to_pylist()]
    if isinstance(kind, pa.UuidType):
        return lambda values: [str(value).encode() for value in values.to_pylist()]
    return lambda values: [_nested(value) for value in values.to_pylist(maps_as_pydicts="strict")]


def _duration(count: int, ticks_per_second: int) -> bytes:
    seconds, rest = divmod(abs(count), ticks_per_second)
    fraction = str(rest).zfill(len(str(ticks_per_second)) - 1).rstrip("0") if rest else ""
    return f"{'-' if count < 0 else ''}PT{seconds}{'.' if fraction else ''}{fraction}S".encode()


def _nested(value: object) -> bytes:
    return escape(orjson.dumps(value, default=_inside_nested, option=_NESTED_OPTIONS))


def _inside_nested(value: object) -> str:
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    if isinstance(value, dt.datetime):  # pandas' own, which has nanoseconds
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return _duration(round(value / dt.timedelta(microseconds=1)), 10**6).decode()
    return str(value)  # a UUID: other types are JSON, or have no text and were refused with the template
