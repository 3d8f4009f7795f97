"""The types that a column has here, whatever form its source has: types that Parquet can hold, with the same values.

Rule 1: a form that exists in memory only is undone: views, run-end encoding, dictionaries of anything but texts, bytes
        and numbers, lists as views, indices of other widths.
Rule 2: what Parquet cannot hold and a text can is that text: an object without fields is `{}`.
Rule 3: anything else that Parquet cannot hold is refused by name; nothing is dropped.
Rule 4: an extension type is known in every process or in none: one that a library registers (pandas, geoarrow) is what
        it is stored as, with its name in the field's metadata. Its library makes it whole again when it reads.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

DEPTH_MAX: Final = 100  # of nested lists, structs and maps; Parquet's readers stop soon after
DECIMAL_DIGITS_MAX: Final = 76
EMPTY_OBJECT: Final = "{}"
FIELD_ID: Final = b"PARQUET:field_id"


class NoSuchType(ValueError):
    """Parquet has no such type; the message says what it is, and what to do."""


def plain_type(kind: pa.DataType, depth: int = 0) -> pa.DataType:
    """Return the type that a column of this type has here. Raises NoSuchType."""
    if depth > DEPTH_MAX:
        raise NoSuchType(f"it is nested more than {DEPTH_MAX} deep; write it as a JSON text")
    if isinstance(kind, pa.BaseExtensionType):
        storage = plain_type(kind.storage_type, depth)
        return kind if _is_arrows_own(kind) and storage.equals(kind.storage_type) else storage
    if pat.is_dictionary(kind):
        value = plain_type(kind.value_type, depth)
        return pa.dictionary(pa.int32(), value, kind.ordered) if _may_be_dictionary(value) else value
    if pat.is_run_end_encoded(kind):
        return plain_type(kind.value_type, depth)
    if pat.is_string_view(kind):
        return pa.string()
    if pat.is_binary_view(kind):
        return pa.binary()
    if pat.is_union(kind):
        raise NoSuchType("it is or holds a union of types; make it one type, or a JSON text")
    if pat.is_interval(kind):
        raise NoSuchType("it is or holds an interval of months, days and nanoseconds; write it as a duration or a text")
    if pat.is_decimal(kind) and kind.scale < 0:
        return _whole_decimal(kind)
    return _plain_nested(kind, depth) if pat.is_nested(kind) else kind


def noted(plain: pa.Field, before: pa.Field) -> pa.Field:
    """Return a field with the metadata that the field it was made of has, and the name of its extension type."""
    notes = {key: value for key, value in (before.metadata or {}).items() if key != FIELD_ID}
    kind = before.type
    if isinstance(kind, pa.ExtensionType) and not plain.type.equals(kind):
        notes[b"ARROW:extension:name"] = kind.extension_name.encode()
        notes[b"ARROW:extension:metadata"] = kind.__arrow_ext_serialize__()
    return plain.with_metadata(notes) if notes else plain


def _is_arrows_own(kind: pa.DataType) -> bool:
    return type(kind).__module__.partition(".")[0] == "pyarrow"


def _plain_nested(kind: pa.DataType, depth: int) -> pa.DataType:
    if pat.is_struct(kind):
        fields = [
            noted(pa.field(field.name, plain_type(field.type, depth + 1), field.nullable), field) for field in kind
        ]
        return pa.struct(fields) if fields else pa.string()
    if pat.is_map(kind):
        key, item = plain_type(kind.key_type, depth + 1), plain_type(kind.item_type, depth + 1)
        return pa.map_(key, item, kind.keys_sorted)
    given = kind.value_field
    value = noted(pa.field(given.name, plain_type(given.type, depth + 1), given.nullable), given)
    if pat.is_fixed_size_list(kind):
        return pa.list_(value, kind.list_size)
    is_large = pat.is_large_list(kind) or pat.is_large_list_view(kind)
    return pa.large_list(value) if is_large else pa.list_(value)


def _may_be_dictionary(value: pa.DataType) -> bool:
    is_bytes = pat.is_string(value) or pat.is_large_string(value) or pat.is_binary(value) or pat.is_large_binary(value)
    return bool(is_bytes or (pat.is_primitive(value) and not pat.is_boolean(value)))


def _whole_decimal(kind: pa.DataType) -> pa.DataType:
    digits = kind.precision - kind.scale
    if digits > DECIMAL_DIGITS_MAX:
        raise NoSuchType(f"it is or holds a decimal of {digits} digits; write it as a text")
    return pa.decimal128(digits, 0) if digits <= pa.decimal128(38, 0).precision else pa.decimal256(digits, 0)


def as_type(array: Any, kind: pa.DataType) -> Any:
    """Return an array as `kind`, a plain type that its own fits. Raises ArrowException for a value that does not."""
    own = array.type
    if own.equals(kind):
        return array
    if isinstance(own, pa.BaseExtensionType):
        return as_type(array.storage, kind)
    if pat.is_run_end_encoded(own):
        return as_type(pc.run_end_decode(array), kind)
    if pat.is_dictionary(own) or pat.is_dictionary(kind):
        return _as_dictionary(array, kind)
    if pat.is_struct(own) and not own.num_fields:
        return pc.if_else(array.is_valid(), pa.scalar(EMPTY_OBJECT, kind), pa.scalar(None, kind))
    if pat.is_decimal(own) and own.scale < 0:
        return array.cast(pa.decimal256(DECIMAL_DIGITS_MAX, 0)).cast(kind)
    if pat.is_nested(own) and pat.is_nested(kind):
        return _as_nested(array, kind)
    return array.cast(kind)


def _as_dictionary(array: Any, kind: pa.DataType) -> Any:
    if not pat.is_dictionary(array.type):
        return as_type(array, kind.value_type).dictionary_encode().cast(kind)
    if not pat.is_dictionary(kind):
        values = as_type(array.dictionary, kind)
        return values.take(array.indices)
    values = as_type(array.dictionary, kind.value_type)
    if values.null_count:  # a null among the values is a null of the column
        return values.take(array.indices).dictionary_encode().cast(kind)
    return pa.DictionaryArray.from_arrays(array.indices.cast(pa.int32()), values, ordered=kind.ordered)


def _as_nested(array: Any, kind: pa.DataType) -> Any:
    if pat.is_list_view(array.type) or pat.is_large_list_view(array.type):
        array = _as_list(array)
    if _is_cast_enough(array.type, kind):
        return array.cast(kind)
    absent = array.is_null()
    if pat.is_struct(kind):
        children = [as_type(array.field(number), field.type) for number, field in enumerate(kind)]
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=absent)
    if pat.is_fixed_size_list(kind):
        size = kind.list_size
        values = array.values.slice(array.offset * size, len(array) * size)
        return pa.FixedSizeListArray.from_arrays(as_type(values, kind.value_type), type=kind, mask=absent)
    offsets = array.offsets
    first = offsets[0].as_py() if len(offsets) else 0
    offsets = pc.subtract(offsets, pa.scalar(first, offsets.type))
    last = offsets[-1].as_py() if len(offsets) else 0
    if pat.is_map(kind):
        keys, items = (part.slice(first, last) for part in (array.keys, array.items))
        pairs = as_type(keys, kind.key_type), as_type(items, kind.item_type)
        return pa.MapArray.from_arrays(offsets, *pairs, type=kind, mask=absent)
    values = as_type(array.values.slice(first, last), kind.value_type)
    if pat.is_large_list(kind):
        return pa.LargeListArray.from_arrays(offsets.cast(pa.int64()), values, type=kind, mask=absent)
    return pa.ListArray.from_arrays(offsets.cast(pa.int32()), values, type=kind, mask=absent)


def _as_list(views: Any) -> Any:
    """Return lists of an array of list views; Arrow's own cast breaks where one is null."""
    lengths = pc.fill_null(pc.list_value_length(views), 0).cast(pa.int64())
    ends = pc.cumulative_sum(lengths)
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), ends])
    kind = pa.large_list(views.type.value_field)
    return pa.LargeListArray.from_arrays(offsets, views.flatten(), type=kind, mask=views.is_null())


def _is_cast_enough(own: pa.DataType, kind: pa.DataType) -> bool:
    """Whether Arrow's own cast does it: nothing inside is of a form that the cast does not know."""
    if own.equals(kind):
        return True
    if pat.is_nested(own) and pat.is_nested(kind) and type(own) is type(kind) and own.num_fields == kind.num_fields:
        return all(_is_cast_enough(own.field(n).type, kind.field(n).type) for n in range(own.num_fields))
    odd = (pat.is_dictionary, pat.is_run_end_encoded, pat.is_nested, pat.is_list_view, pat.is_large_list_view)
    is_odd = any(is_of(own) for is_of in odd) or isinstance(own, pa.BaseExtensionType)
    return not is_odd and not (pat.is_decimal(own) and own.scale < 0)
