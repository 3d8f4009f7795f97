"""Fields of an answer as a job file spells them: `score = "number"`, `tags = ["string"]`, nested tables.

    mood    = { enum = ["good", "bad"], description = "the mood of the text" }
    score   = "number"
    on      = "date?"                      # optional: the answer may leave it out, or say null
    tags    = ["string"]                   # a list
    address = { street = "string", city = "string" }

Rule: a table is a JSON Schema where it has one of its keywords (`type`, `enum`, `items` …); any other table is a
nested object with fields of its own. A nested field named like a keyword needs the long form: `{ properties = {…} }`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final

from orchestrator.domain.errors import ConfigError

Node = dict[str, Any]
TYPES: Final[Mapping[str, Node]] = {
    "string": {"type": "string"},
    "number": {"type": "number"},
    "integer": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "datetime": {"type": "string", "format": "date-time"},
}
# What other languages call them.
OTHER_NAMES: Final[Mapping[str, str]] = {
    "str": "string",
    "text": "string",
    "int": "integer",
    "int64": "integer",
    "float": "number",
    "double": "number",
    "bool": "boolean",
    "date-time": "datetime",
    "timestamp": "datetime",
    "list": '["string"]',
    "array": '["string"]',
    "object": 'a table: { name = "string" }',
    "dict": 'a table: { name = "string" }',
}
_DECIDING: Final = ("enum", "const", "properties", "items", "anyOf", "oneOf", "allOf", "$ref")
_KEYWORDS: Final = frozenset(
    {"type", "description", "format", "pattern", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum"}
    | {"exclusiveMaximum", "multipleOf", "minItems", "maxItems", "uniqueItems", "required", "additionalProperties"}
    | {"prefixItems", "title", "default", "examples", "optional", *_DECIDING}
)


def schema_of_fields(fields: Mapping[str, Any], where: str = "response") -> Node:
    """Return the JSON Schema of an object with these fields. Raises ConfigError that names the field."""
    if not fields:
        raise ConfigError(f'{where} has no fields: write some, such as mood = "string"')
    properties, required = Node(), []
    for name, given in fields.items():
        schema, is_optional = _field(given, f"{where}.{name}")
        properties[name] = schema
        if not is_optional:
            required.append(name)
    return {"type": "object", "properties": properties, "required": required}


def is_json_schema(table: Mapping[str, Any]) -> bool:
    """Whether a table is the JSON Schema of an object, and not a list of fields."""
    is_object = table.get("type") == "object" and isinstance(table.get("properties"), Mapping)
    return is_object or any(key in table for key in ("$schema", "$defs", "$ref")) or "properties" in table


def _field(given: Any, where: str) -> tuple[Node, bool]:
    """Return the schema of a field, and whether it is optional."""
    match given:
        case str():
            return _of_type(given.removesuffix("?"), where), given.endswith("?")
        case [one]:
            return {"type": "array", "items": _field(one, f"{where}[]")[0]}, False
        case list():
            raise ConfigError(f'{where}: a list holds one type: ["string"]. For a choice write {{ enum = {given} }}')
        case Mapping() if not _is_schema(given, where):
            return schema_of_fields(given, where), False
        case Mapping():
            return _long_form(given, where), given.get("optional") is True
    raise ConfigError(f"{where} must be a type, a list or a table, not {given!r}")


def _of_type(name: str, where: str) -> Node:
    if name in TYPES:
        return dict(TYPES[name])
    way_out = f"write {OTHER_NAMES[name]}" if name in OTHER_NAMES else f"known: {', '.join(TYPES)}"
    raise ConfigError(f"{where}: there is no type {name!r}: {way_out}")


def _is_schema(table: Mapping[str, Any], where: str) -> bool:
    deciding = [key for key in _DECIDING if isinstance(table.get(key), list | Mapping) or key == "const" in table]
    is_typed = isinstance(table.get("type"), str | list)
    unknown = [key for key in table if key not in _KEYWORDS and not key.startswith(("$", "x-"))]
    if not unknown:
        return bool(deciding) or is_typed
    if not deciding:  # `{ type = "string", id = "integer" }`: fields, one of which is named type
        return False
    near = difflib.get_close_matches(unknown[0], _KEYWORDS, n=1)
    known = f"did you mean {near[0]!r}?" if near else "leave it out"
    raise ConfigError(f"{where}: {unknown[0]!r} is no keyword of JSON Schema; {known}")


def _long_form(table: Mapping[str, Any], where: str) -> Node:
    """Return a JSON Schema in which `type`, `items`, `anyOf` and `properties` may be written as in the short form."""
    schema = {key: value for key, value in table.items() if key != "optional"}
    if not isinstance(table.get("optional", False), bool):
        raise ConfigError(f"{where}.optional must be true or false")
    kind = schema.get("type")
    if isinstance(kind, str) and kind not in ("object", "array", "null"):
        schema = {**_of_type(kind, where), **_without(schema, "type")}
    if isinstance(schema.get("items"), str | list | Mapping):
        schema["items"] = _field(schema["items"], f"{where}[]")[0]
    if isinstance(schema.get("anyOf"), list):
        schema["anyOf"] = [_field(one, f"{where}.anyOf[{number}]")[0] for number, one in enumerate(schema["anyOf"])]
    if isinstance(schema.get("properties"), Mapping):
        inner = schema_of_fields(schema["properties"], where)
        schema = {**schema, "properties": inner["properties"]} | ({} if "required" in schema else inner)
        schema["type"] = "object"
    return schema


def _without(schema: Node, key: str) -> Node:
    return {name: value for name, value in schema.items() if name != key}
