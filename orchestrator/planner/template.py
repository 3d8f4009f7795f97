"""A request template: a JSON body with `{column}` placeholders, compiled once into constant bytes and fields.

Rule 1: a placeholder may be in any string value of the body, never in a key. It is the plain name of a column: no
        attributes, no indices, no formats. Values of rows are never interpreted.
Rule 2: `{{` and `}}` are literal braces; a single brace is refused with its place in the body. The name of a column
        that has braces stands in quotes, a quote in it twice: `{"a{b}"}`.
Rule 3: a string that is only a placeholder stays a string: `"{temperature}"` becomes `"0.5"`, never `0.5`.
Rule 4: keys keep their order; the JSON is compact UTF-8. The same body always gives the same bytes.

    {"content": "Classify: {title}"}  ->  b'{"content":"Classify: '  Field("title")  b'"}'
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from orchestrator.domain.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

_TOKEN: Final = re.compile(r"\{\{|\}\}|\{\"(?P<quoted>(?:[^\"]|\"\")+)\"\}|\{([^{}]*)\}|[{}]")
_WHOLE: Final = re.compile(r"\{([^{}]+)\}")
IMAGE: Final = "image:"  # before the name of a column of images
_NAMES_MAX: Final = 10
_HEAD_KEYS: Final = ("max_tokens",)  # written before the prompt, as in the providers' own examples


@dataclass(frozen=True, slots=True)
class Field:
    """The place of a column's text, escaped into the JSON string around it."""

    column: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledBody:
    """The body as pieces in order: constant JSON, and fields. Two constants never follow each other."""

    segments: tuple[bytes | Field, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns used, each once, in order of first use."""
        return tuple(dict.fromkeys(segment.column for segment in self.segments if isinstance(segment, Field)))


def body_of(
    *,
    model: str,
    prompt: str | None,
    system: str | None,
    messages: Sequence[Mapping[str, object]] | str | None,
    parameters: Mapping[str, object],
) -> dict[str, object]:
    """Return the neutral fields of a request, from either a prompt (one user message) or messages."""
    if (prompt is None) == (messages is None):
        given = "neither" if prompt is None else "both"
        raise ConfigError(f"give either prompt or messages; {given} is given")
    taken = {"model", "messages"} | ({"system"} if system is not None else set())
    if clash := sorted(taken & parameters.keys()):
        raise ConfigError(f"parameters must not hold {', '.join(clash)}: the job has a setting of that name")
    body: dict[str, object] = {"model": model}
    body.update((key, parameters[key]) for key in _HEAD_KEYS if key in parameters)
    if system is not None:
        body["system"] = system
    if isinstance(messages, str):
        body["messages"] = messages  # a column of conversations
    else:
        body["messages"] = [{"role": "user", "content": prompt}] if messages is None else list(map(dict, messages))
    body.update((key, value) for key, value in parameters.items() if key not in _HEAD_KEYS)
    return body


def placeholders(body: Mapping[str, object]) -> tuple[str, ...]:
    """Return the columns that `body` uses, in order of first use; raise ConfigError where it cannot be a body."""
    fields = (piece.column for piece, _ in _json_pieces(body, "") if isinstance(piece, Field))
    return tuple(dict.fromkeys(fields))


def has_rows_of_its_own(body: Mapping[str, object]) -> bool:
    """Return whether a body has images, or a column of messages: each row's request is made by itself."""
    return isinstance(body.get("messages"), str) or any(name.startswith(IMAGE) for name in _names(body))


def _names(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield from (piece.column for piece in text_pieces(value, "") if isinstance(piece, Field))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _names(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _names(inner)


def check_places(body: Mapping[str, object]) -> None:
    """Raise ConfigError where an image stands elsewhere than in a message, or messages are not one column."""
    messages = body.get("messages")
    if isinstance(messages, str) and not _WHOLE.fullmatch(messages):
        raise ConfigError(
            'messages is a text that is not a column: write messages = "{chat}" for a column of messages, or a list '
            "of messages"
        )
    for key, value in body.items():
        if key == "messages":
            continue
        if wrong := [name for name in _names(value) if name.startswith(IMAGE)]:
            raise ConfigError(f"{key}: {{{wrong[0]}}} is an image, which can stand only in the text of a message")


def compile_body(body: Mapping[str, object], schema: pa.Schema) -> CompiledBody:
    """Compile `body` for rows of `schema`; raise ConfigError for an unknown column, or one without a text form."""
    segments: list[bytes | Field] = []
    for piece, place in _json_pieces(body, ""):
        if isinstance(piece, Field):
            check_text_column(piece.column, place, schema)
            if place == "model":
                raise ConfigError("model must be the same for all rows of a job: it cannot hold a placeholder")
            segments.append(piece)
        elif segments and isinstance(segments[-1], bytes):
            segments[-1] += piece
        else:
            segments.append(piece)
    return CompiledBody(segments=tuple(segments))


def _json_pieces(value: object, place: str) -> Iterator[tuple[bytes | Field, str]]:
    """Yield `value` as compact JSON, piece by piece, each with its place in the body."""
    match value:
        case str():
            yield b'"', place
            for piece in text_pieces(value, place):
                yield piece if isinstance(piece, Field) else _encoded(piece, place)[1:-1], place
            yield b'"', place
        case Mapping():
            yield b"{", place
            for number, (key, item) in enumerate(value.items()):
                if not isinstance(key, str):
                    raise ConfigError(f"{place or 'the body'}: the key {key!r} is no string")
                inner = f"{place}.{key}" if place else key
                yield (b"," if number else b"") + _encoded(key, inner) + b":", inner
                yield from _json_pieces(item, inner)
            yield b"}", place
        case list() | tuple():
            yield b"[", place
            for number, item in enumerate(value):
                yield (b"," if number else b""), place
                yield from _json_pieces(item, f"{place}[{number}]")
            yield b"]", place
        case float() if not math.isfinite(value):
            raise ConfigError(f"{place} is {value}, which JSON cannot express")
        case None | bool() | int() | float():
            yield _encoded(value, place), place
        case _:
            raise ConfigError(f"{place} is a {type(value).__name__}, which JSON cannot express")


def _encoded(value: object, place: str) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as exc:
        raise ConfigError(f"{place} cannot be written as JSON: {exc}") from exc


def without_braces_doubled(value: Any) -> Any:
    """Return a value of a template as it is in a request. Raises ConfigError where it has a placeholder."""
    match value:
        case str():
            pieces = list(text_pieces(value, ""))
            if found := [piece.column for piece in pieces if isinstance(piece, Field)]:
                raise ConfigError(f"a parameter cannot be another for each row: {found[0]} is a placeholder")
            return "".join(map(str, pieces))
        case Mapping():
            return {key: without_braces_doubled(inner) for key, inner in value.items()}
        case list() | tuple():
            return [without_braces_doubled(inner) for inner in value]
    return value


def text_pieces(text: str, place: str) -> Iterator[str | Field]:
    """Yield a text's constant pieces and the columns between them. Raises ConfigError."""
    end = 0
    for token in _TOKEN.finditer(text):
        yield text[end : token.start()]
        end = token.end()
        match token[0]:
            case "{{" | "}}":
                yield token[0][0]
            case "{" | "}":
                raise ConfigError(
                    f"{place}: a lone {token[0]} at character {token.start() + 1}; "
                    'write {{ or }} for a literal brace, {name} for a column, {"na{me}"} where its name has braces'
                )
            case _:
                yield Field(token["quoted"].replace('""', '"') if token["quoted"] else token[2])
    yield text[end:]


def check_text_column(name: str, place: str, schema: pa.Schema) -> None:
    """Raise ConfigError for a column that is not there, or has no text."""
    refuse_unknown_column(name, place, schema)
    kind = schema.field(name).type
    if not _has_text(kind):
        advice = f"; for an image write {{image:{name}}}" if "binary" in str(kind) else ""
        raise ConfigError(
            f"{place}: column {name!r} is {kind}, which has no text; decode it to a string column first{advice}"
        )


def refuse_unknown_column(name: str, place: str, schema: pa.Schema) -> None:
    """Raise ConfigError for a column that is not there."""
    from orchestrator.dataset.schema import by_likeness

    if name not in schema.names:
        near = ", ".join(by_likeness(name, schema.names)[:_NAMES_MAX]) or "none"
        raise ConfigError(
            f"{place}: {{{name}}} names no column; the nearest columns: {near}. "
            f"If the braces are meant literally, double them: {{{{{name}}}}}"
        )


def _has_text(kind: pa.DataType) -> bool:
    import pyarrow as pa  # not needed to read, and refuse, a job file
    import pyarrow.types as pat

    if isinstance(kind, pa.UuidType):
        return True
    if isinstance(kind, pa.BaseExtensionType):
        return _has_text(kind.storage_type)
    if pat.is_dictionary(kind):
        return _has_text(kind.value_type)
    if pat.is_struct(kind):
        return all(_has_text(field.type) for field in kind)
    if pat.is_map(kind):
        return _has_text(kind.key_type) and _has_text(kind.item_type)
    if pat.is_list(kind) or pat.is_large_list(kind) or pat.is_fixed_size_list(kind):
        return _has_text(kind.value_type)
    families = (
        pat.is_null,
        pat.is_boolean,
        pat.is_integer,
        pat.is_floating,
        pat.is_decimal,
        pat.is_temporal,
        pat.is_string,
        pat.is_large_string,
        pat.is_string_view,
    )
    return any(family(kind) for family in families) and not pat.is_interval(kind)
