"""Answers that fit a JSON schema, so that a job with typed columns can be tried without a provider.

It knows what structured outputs allow (objects, arrays, enums, const, anyOf, local $ref) and the bounds on numbers and
lengths; where a schema uses anything else, the value is null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import xxhash

# Bounds on the size of an answer, whatever the schema.
DEPTH_MAX: Final = 8
REFERENCE_DEPTH: Final = 3  # a $ref costs this much of the depth: recursion ends after two of them
ITEMS_MAX: Final = 3
LENGTH_MAX: Final = 1_000
NUMBER_SPREAD: Final = 10


def instance_of(schema: Mapping[str, Any], topic: str) -> Any:
    """Return a JSON value of `schema` that depends on `topic` alone; strings are made from it."""
    return _instance(schema, topic, schema, DEPTH_MAX) if schema else {"answer": f"[simulated] {topic}"}


def _instance(schema: Any, topic: str, root: Mapping[str, Any], depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth <= 0:
        return None
    if "$ref" in schema:
        return _instance(_resolved(str(schema["$ref"]), root), topic, root, depth - REFERENCE_DEPTH)
    if "const" in schema:
        return schema["const"]
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return choices[_spread(topic, len(choices))]
    for key in ("anyOf", "oneOf", "allOf"):
        options = schema.get(key)
        if isinstance(options, list) and options:
            return _instance(options[0], topic, root, depth - 1)
    return _typed(schema, topic, root, depth)


def _typed(schema: Mapping[str, Any], topic: str, root: Mapping[str, Any], depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else None)
    match kind[0] if isinstance(kind, list) and kind else kind:
        case "object":
            properties = schema.get("properties")
            names = properties if isinstance(properties, Mapping) else {}
            return {name: _instance(each, f"{name}: {topic}", root, depth - 1) for name, each in names.items()}
        case "array":
            count = min(max(1, _whole(schema, "minItems", 1)), ITEMS_MAX)
            return [_instance(schema.get("items"), topic, root, depth - 1) for _ in range(count)]
        case "string":
            text = f"[simulated] {topic}".ljust(min(_whole(schema, "minLength", 0), LENGTH_MAX), ".")
            return text[: max(0, _whole(schema, "maxLength", len(text)))]
        case "integer" | "number":
            return _number(schema, topic)
        case "boolean":
            return _spread(topic, 2) == 1
        case _:
            return None


def _number(schema: Mapping[str, Any], topic: str) -> int:
    lowest = _whole(schema, "minimum", min(0, _whole(schema, "maximum", 0)))
    highest = _whole(schema, "maximum", lowest + NUMBER_SPREAD)
    return lowest + _spread(topic, max(1, min(NUMBER_SPREAD, highest - lowest + 1)))


def _whole(schema: Mapping[str, Any], key: str, default: int) -> int:
    value = schema.get(key)
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else default


def _spread(topic: str, count: int) -> int:
    return xxhash.xxh3_64_intdigest(topic.encode()) % count


def _resolved(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for name in reference.removeprefix("#").split("/")[1:]:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
