"""Digests the content of Arrow arrays: their values, not their memory.

The same values can be in memory in many ways: sliced from a longer array, with any bytes under a null, with a
dictionary in any order, with other bits after the last value. Arrow's own serialisation keeps these differences: a
slice is padded with the bytes of the following rows. So each type is digested value by value, with lengths as
separators.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat
import xxhash


def absorb(digest: xxhash.xxh3_128, values: Any) -> None:
    """Add the values of an array to `digest`: equal values add equal bytes."""
    if isinstance(values.type, pa.BaseExtensionType):
        values = values.storage
    if pat.is_dictionary(values.type):
        values = values.dictionary_decode()
    digest.update(b"%d %d " % (len(values), values.null_count))
    if pat.is_null(values.type):
        return
    if values.null_count:
        _absorb_fixed(digest, values.is_valid().cast(pa.uint8()))
        values = values.drop_null()
    kind = values.type
    if pat.is_boolean(kind):
        _absorb_fixed(digest, values.cast(pa.uint8()))
    elif _is_bytes_like(kind):
        texts = values.cast(pa.large_binary())
        _absorb_fixed(digest, pc.binary_length(texts))
        digest.update(b"".join(texts.to_pylist()))
    elif pat.is_list(kind) or pat.is_large_list(kind):
        _absorb_fixed(digest, pc.list_value_length(values).cast(pa.int64()))
        absorb(digest, values.flatten())
    elif pat.is_struct(kind):
        for child in values.flatten():
            absorb(digest, child)
    elif pat.is_primitive(kind) or pat.is_decimal(kind) or pat.is_fixed_size_binary(kind):
        _absorb_fixed(digest, values)
    else:
        digest.update(repr(values.to_pylist()).encode())  # maps and rarer types: slow, but correct


def _absorb_fixed(digest: xxhash.xxh3_128, values: Any) -> None:
    """Add values of one width, none of them null."""
    width_bytes = values.type.bit_width // 8
    if len(values):
        digest.update(values.buffers()[1].slice(values.offset * width_bytes, len(values) * width_bytes))


def _is_bytes_like(kind: pa.DataType) -> bool:
    families = (
        *(pat.is_string, pat.is_large_string, pat.is_string_view),
        *(pat.is_binary, pat.is_large_binary, pat.is_binary_view),
    )
    return any(family(kind) for family in families)
