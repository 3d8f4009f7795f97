"""How a dialect is asked for answers of a schema: by its own structured output, or in words; and what it takes of it.

Rule 1: a schema that a provider would refuse is refused here, before anything is sent: each finding names the place in
    the schema, the limit and its source.
Rule 2: what strict output needs and changes no answer is done for the user: every field is required, an optional one
    may be null. A bound that the provider does not take (`minLength`) goes into the field's description, and is
    checked in the answer.
Rule 3: a request may be a template: then the braces of a schema are doubled, so that a pattern such as `a{4}` names no
    column.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.response_schema import NULL, Node, ResponseSchema, nodes, without_null

NAME: Final = "answer"  # of the schema, where a provider wants one
NATIVE: Final = "native"
BY_WORDS: Final = "text"
FINDINGS_MAX: Final = 5  # in a message
INSTRUCTION: Final = (
    "Answer with one JSON object and nothing else: no code fence, no words before or after it. "
    "It must be valid against this JSON Schema:\n"
)
_ANNOTATIONS: Final = frozenset({"$ref", "$defs", "type", "description", "enum", "properties", "required", "items"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaRules:
    """What a provider's structured output takes of JSON Schema. A limit of None: none is documented."""

    api: str
    source: str  # of all of it
    keywords: frozenset[str]  # sent as they are, beside the common ones
    checked_here: frozenset[str]  # not sent: told in the description, and checked in the answer
    formats: frozenset[str]  # others are told in the description
    takes_recursion: bool
    depth_max: int | None = None
    fields_max: int | None = None
    enum_values_max: int | None = None
    enum_length_from: int | None = None  # an enum of more values than this …
    enum_length_max: int | None = None  # … has at most so many characters in all
    names_length_max: int | None = None  # names of fields and values of enums, together
    unions_max: int | None = None  # fields of more than one type
    min_items_max: int | None = None


def sent_form(schema: ResponseSchema, rules: SchemaRules) -> Node:
    """Return the schema as it is sent to a provider with structured output."""
    return _sent(schema.document, rules)


def _sent(schema: Node, rules: SchemaRules) -> Node:
    sent = dict(schema)
    told = {key: value for key, value in schema.items() if not _is_taken(key, value, rules)}
    for key in told:
        if key in rules.checked_here or key == "format":
            del sent[key]
    moved = [f"{key}: {_json(value)}" for key, value in told.items() if key not in sent]
    if moved:
        sent["description"] = " ".join(filter(None, (schema.get("description"), f"({', '.join(moved)})")))
    if "properties" in sent:
        sent["properties"] = {name: _sent(inner, rules) for name, inner in sent["properties"].items()}
        sent["required"] = list(sent["properties"])
    if "items" in sent:
        sent["items"] = _sent(sent["items"], rules)
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if key in sent:
            sent[key] = [_sent(option, rules) for option in sent[key]]
    if "$defs" in sent:
        sent["$defs"] = {name: _sent(inner, rules) for name, inner in sent["$defs"].items()}
    return sent


def _is_taken(key: str, value: Any, rules: SchemaRules) -> bool:
    if key == "format":
        return value in rules.formats
    if key == "minItems" and rules.min_items_max is not None:
        return bool(value <= rules.min_items_max)
    return key in _ANNOTATIONS or key in rules.keywords


def refuse_schema(schema: ResponseSchema, rules: SchemaRules, model: str) -> None:
    """Raise ConfigError with what the provider would refuse of a schema; each finding names its place."""
    found = list(_findings(schema, rules))
    if not found:
        return
    shown = "; ".join(found[:FINDINGS_MAX]) + (f"; and {len(found) - FINDINGS_MAX} more" * (len(found) > FINDINGS_MAX))
    raise ConfigError(
        f"{shown}. So says {rules.source}. Change [response], or set provider.structured_output = "
        f'"{BY_WORDS}": then {model} is asked in words, and each answer is checked all the same'
    )


def _findings(schema: ResponseSchema, rules: SchemaRules) -> Iterator[str]:
    for path, node in nodes(schema.document):
        yield from _of_node(f"response.{path}" if path else "response", node, rules)
    yield from _sizes(schema.document, rules)


def _of_node(place: str, node: Node, rules: SchemaRules) -> Iterator[str]:
    known = _ANNOTATIONS | rules.keywords | rules.checked_here | {"format", "additionalProperties", "minItems"}
    for key in node:
        if key not in known:
            yield f"{place}: {rules.api} does not take {key!r}"
    inner, _ = without_null(node)
    if inner.get("type") == "object" and inner.get("additionalProperties") is not False:
        way_out = "list its fields" if "properties" not in inner else "leave additionalProperties out"
        yield f"{place}: {rules.api} takes only objects with additionalProperties false: {way_out}"
    if inner.get("type") == "array" and "items" not in inner:
        yield f'{place}: a list needs the type of its items: ["string"]'
    if not {"type", "enum", "anyOf", "oneOf", "allOf", "$ref"} & inner.keys():
        yield f"{place}: it has no type"
    if any(isinstance(value, dict | list) for value in node.get("enum", ())):
        yield f"{place}: {rules.api} takes only texts, numbers, true and false in an enum"
    values, limit = node.get("enum", ()), rules.enum_length_from
    if limit is not None and rules.enum_length_max is not None and len(values) > limit:
        length = sum(len(value) for value in values if isinstance(value, str))
        if length > rules.enum_length_max:
            yield (
                f"{place}: an enum of more than {limit} values may have {rules.enum_length_max:,} characters, and this "
                f"one has {length:,}"
            )
    if "$ref" in node and not rules.takes_recursion:
        yield f"{place}: {rules.api} takes no schema that contains itself"


def _sizes(document: Node, rules: SchemaRules) -> Iterator[str]:
    every = [node for _, node in nodes(document)]
    names = [name for node in every for name in node.get("properties", ())]
    values = [value for node in every for value in node.get("enum", ()) if value is not None]
    length = sum(map(len, (*names, *document.get("$defs", ()), *(one for one in values if isinstance(one, str)))))
    unions = sum(isinstance(node.get("type"), list) or "anyOf" in node for node in every)
    for count, limit, what in (
        (_depth(document), rules.depth_max, "levels of objects and lists"),
        (len(names), rules.fields_max, "fields in all"),
        (len(values), rules.enum_values_max, "values of enums in all"),
        (length, rules.names_length_max, "characters in names and values of enums"),
        (unions, rules.unions_max, "fields that are optional or have several types"),
    ):
        if limit is not None and count > limit:
            yield f"response: {rules.api} takes at most {limit:,} {what}, and this has {count:,}"


def _depth(schema: Any) -> int:
    """Return how many objects and lists stand in each other."""
    if not isinstance(schema, Mapping):
        return 0
    inner = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values(), schema.get("items")]
    options = [option for key in ("anyOf", "oneOf", "allOf", "prefixItems") for option in schema.get(key, ())]
    own = "properties" in schema or "items" in schema
    return max([own + max(map(_depth, inner), default=0), *map(_depth, options)])


def refuse_beside_schema(request: Mapping[str, Any]) -> None:
    """Raise ConfigError for a field that contradicts typed answers."""
    for key in ("response_format", "tools"):
        if request.get(key):
            why = "asks for another format" if key == "response_format" else "lets the model call a tool instead"
            raise ConfigError(f"request.{key} {why}, and [response] says what an answer is: give one of the two")
    messages = request.get("messages")
    last = messages[-1] if isinstance(messages, list | tuple) and messages else None
    if isinstance(last, Mapping) and last.get("role") == "assistant":
        raise ConfigError(
            "request.messages ends with a message of the assistant, which begins the answer, and [response] says what "
            "the whole answer is: leave it out"
        )


def with_native(request: Mapping[str, Any], document: Node, *, is_template: bool) -> dict[str, Any]:
    """Return a request whose neutral field `response_format` asks for answers of a schema."""
    schema = {"name": NAME, "strict": True, "schema": literal(document) if is_template else document}
    return {**request, "response_format": {"type": "json_schema", "json_schema": schema}}


def with_words(request: Mapping[str, Any], schema: ResponseSchema, *, is_template: bool) -> dict[str, Any]:
    """Return a request whose system text ends with the schema, and with what to do with it."""
    words = INSTRUCTION + schema.text
    words = literal(words) if is_template else words
    given = request.get("messages")
    if "system" not in request and isinstance(given, list | tuple) and given and _is_system(given[0]):
        first = {**given[0], "content": _joined(given[0].get("content"), words)}
        return {**request, "messages": [first, *given[1:]]}
    if "instructions" in request:  # as OpenAI's responses have it
        return {**request, "instructions": _joined(request["instructions"], words)}
    # Before the messages, where Job puts it, too: a prompt's beginning that is the same for all rows can be cached.
    others = {key: value for key, value in request.items() if key != "system"}
    head: dict[str, Any] = {key: others.pop(key) for key in ("model", "max_tokens") if key in others}
    return {**head, "system": _joined(request.get("system"), words), **others}


def _is_system(message: Any) -> bool:
    return isinstance(message, Mapping) and message.get("role") in ("system", "developer")


def _joined(system: Any, words: str) -> Any:
    if not system:
        return words
    if isinstance(system, list | tuple):
        return [*system, {"type": "text", "text": words}]
    return f"{system}\n\n{words}"


def literal(value: Any) -> Any:
    """Return a value for a template: its braces stand for themselves."""
    match value:
        case str():
            return value.replace("{", "{{").replace("}", "}}")
        case Mapping():
            return {key: literal(inner) for key, inner in value.items()}
        case list() | tuple():
            return [literal(inner) for inner in value]
    return value


def undescribed(schema: ResponseSchema) -> list[str]:
    """Return the fields without a description, by their paths: a model has only their names to go by."""
    found = []
    for path, node in nodes(schema.document):
        for name, inner in node.get("properties", {}).items():
            if not _has_description(inner):
                found.append(f"{path}.{name}" if path else name)
    return list(dict.fromkeys(found))


def _has_description(node: Node) -> bool:
    options = [option for option in node.get("anyOf", ()) if option != NULL]
    return "description" in node or any(_has_description(option) for option in options)


def added(schema: ResponseSchema) -> list[str]:
    """Return the optional fields, by their paths: where all fields are required they are sent as such, or null."""
    return [
        f"{path}.{name}" if path else name
        for path, node in nodes(schema.document)
        for name in node.get("properties", ())
        if name not in node["required"]
    ]


def moved(schema: ResponseSchema, rules: SchemaRules) -> list[str]:
    """Return the bounds that are not sent as such, by their paths: `name.minLength`."""
    return [
        f"{path}.{key}" if path else key
        for path, node in nodes(schema.document)
        for key, value in node.items()
        if (key in rules.checked_here or key == "format") and not _is_taken(key, value, rules)
    ]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
