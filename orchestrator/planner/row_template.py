"""A request template whose rows differ in more than texts: in images, or in whole conversations.

    "What is this? {image:photo}"   a text block, and an image block of the column `photo`
    messages = "{chat}"             the column `chat` as the conversation

Each row's request is made in neutral fields, translated by the dialect and written: some twenty times slower than a
template of texts alone, and little beside the encoding of an image.

Rule 1: an image stands in the text of a message, and nowhere else (`template.check_places`).
Rule 2: the form of the request is tried before any row is read; what is wrong with a row fails that row alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from orchestrator.domain import custom_id
from orchestrator.domain.batch import LineEnvelope
from orchestrator.domain.errors import ConfigError
from orchestrator.planner.conversations import NotAConversation, conversation
from orchestrator.planner.images import NotAnImage, ReadFile, image_blocks, probe
from orchestrator.planner.json_text import escaped_texts, plain_values
from orchestrator.planner.render import (
    RENDER_FAILED,
    UNWRITABLE,
    NullPolicy,
    Rendered,
    RowRefused,
    refused_nulls,
    row_in_shard,
)
from orchestrator.planner.template import (
    IMAGE,
    Field,
    check_places,
    check_text_column,
    refuse_unknown_column,
    text_pieces,
)
from orchestrator.ports import Checkpoint, never_interrupted

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE_ROWS_MAX: Final = 16
Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Text:
    """A text with the texts of columns in it, and images after some of its pieces."""

    pieces: tuple[str | Field, ...]


@dataclass(slots=True)
class RowTemplate:
    """A request in neutral fields; `columns` are those that it uses, in the order of their first use."""

    body: dict[str, Any]
    texts: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    messages: str = ""  # the column that has the conversation

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns used."""
        return tuple(dict.fromkeys([*self.texts, *self.images, *([self.messages] if self.messages else [])]))


def compile_rows(body: Body, schema: pa.Schema) -> RowTemplate:
    """Compile a body for rows of `schema`. Raises ConfigError."""
    check_places(body)
    compiled = RowTemplate(body={})
    for key, value in body.items():
        if key != "messages":
            compiled.body[key] = _compiled(value, key, schema, compiled)
        elif isinstance(value, str):
            compiled.messages = value[1:-1]
            refuse_unknown_column(compiled.messages, key, schema)
            _check_conversation(compiled.messages, schema)
            compiled.body[key] = value
        else:
            compiled.body[key] = [
                _message(message, f"messages[{number}]", schema, compiled) for number, message in enumerate(value)
            ]
    return compiled


def _message(message: Any, place: str, schema: pa.Schema, compiled: RowTemplate) -> Any:
    if not isinstance(message, Mapping):
        return message
    found = {}
    for key, value in message.items():
        inner = f"{place}.{key}"
        if key == "content" and isinstance(value, list | tuple):
            found[key] = [_block(block, f"{inner}[{number}]", schema, compiled) for number, block in enumerate(value)]
        elif key == "content":
            found[key] = _compiled(value, inner, schema, compiled, takes_images=True)
        else:
            found[key] = _compiled(value, inner, schema, compiled)
    return found


def _block(block: Any, place: str, schema: pa.Schema, compiled: RowTemplate) -> Any:
    match block:
        case str():
            return _compiled(block, place, schema, compiled, takes_images=True)
        case {"type": "text", "text": str() as text, **others} if not others:
            return _compiled(text, f"{place}.text", schema, compiled, takes_images=True)
    return _compiled(block, place, schema, compiled)


def _compiled(value: Any, place: str, schema: pa.Schema, compiled: RowTemplate, *, takes_images: bool = False) -> Any:
    """Return a value with its texts compiled, and the columns that it uses added."""
    if isinstance(value, Mapping):
        return {key: _compiled(inner, f"{place}.{key}", schema, compiled) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_compiled(inner, f"{place}[{number}]", schema, compiled) for number, inner in enumerate(value)]
    if not isinstance(value, str):
        return value
    pieces = tuple(piece for piece in text_pieces(value, place) if piece != "")
    for piece in pieces:
        if not isinstance(piece, Field):
            continue
        if not piece.column.startswith(IMAGE):
            check_text_column(piece.column, place, schema)
            compiled.texts.append(piece.column)
        elif takes_images:
            name = piece.column.removeprefix(IMAGE)
            refuse_unknown_column(name, place, schema)
            _check_images(name, place, schema)
            compiled.images.append(name)
        else:
            raise ConfigError(f"{place}: {{{piece.column}}} is an image, which can stand only in the text of a message")
    return _Text(pieces)


def _check_images(name: str, place: str, schema: pa.Schema) -> None:
    import pyarrow.types as pat

    kind = schema.field(name).type
    while pat.is_list(kind) or pat.is_large_list(kind) or pat.is_dictionary(kind):
        kind = kind.value_type
    families = (pat.is_binary, pat.is_large_binary, pat.is_binary_view, pat.is_string, pat.is_large_string)
    is_stored = pat.is_struct(kind) and {"bytes", "path"} <= {one.name for one in kind}
    if not is_stored and not any(family(kind) for family in families):
        raise ConfigError(
            f"{place}: column {name!r} is {schema.field(name).type}, which holds no images: it must have bytes, URLs, "
            "data URLs, paths of files, or images of Hugging Face"
        )


def _check_conversation(name: str, schema: pa.Schema) -> None:
    import pyarrow.types as pat

    kind = schema.field(name).type
    is_list = pat.is_list(kind) or pat.is_large_list(kind)
    if not (is_list and pat.is_struct(kind.value_type)) and not pat.is_string(kind) and not pat.is_large_string(kind):
        raise ConfigError(
            f"messages: column {name!r} is {kind}, which holds no messages: it must be a list of structs with role and "
            "content, or their JSON text"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTemplateRenderer:
    """Renders the rows of a RowTemplate, one by one. Raises ConfigError when made, where the provider takes none."""

    template: RowTemplate
    translate: Callable[[Body], Body]  # neutral fields to the provider's body
    envelope: LineEnvelope
    id_prefix: bytes
    null_policy: NullPolicy
    read_file: ReadFile
    row_label: Callable[[int], str] = row_in_shard
    checkpoint: Checkpoint = never_interrupted

    def __post_init__(self) -> None:
        texts = dict.fromkeys(self.template.texts, "x")
        images = {name: [dict(probe())] for name in self.template.images}
        self.translate(_filled(self.template, texts, images, [{"role": "user", "content": "x"}]))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns used."""
        return self.template.columns

    @property
    def rows_max(self) -> int | None:
        """How many rows may be rendered at once: an image's file is much larger than its path."""
        return IMAGE_ROWS_MAX if self.template.images else None

    def render(self, batch: pa.RecordBatch, *, row_start: int) -> Rendered:
        """Render `batch`; raise DatasetError where a used column is null and the policy is `error`."""
        columns = {name: plain_values(batch.column(name)) for name in self.columns}
        refused = refused_nulls(columns, row_start, policy=self.null_policy, label=self.row_label)
        texts = {name: escaped_texts(columns[name]) for name in dict.fromkeys(self.template.texts)}
        for name, column in texts.items():
            for offset in column.unwritable:
                refused[offset] = _refusal(offset, UNWRITABLE.format(name))
        lines: list[bytes | None] = []
        for offset in range(batch.num_rows):
            self.checkpoint()
            line = None
            if offset not in refused:
                row = {name: _text_of(column.texts[offset]) for name, column in texts.items()}
                try:
                    line = self._line(row, {name: columns[name][offset] for name in self.columns}, row_start + offset)
                except (NotAnImage, NotAConversation, ConfigError) as error:
                    refused[offset] = _refusal(offset, str(error))
            lines.append(line)
        return Rendered(lines=lines, refused=tuple(refused[offset] for offset in sorted(refused)))

    def _line(self, texts: Mapping[str, str], values: Mapping[str, Any], number: int) -> bytes:
        images, messages = {}, None
        for name in self.template.images:
            with_name = f"column {name!r} "
            try:
                value = values[name].as_py()
                images[name] = [] if value is None else list(image_blocks(value, self.read_file))
            except NotAnImage as error:
                raise NotAnImage(f"{with_name}{error}") from None
        if self.template.messages:
            try:
                messages = conversation(values[self.template.messages].as_py())
            except (NotAConversation, ValueError) as error:
                why = str(error) if isinstance(error, NotAConversation) else "cannot be read"
                raise NotAConversation(f"column {self.template.messages!r} {why}") from None
        body = orjson.dumps(dict(self.translate(_filled(self.template, texts, images, messages))))
        line_id = self.envelope.before_id + self.id_prefix + custom_id.number(number).encode()
        return b"%b%b%b%b\n" % (line_id, self.envelope.before_body, body, self.envelope.after_body)


def _refusal(offset: int, message: str) -> RowRefused:
    return RowRefused(offset=offset, code=RENDER_FAILED, message=message)


def _text_of(escaped: bytes) -> str:
    found: str = orjson.loads(b'"%b"' % escaped)
    return found


def _filled(
    template: RowTemplate,
    texts: Mapping[str, str],
    images: Mapping[str, list[dict[str, Any]]],
    messages: list[dict[str, Any]] | None,
) -> dict[str, Any]:
    """Return the request of one row, in neutral fields."""
    body = {key: _of_row(value, texts, images) for key, value in template.body.items() if key != "messages"}
    if template.messages:
        return {key: messages if key == "messages" else body[key] for key in template.body}
    filled = [_message_of_row(message, texts, images) for message in template.body["messages"]]
    return {key: filled if key == "messages" else body[key] for key in template.body}


def _message_of_row(message: Any, texts: Mapping[str, str], images: Mapping[str, list[dict[str, Any]]]) -> Any:
    if not isinstance(message, Mapping):
        return message
    found = {key: _of_row(value, texts, images) for key, value in message.items()}
    content = message.get("content")
    if isinstance(content, list):
        found["content"] = [block for one in content for block in _blocks(one, texts, images)]
    return found


def _blocks(value: Any, texts: Mapping[str, str], images: Mapping[str, list[dict[str, Any]]]) -> Sequence[Any]:
    filled = _of_row(value, texts, images)
    if isinstance(value, _Text) and isinstance(filled, str):
        return [{"type": "text", "text": filled}]
    return filled if isinstance(value, _Text) else [filled]


def _of_row(value: Any, texts: Mapping[str, str], images: Mapping[str, list[dict[str, Any]]]) -> Any:
    """Return a value of one row; a text with images in it is a list of blocks."""
    if isinstance(value, Mapping):
        return {key: _of_row(inner, texts, images) for key, inner in value.items()}
    if isinstance(value, list):
        return [_of_row(inner, texts, images) for inner in value]
    if not isinstance(value, _Text):
        return value
    blocks: list[dict[str, Any]] = []
    text, has_images = "", False
    for piece in value.pieces:
        if isinstance(piece, str):
            text += piece
        elif not piece.column.startswith(IMAGE):
            text += texts[piece.column]
        else:
            blocks += [{"type": "text", "text": text}] if text.strip() else []
            blocks += images[piece.column.removeprefix(IMAGE)]
            text, has_images = "", True
    if not has_images:
        return text
    return [*blocks, *([{"type": "text", "text": text}] if text.strip() else [])]
