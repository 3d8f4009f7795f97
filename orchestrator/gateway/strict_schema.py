"""How OpenAI refuses a strict schema for an answer, in its words.

Sources: vercel/ai#6484, on fields that are not required and objects that are open; community.openai.com/t/974416, on
the values of enums; the guide "Structured model outputs: supported schemas".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

ENUM_VALUES_MAX: Final = 1_000
NOT_PERMITTED: Final = ("allOf", "oneOf", "not", "dependentRequired", "dependentSchemas", "if", "then", "else")
Context = tuple[str, ...]


def refusal_of_schema(name: str, schema: Any) -> str:
    """Return why a strict schema is refused; "" where it is taken."""
    why = next(_faults(schema), "")
    return f"Invalid schema for response_format '{name}': {why}" if why else ""


def _faults(schema: Any) -> Iterator[str]:
    if not isinstance(schema, Mapping) or schema.get("type") != "object":
        kind = schema.get("type") if isinstance(schema, Mapping) else None
        yield f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
        return
    count = 0
    for context, node in _nodes(schema, ()):
        yield from _of_node(f"In context={context!r}", node)
        count += len(node.get("enum", ()))
    if count > ENUM_VALUES_MAX:
        limit = f"at most {ENUM_VALUES_MAX} enum values in total within a single schema"
        yield f"Expected {limit} when using structured outputs, but received {count}."


def _of_node(where: str, node: Mapping[str, Any]) -> Iterator[str]:
    for key in NOT_PERMITTED:
        if key in node:
            yield f"{where}, '{key}' is not permitted."
    if node.get("type") != "object" and "properties" not in node:
        return
    if node.get("additionalProperties") is not False:
        yield f"{where}, 'additionalProperties' is required to be supplied and to be false."
    missing = [name for name in node.get("properties", {}) if name not in node.get("required", ())]
    if missing:
        rule = "'required' is required to be supplied and to be an array including every key in properties"
        yield f"{where}, {rule}. Missing '{missing[0]}'."


def _nodes(schema: Any, context: Context) -> Iterator[tuple[Context, Mapping[str, Any]]]:
    if not isinstance(schema, Mapping):
        return
    yield context, schema
    for key in ("properties", "$defs", "definitions"):
        table = schema.get(key)
        for name, inner in table.items() if isinstance(table, Mapping) else ():
            yield from _nodes(inner, (*context, key, name))
    yield from _nodes(schema.get("items"), (*context, "items"))
    options = schema.get("anyOf")
    for number, option in enumerate(options if isinstance(options, list) else ()):
        yield from _nodes(option, (*context, "anyOf", str(number)))
