"""JSON, one object a line or an array of objects, read as a stream under a schema inferred once.

Rule 1: the schema comes from the first 256 MiB of the files (uncompressed), merged over pieces: integers and floats
        become floats, objects become structs of all their fields. A string that looks like a date stays a string.
Rule 2: a line or element is a row. Blank lines are skipped; a missing field is null.
Rule 3: a later line that does not fit is refused with its file and number, never its content.
Rule 4: no digit is lost: an integer that a column of floats cannot hold is refused, with its file and number.
Rule 5: a text with half of a surrogate pair, which is no Unicode, costs its own row only: the renderer refuses it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NoReturn

import orjson
import pyarrow as pa
import pyarrow.json as pajson
import pyarrow.types as pat

from orchestrator.dataset.files import FileFacts, SourceFile
from orchestrator.dataset.json_texts import Line, json_texts
from orchestrator.dataset.parquet_arrow import READ_ROWS_MAX, bare_rows
from orchestrator.dataset.sampling import sample_digest
from orchestrator.dataset.schema import by_likeness
from orchestrator.domain.errors import DatasetError

INFER_BYTES_MAX: Final = 256 * 2**20
PIECE_BYTES: Final = 8 * 2**20
FLOAT_INTEGER_MAX: Final = 2**53
_LONG_INTEGER: Final = re.compile(rb"[:\[,]\s*-?[0-9]{16,}\s*[,}\]]")
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
Path = tuple[str | None, ...]  # names of fields; None: an element of a list
_ADVICE: Final = "correct it, or convert the data to Parquet, where types are declared"


def inspect_jsonl(files: Sequence[SourceFile]) -> list[FileFacts]:
    """Infer one schema for all files from the first 256 MiB of them."""
    schema, found = pa.schema([]), dict[Path, str]()  # where integers of many digits are first
    left_bytes = INFER_BYTES_MAX
    for number, file in enumerate(files):
        for piece in _pieces(file) if left_bytes > 0 else ():
            schema = _widened(files[: number + 1], schema, piece)
            for path, line in _long_integers(piece):
                found.setdefault(path, f"{file.name}, {line.place}")
            left_bytes -= sum(len(line.text) for line in piece)
            if left_bytes <= 0:
                break
    _refuse_lost_digits(schema, found)
    return [FileFacts(schema=schema, digest=sample_digest(file), groups=None) for file in files]


def read_jsonl(file: SourceFile, schema: pa.Schema, names: Sequence[str], skip_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows, checked against the whole `schema`, with those columns of `names` that exist.

    The caller drops the first `skip_rows` rows: pieces entirely within them come as batches without columns, unparsed.
    """
    present = [name for name in schema.names if name in set(names)]
    for lines in _pieces(file):
        if skip_rows >= len(lines):
            skip_rows -= len(lines)
            yield bare_rows(len(lines))
            continue
        skip_rows = 0
        table = _parse(lines, schema)
        if table is None:
            _refuse([file], lines, lambda some: schema if not some or _parse(some, schema) is not None else None)
        _refuse_lost_digits(schema, {path: f"{file.name}, {line.place}" for path, line in _long_integers(lines)})
        if present:
            yield from table.select(present).combine_chunks().to_batches()
        else:
            yield bare_rows(len(lines))


def _widened(files: Sequence[SourceFile], schema: pa.Schema, lines: Sequence[Line]) -> pa.Schema:
    """Return `schema` extended by these lines of the last of the files."""
    widened = _joined(schema, lines)
    if widened is None:
        _refuse(files, lines, lambda some: _joined(schema, some))
    return widened


def _joined(schema: pa.Schema, lines: Sequence[Line]) -> pa.Schema | None:
    table = _parse(lines, None) if lines else schema.empty_table()
    if table is None:
        return None
    try:
        inferred = pa.schema([pa.field(field.name, _text_stays_text(field.type)) for field in table.schema])
        return pa.unify_schemas([schema, inferred], promote_options="permissive")
    except (pa.ArrowException, UnicodeDecodeError):  # the latter: a name with half of a surrogate pair
        return None


def _parse(lines: Sequence[Line], schema: pa.Schema | None) -> pa.Table | None:
    """Return a table with one row a line, or None where a line does not fit."""
    joined = b"\n".join([line.text for line in lines])
    try:
        joined.decode(errors="surrogatepass")  # the parser lets ill-formed UTF-8 through
        table = pajson.read_json(
            pa.BufferReader(joined),
            read_options=pajson.ReadOptions(use_threads=False, block_size=len(joined) + 1),
            parse_options=pajson.ParseOptions(
                explicit_schema=schema, unexpected_field_behavior="infer" if schema is None else "error"
            ),
        )
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    return table if table.num_rows == len(lines) else None  # two objects on a line, or one over two lines


def _refuse(
    files: Sequence[SourceFile], lines: Sequence[Line], schema_of: Callable[[Sequence[Line]], pa.Schema | None]
) -> NoReturn:
    """Raise the DatasetError of the first of `lines`, of the last file, that does not fit the lines before it."""
    good, bad = 0, len(lines)  # the longest prefix known to fit, the shortest known not to
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (good, middle) if schema_of(lines[:middle]) is None else (middle, bad)
    line = lines[bad - 1]
    reason = _reason(files, line, lambda some: schema_of([*lines[: bad - 1], *some]))
    raise DatasetError(f"{files[-1].name}, {line.place}: {reason}; {_ADVICE}")


def _reason(files: Sequence[SourceFile], line: Line, schema_with: Callable[[Sequence[Line]], pa.Schema | None]) -> str:
    try:
        found = orjson.loads(line.text)
    except orjson.JSONDecodeError:
        if numbers := _no_numbers(line.text):
            return f"{numbers[0]} is no number in JSON, or too large for any column"
        if line.text.strip() == b"{":
            return "an object over several lines: the file must be an array of objects, or have one object a line"
        return "not valid JSON (cut short, more than one value, or not UTF-8)"
    if not isinstance(found, dict):
        return f"a JSON {_json_type(found).partition(' ')[0]}, not an object"
    before = schema_with([])
    if before is None:
        return "an object whose fields do not fit the lines before it"
    path, value = _misfit(line, found, schema_with)
    if not path:
        return "its fields cannot be read together (is one of them duplicate?)"
    name, declared = ".".join(path), _type_at(pa.struct(list(before)), path)
    if declared is None:
        near = ", ".join(by_likeness(name, before.names)[:10])
        return f"field {name!r} is in none of the lines the schema was inferred from; its columns: {near}"
    other = _first_other(files, line, path, _json_type(value))
    return f"field {name!r} is a JSON {_json_type(value)} that does not fit its column, {declared}{other}"


def _misfit(
    line: Line, value: object, schema_with: Callable[[Sequence[Line]], pa.Schema | None]
) -> tuple[tuple[str, ...], object]:
    """Return the path and the value of the innermost field that does not fit by itself."""
    path: tuple[str, ...] = ()
    while isinstance(value, dict):
        for name, inner in value.items():
            if schema_with([replace(line, text=_nested((*path, name), inner))]) is None:
                path, value = (*path, name), inner
                break
        else:
            break
    return path, value


def _nested(path: Sequence[str], value: object) -> bytes:
    for name in reversed(path):
        value = {name: value}
    return orjson.dumps(value)


def _first_other(files: Sequence[SourceFile], line: Line, path: Sequence[str], kind: str) -> str:
    """Return where the field first was something else; "" where it is not in these files before the line."""
    for file in files:
        for other in json_texts(file):
            if file is files[-1] and (other.number, other.element) == (line.number, line.element):
                return ""
            value = _value_of(other.text)
            for name in path:
                value = value.get(name) if isinstance(value, dict) else None
            if value is not None and _family(_json_type(value)) != _family(kind):
                where = other.place if file is files[-1] else f"{file.name}, {other.place}"
                return f", which is a JSON {_json_type(value)} in {where}"
    return ""


def _family(kind: str) -> str:
    return kind.replace("integer", "number")


def _no_numbers(text: bytes) -> list[str]:
    """Return what Python alone reads as numbers: NaN, Infinity and numbers as large as 1e400."""
    found: list[str] = []

    def large(number: str) -> None:
        if math.isinf(float(number)):
            found.append("a number beyond 1e308")

    try:
        json.loads(text, parse_constant=found.append, parse_float=large)
    except (ValueError, RecursionError):
        return []
    return found


def _json_type(value: object) -> str:
    if isinstance(value, list):
        inner = next((one for one in value if one is not None), None)
        return "array" if inner is None else f"array of {_json_type(inner)}s"
    names = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object"}
    return names.get(type(value), "null")


def _long_integers(lines: Sequence[Line]) -> Iterator[tuple[Path, Line]]:
    """Yield where there are integers that a float cannot hold."""
    for line in lines:
        if _LONG_INTEGER.search(line.text):
            yield from ((path, line) for path in _paths_of_long_integers(_value_of(line.text)))


def _paths_of_long_integers(value: object, path: Path = ()) -> Iterator[Path]:
    match value:
        case dict():
            for name, inner in value.items():
                yield from _paths_of_long_integers(inner, (*path, name))
        case list():
            for inner in value:
                yield from _paths_of_long_integers(inner, (*path, None))
        case int() if abs(value) > FLOAT_INTEGER_MAX:
            yield path


def _value_of(text: bytes) -> object:
    """Return the value of a line with all digits; None where it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _refuse_lost_digits(schema: pa.Schema, found: Mapping[Path, str]) -> None:
    for path, where in found.items():
        kind = _type_at(pa.struct(list(schema)), path)
        if kind is not None and pat.is_floating(kind):
            name = ".".join(part for part in path if part is not None)
            raise DatasetError(
                f"{where}: field {name!r} is an integer of so many digits that its column, {kind}, would lose some: "
                "write such numbers as texts, or convert the data to Parquet with an integer or decimal column"
            )


def _type_at(kind: pa.DataType, path: Path) -> pa.DataType | None:
    for part in path:
        if part is None:
            kind = kind.value_type if pat.is_list(kind) else None
        elif pat.is_struct(kind) and kind.get_field_index(part) >= 0:
            kind = kind.field(part).type
        else:
            return None
        if kind is None:
            return None
    return kind


def _unescaped(text: bytes) -> bytes:
    """Return a line with half surrogate pairs as bytes: the parser refuses them as escapes."""
    value = _value_of(text)
    return text if value is None else json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")


def _text_stays_text(kind: pa.DataType) -> pa.DataType:
    """Undo the inference of timestamps: they would be written in another form than they were read."""
    if pat.is_timestamp(kind) or pat.is_date(kind) or pat.is_time(kind):
        return pa.string()
    if pat.is_list(kind):
        return pa.list_(_text_stays_text(kind.value_type))
    if pat.is_struct(kind):
        return pa.struct([pa.field(field.name, _text_stays_text(field.type)) for field in kind])
    return kind


def _pieces(file: SourceFile) -> Iterator[list[Line]]:
    """Yield the lines, at most READ_ROWS_MAX and about PIECE_BYTES of them at a time."""
    piece: list[Line] = []
    size_bytes = 0
    for line in json_texts(file):
        if _SURROGATE.search(line.text):
            line = replace(line, text=_unescaped(line.text))
        piece.append(line)
        size_bytes += len(line.text)
        if len(piece) == READ_ROWS_MAX or size_bytes >= PIECE_BYTES:
            yield piece
            piece, size_bytes = [], 0
    if piece:
        yield piece
