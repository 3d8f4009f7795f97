"""One schema for many files, and batches conformed to it.

Rule 1: the first file is the reference; a column of only nulls takes the type of the next file that has one, and
        numbers and times the widest type of all files: a value that does not fit would be found when it is paid for.
Rule 2: a missing column becomes nulls; a type that can be cast without loss is cast; any other difference is an error
        that names the column.
Rule 3: metadata (Parquet field ids) is dropped and every field is nullable: both differ between files of one writer,
        and would make equal schemas unequal. `with_notes` brings back what describes values, once schemas are merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import Final

import pyarrow as pa
import pyarrow.types as pat

from orchestrator.dataset.plain_types import NoSuchType, as_type, noted, plain_type
from orchestrator.domain.errors import DatasetError

KEPT_NOTES: Final = (b"pandas", b"huggingface", b"geo")


def schema_text(schema: pa.Schema) -> str:
    """Return the schema as text for digests: names and types, one a line."""
    return "\n".join(f"{field.name!r}: {field.type}" for field in schema)


def plain_schema(schema: pa.Schema, where: str) -> pa.Schema:
    """Return `schema` without metadata, with nullable fields of plain types. Raises DatasetError; `where` it is."""
    fields = []
    for field in schema:
        try:
            fields.append(pa.field(field.name, plain_type(field.type)))
        except NoSuchType as error:
            raise DatasetError(
                f"{where}: column {field.name!r} cannot be written to the output: {error}, or leave the "
                "column out of the dataset"
            ) from None
    return pa.schema(fields)


def with_notes(schema: pa.Schema, first: pa.Schema) -> pa.Schema:
    """Return a plain schema with what the first file says of its values, for columns of the same type in all files.

    That is the metadata of fields (the types of geoarrow, pandas and others, which this process may not know), and of
    the schema what pandas, Hugging Face and GeoParquet wrote. Others, such as Spark's, list all columns of a file, and
    would hide those of the output.
    """
    fields, is_same = [], True
    for field in schema:
        before = first.field(field.name) if field.name in first.names else None
        fits = before is not None and plain_type(before.type).equals(field.type)
        fields.append(noted(field, before) if before is not None and fits else field)
        is_same &= fits or before is None
    notes = first.metadata or {}
    kept = {key: notes[key] for key in KEPT_NOTES if key in notes and (is_same or key != b"pandas")}
    return pa.schema(fields, metadata=kept or None)


def refuse_duplicates(where: str, names: Sequence[str]) -> None:
    """Raise DatasetError for a duplicate column name."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DatasetError(f"{where}: more than one column is named {', '.join(map(repr, twice))}")


def by_likeness(name: str, names: Iterable[str]) -> list[str]:
    """Return `names`, the one most similar to `name` first."""
    folded = name.casefold()
    return sorted(names, key=lambda other: -SequenceMatcher(None, folded, other.casefold()).ratio())


def unify(
    schemas: Sequence[tuple[str, pa.Schema]], partition_keys: Sequence[str] = (), *, has_utc: bool = False
) -> pa.Schema:
    """Return the declared schema of files given as (name, schema), with partition columns of strings at the end.

    Args:
        has_utc: a timestamp without a zone is one in UTC, where the first file says so.
    """
    first_name, first = schemas[0]
    types = {field.name: field.type for field in plain_schema(first, first_name)}
    origin = dict.fromkeys(types, first_name)
    seen = {first}
    for name, schema in schemas[1:]:
        if schema in seen:
            continue  # with thousands of files of one writer, the comparison by field is not repeated
        seen.add(schema)
        for field in plain_schema(schema, name):
            if field.name not in types:
                if field.name in partition_keys:
                    continue
                raise DatasetError(
                    f"{name} has a column {field.name!r} that {first_name} does not have; "
                    "the first file (by name) defines the columns"
                )
            declared = types[field.name]
            if pat.is_null(declared):
                types[field.name], origin[field.name] = field.type, name
            elif not _fits(field.type, declared) and not (has_utc and _is_utc(field.type, declared)):
                raise DatasetError(
                    f"{name}: column {field.name!r} is {field.type}, but {declared} in {origin[field.name]}"
                )
            else:
                types[field.name] = _wider(declared, field.type)
    for key in partition_keys:
        types.setdefault(key, pa.string())
    return pa.schema(list(types.items()))


def conform(
    batch: pa.RecordBatch, declared: pa.Schema, partitions: Sequence[tuple[str, str | None]], file_name: str
) -> pa.RecordBatch:
    """Return `batch` with exactly the declared columns, in the declared order and types."""
    if not declared.names:
        return batch.select([])
    if batch.schema.equals(declared):
        return pa.RecordBatch.from_arrays(batch.columns, schema=declared)
    present = set(batch.schema.names)
    constants = dict(partitions)
    arrays = []
    for field in declared:
        try:
            if field.name in present:
                arrays.append(as_type(batch.column(field.name), field.type))
            elif constants.get(field.name) is not None:
                constant = pa.scalar(constants[field.name], pa.string()).cast(field.type)
                arrays.append(pa.repeat(constant, batch.num_rows))
            else:
                arrays.append(pa.nulls(batch.num_rows, field.type))
        except pa.ArrowException as exc:
            # from None: a failed cast quotes the value it failed on.
            raise DatasetError(
                f"{file_name}: column {field.name!r} holds a value that is no {field.type} ({type(exc).__name__})"
            ) from None
    return pa.RecordBatch.from_arrays(arrays, schema=declared)


def _wider(declared: pa.DataType, kind: pa.DataType) -> pa.DataType:
    """Return the type that holds the values of both, which fit each other but for their width or unit."""
    both = [pa.schema([("x", one)]) for one in (declared, kind)]
    try:
        return pa.unify_schemas(both, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return declared


def _is_utc(kind: pa.DataType, declared: pa.DataType) -> bool:
    """Whether a timestamp has lost its zone, as Spark's INT96 has."""
    return bool(pat.is_timestamp(kind) and pat.is_timestamp(declared) and kind.tz is None and declared.tz == "UTC")


def _fits(kind: pa.DataType, declared: pa.DataType) -> bool:
    if kind.equals(declared) or pat.is_null(kind):
        return True
    if pat.is_dictionary(kind) or pat.is_dictionary(declared):
        return _fits(_value_type(kind), _value_type(declared))
    if pat.is_struct(kind) and pat.is_struct(declared):
        ours = {field.name: field.type for field in declared}
        return [field.name for field in kind] == list(ours) and all(
            _fits(field.type, ours[field.name]) for field in kind
        )
    if _is_list(kind) and _is_list(declared):
        return _fits(kind.value_type, declared.value_type)
    if pat.is_timestamp(kind) and pat.is_timestamp(declared):
        return (kind.tz is None) == (declared.tz is None)
    if pat.is_floating(declared):
        return bool(pat.is_floating(kind) or pat.is_integer(kind))
    families = (pat.is_integer, _is_text, _is_binary, pat.is_date, pat.is_time, pat.is_duration, pat.is_decimal)
    return any(family(kind) and family(declared) for family in families)


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pat.is_dictionary(kind) else kind


def _is_list(kind: pa.DataType) -> bool:
    return bool(pat.is_list(kind) or pat.is_large_list(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pat.is_string(kind) or pat.is_large_string(kind) or pat.is_string_view(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pat.is_binary(kind) or pat.is_large_binary(kind) or pat.is_binary_view(kind))
