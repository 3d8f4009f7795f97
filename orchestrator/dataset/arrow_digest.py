"""Digests the content of columns: their values, not their memory, and not how the rows are cut into batches.

The same values can be in memory in many ways: sliced from a longer array, with any bytes under a null, with a
dictionary in any order. So each type is digested value by value, in streams: which values are null, the lengths, the
bytes. A stream does not show where a batch ended.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat
import xxhash


class RowsDigest:
    """The digests of some columns, batch after batch."""

    def __init__(self) -> None:
        self._columns: dict[str, _ColumnDigest] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Add rows; every batch has the same columns."""
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            if name not in self._columns:
                self._columns[name] = _ColumnDigest(values.type)
            self._columns[name].add(values)

    def values(self) -> dict[str, str]:
        """Return for each column its type and 32 hexadecimal digits: equal for equal values of one type."""
        return {name: f"{column.kind} {column.hexdigest()}" for name, column in self._columns.items()}


class _ColumnDigest:
    def __init__(self, kind: pa.DataType) -> None:
        self.kind = kind
        self._streams: dict[str, xxhash.xxh3_128] = {}

    def add(self, values: Any) -> None:
        self._absorb(values, "")

    def hexdigest(self) -> str:
        whole = xxhash.xxh3_128()
        for path in sorted(self._streams):
            whole.update(path.encode() + b"\0" + self._streams[path].digest())
        return whole.hexdigest()

    def _absorb(self, values: Any, path: str) -> None:
        if isinstance(values.type, pa.BaseExtensionType):
            values = values.storage
        if pat.is_dictionary(values.type):
            values = values.dictionary_decode()
        if values.null_count:
            self._fixed(values.is_valid().cast(pa.uint8()), f"{path}?")
            values = values.drop_null()
        else:
            self._stream(f"{path}?").update(b"\1" * len(values))
        if pat.is_null(values.type) or not len(values):
            return
        self._absorb_valid(values, path)

    def _absorb_valid(self, values: Any, path: str) -> None:
        kind = values.type
        if pat.is_boolean(kind):
            self._fixed(values.cast(pa.uint8()), path)
        elif _is_bytes_like(kind):
            texts = values.cast(pa.large_binary())
            self._fixed(pc.binary_length(texts), f"{path}#")
            self._stream(path).update(_bytes_of(texts))
        elif pat.is_list(kind) or pat.is_large_list(kind):
            self._fixed(pc.list_value_length(values).cast(pa.int64()), f"{path}#")
            self._absorb(values.flatten(), f"{path}[]")
        elif pat.is_struct(kind):
            for number, child in enumerate(values.flatten()):
                self._absorb(child, f"{path}.{number}")
        elif pat.is_primitive(kind) or pat.is_decimal(kind) or pat.is_fixed_size_binary(kind):
            self._fixed(values, path)
        else:  # maps and rarer types: slow, but correct
            for value in values.to_pylist():
                self._stream(path).update(repr(value).encode() + b"\0")

    def _fixed(self, values: Any, path: str) -> None:
        """Add values of one width, none of them null."""
        width_bytes = values.type.bit_width // 8
        content = values.buffers()[1].slice(values.offset * width_bytes, len(values) * width_bytes)
        self._stream(path).update(content)

    def _stream(self, path: str) -> xxhash.xxh3_128:
        if path not in self._streams:
            self._streams[path] = xxhash.xxh3_128()
        return self._streams[path]


def _bytes_of(texts: Any) -> Any:
    """Return the bytes of all values, without nulls among them, one after another."""
    _, offsets, content = texts.buffers()
    ends = memoryview(offsets).cast("q")
    start, end = ends[texts.offset], ends[texts.offset + len(texts)]
    return content.slice(start, end - start) if content is not None else b""


def _is_bytes_like(kind: pa.DataType) -> bool:
    families = (
        *(pat.is_string, pat.is_large_string, pat.is_string_view),
        *(pat.is_binary, pat.is_large_binary, pat.is_binary_view),
    )
    return any(family(kind) for family in families)
