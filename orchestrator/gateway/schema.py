"""Answers that fit a JSON schema, so that a job with typed columns can be tried without a provider.

It knows what structured outputs allow (objects, arrays, enums, const, anyOf, local $ref, formats, plain patterns) and
the bounds on numbers and lengths; where a schema uses anything else, the value is null.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final

import xxhash

# Bounds on the size of an answer, whatever the schema.
DEPTH_MAX: Final = 8
REFERENCE_DEPTH: Final = 3  # a $ref costs this much of the depth: recursion ends after two of them
ITEMS_MAX: Final = 3
ITEMS_MIN_MAX: Final = 100  # more items than that are not made, whatever `minItems` says
LENGTH_MAX: Final = 1_000
NUMBER_SPREAD: Final = 10
FAR: Final = 10**9  # a bound that there is not
WORDS: Final = "JSON Schema"
BOUNDS: Final = re.compile(r"\((\w+: .+)\)$", re.DOTALL)
KEY: Final = re.compile(r"(?:, )?(\w+): ")
FORMATS: Final = {
    "date": "2026-01-{0:02d}",
    "date-time": "2026-01-{0:02d}T12:00:00Z",
    "time": "12:00:{0:02d}Z",
    "duration": "P{0}D",
    "email": "simulated{0}@example.com",
    "hostname": "simulated{0}.example.com",
    "uri": "https://example.com/{0}",
    "ipv4": "192.0.2.{0}",
    "ipv6": "2001:db8::{0}",
    "uuid": "00000000-0000-4000-8000-0000000000{0:02d}",
}
REPEATS_MAX: Final = 64
_CATEGORIES: Final = {"CATEGORY_DIGIT": "0", "CATEGORY_WORD": "a", "CATEGORY_SPACE": " "}


def instance_of(schema: Mapping[str, Any], topic: str) -> Any:
    """Return a JSON value of `schema` that depends on `topic` alone; strings are made from it."""
    return _instance(schema, topic, schema, DEPTH_MAX) if schema else {"answer": f"[simulated] {topic}"}


def schema_in(text: str) -> dict[str, Any] | None:
    """Return the JSON schema that a text asks for in words, if it does: the object after "JSON Schema"."""
    _, asked, after = text.partition(WORDS)
    start = after.find("{")
    if not asked or start < 0:
        return None
    try:
        found, _ = json.JSONDecoder().raw_decode(after, start)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _instance(schema: Any, topic: str, root: Mapping[str, Any], depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth <= 0:
        return None
    schema = {**_told(schema.get("description")), **schema}
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


def _told(description: Any) -> dict[str, Any]:
    """Return the bounds that a description ends with, as `… (minimum: 1, pattern: "a")`, for want of keywords."""
    found: dict[str, Any] = {}
    match = BOUNDS.search(description) if isinstance(description, str) else None
    rest = match[1] if match else ""
    while key := KEY.match(rest):
        try:
            found[key[1]], end = json.JSONDecoder().raw_decode(rest, key.end())
        except (ValueError, RecursionError):
            return {}
        rest = rest[end:]
    return found


def _typed(schema: Mapping[str, Any], topic: str, root: Mapping[str, Any], depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else None)
    match kind[0] if isinstance(kind, list) and kind else kind:
        case "object":
            properties = schema.get("properties")
            names = properties if isinstance(properties, Mapping) else {}
            return {name: _instance(each, f"{name}: {topic}", root, depth - 1) for name, each in names.items()}
        case "array":
            least = min(_whole(schema, "minItems", 0), ITEMS_MIN_MAX)
            count = max(least, min(1, _whole(schema, "maxItems", ITEMS_MAX)))
            return [_instance(schema.get("items"), topic, root, depth - 1) for _ in range(count)]
        case "string":
            if schema.get("format") in FORMATS:
                return FORMATS[schema["format"]].format(1 + _spread(topic, 28))
            if isinstance(schema.get("pattern"), str):
                return text_matching(schema["pattern"])
            text = f"[simulated] {topic}".ljust(min(_whole(schema, "minLength", 0), LENGTH_MAX), ".")
            return text[: max(0, _whole(schema, "maxLength", len(text)))]
        case "integer" | "number":
            return _number(schema, topic)
        case "boolean":
            return _spread(topic, 2) == 1
        case _:
            return None


def _number(schema: Mapping[str, Any], topic: str) -> float:
    least, most = _finite(schema, "minimum", -FAR), _finite(schema, "maximum", FAR)
    lowest = max(math.ceil(least), math.floor(_finite(schema, "exclusiveMinimum", -FAR - 1)) + 1)
    highest = min(math.floor(most), math.ceil(_finite(schema, "exclusiveMaximum", FAR + 1)) - 1)
    if lowest > highest:  # such as from 0.2 to 0.8
        return (max(least, lowest - 1) + min(most, highest + 1)) / 2
    if lowest == -FAR:
        lowest = min(0, highest)
    step = max(1, _whole(schema, "multipleOf", 1))
    first = -(-lowest // step) * step
    return first + step * _spread(topic, max(1, min(NUMBER_SPREAD, (highest - first) // step + 1)))


def _whole(schema: Mapping[str, Any], key: str, default: int) -> int:
    return math.floor(_finite(schema, key, default))


def _finite(schema: Mapping[str, Any], key: str, default: int) -> float:
    value = schema.get(key)
    return value if isinstance(value, int | float) and math.isfinite(value) else default


def _spread(topic: str, count: int) -> int:
    return xxhash.xxh3_64_intdigest(topic.encode()) % count


def _resolved(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for name in reference.removeprefix("#").split("/")[1:]:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def text_matching(pattern: str) -> str:
    """Return a text that the pattern finds something in; empty where the pattern is of another kind."""
    try:
        text = "".join(_texts(parser.parse(pattern)))
        return text if re.search(pattern, text) else ""
    except (re.error, ValueError, RecursionError, OverflowError):
        return ""


def _texts(parsed: Any) -> Iterator[str]:
    for code, given in parsed:
        match str(code):
            case "LITERAL":
                yield chr(given)
            case "ANY" | "NOT_LITERAL":
                yield "a" if given != ord("a") else "b"
            case "IN":
                yield _one_of(given)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                low, _, inner = given
                yield "".join(_texts(inner)) * min(low, REPEATS_MAX)
            case "SUBPATTERN":
                yield from _texts(given[3])
            case "BRANCH":
                yield from _texts(given[1][0])
            case "AT":
                continue
            case _:
                raise ValueError("a pattern of another kind")


def _one_of(options: Any) -> str:
    """Return a character of a class."""
    code, given = options[0]
    if str(code) == "NEGATE":
        refused = {value for kind, value in options[1:] if str(kind) == "LITERAL"}
        return next((each for each in "a0 -_." if ord(each) not in refused), "~")
    if str(code) == "RANGE":
        return chr(given[0])
    if str(code) == "CATEGORY":
        return _CATEGORIES.get(str(given), "-")
    return chr(given)
