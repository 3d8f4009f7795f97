"""The schema of typed answers in one canonical form, whatever it was written as.

Rule 1: the same fields give the same text: annotations that bind nobody are dropped (`title`, `default`, `examples`),
    local references are resolved, `const` is an `enum` of one, "or null" has one form, keywords have one order.
Rule 2: fields keep their order: a model writes them in it, and columns stand in it.
Rule 3: an object takes no other fields than its own, unless the schema says otherwise; an optional field may be null.
Rule 4: only a recursive definition stays a reference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from orchestrator.domain.errors import ConfigError

Node = dict[str, Any]
DEPTH_MAX: Final = 50
NODES_MAX: Final = 20_000  # references that are resolved again and again can make a small file huge
NULL: Final = {"type": "null"}
_DROPPED: Final = frozenset(
    {"title", "default", "examples", "example", "$schema", "$id", "$comment", "$anchor", "deprecated", "readOnly"}
    | {"writeOnly", "nullable", "discriminator", "$defs", "definitions", "$ref"}
)
_ORDER: Final = ("$ref", "type", "description", "format", "enum", "properties", "required", "additionalProperties")
_ORDER_AFTER: Final = ("items", "prefixItems", "anyOf", "oneOf", "allOf")
_KINDS: Final = ((bool, "boolean"), (str, "string"), (int, "integer"), (float, "number"), (list, "array"))
# Keywords that hold a schema, and those that hold a table of schemas, beside the common ones.
_ONE: Final = ("not", "if", "then", "else", "contains", "propertyNames", "unevaluatedItems", "unevaluatedProperties")
_BOUNDS: Final = (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems"))
_TABLES: Final = ("patternProperties", "dependentSchemas")


@dataclass(frozen=True, slots=True)
class ResponseSchema:
    """A schema in canonical form. Its root is an object with fields."""

    text: str  # JSON

    @property
    def document(self) -> Node:
        """The schema, to be read only."""
        return _parsed(self.text)

    @property
    def fields(self) -> Mapping[str, Node]:
        """The schema of each field of the answer, in order."""
        found: Mapping[str, Node] = self.document["properties"]
        return found


@lru_cache(maxsize=16)
def _parsed(text: str) -> Node:
    found: Node = json.loads(text)
    return found


def canonical(document: Any, where: str = "response") -> ResponseSchema:
    """Return a JSON Schema in canonical form. Raises ConfigError that names the place in it."""
    if not isinstance(document, Mapping):
        raise ConfigError(f"{where} must be a JSON Schema of an object, not {_called(document)}")
    reading = _Reading(document, where)
    root = reading.root()
    if root.get("type") != "object" or not root.get("properties"):
        raise ConfigError(
            f"{where}: an answer must be an object with fields, and this is {_root_kind(root)}. Write a type "
            '"object" with properties; a list goes into a field of it'
        )
    for path, schema in nodes(root):
        _check_bounds(schema, f"{where}.{path}")
    try:
        text = json.dumps(root, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        text.encode()
    except (TypeError, ValueError):  # UnicodeEncodeError is one
        raise ConfigError(f"{where}: it holds a value that JSON cannot express") from None
    return ResponseSchema(text)


def _check_bounds(schema: Node, place: str) -> None:
    """Raise ConfigError for a least that is above the most: every answer would be paid for, and fail."""
    for least, most in _BOUNDS:
        low, high = (value if isinstance(value := schema.get(key), int | float) else None for key in (least, most))
        if low is not None and high is not None and low > high:
            raise ConfigError(f"{place}: {least} {low} is more than {most} {high}: no answer could be right")


def _root_kind(root: Node) -> str:
    if root.get("type") == "object":
        return "an object without properties"
    return next((f"{key} of several" for key in ("anyOf", "oneOf", "allOf") if key in root), f"{root.get('type')!r}")


def nodes(schema: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """Yield every schema inside a canonical one, itself included, each with its path: `address.street`, `tags[]`."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}" if path else name)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}[]")
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for inner in schema.get(key, ()):
            if inner != NULL:
                yield from nodes(inner, path)
    for name, inner in schema.get("$defs", {}).items():
        yield from nodes(inner, f"$defs.{name}")


def without_null(schema: Node) -> tuple[Node, bool]:
    """Return a canonical schema without its "or null", and whether it has one."""
    kind, options = schema.get("type"), schema.get("anyOf")
    if isinstance(kind, list) and "null" in kind:
        others = [one for one in kind if one != "null"]
        inner = schema | {"type": others[0] if len(others) == 1 else others}
        if "enum" in inner:
            inner["enum"] = [value for value in inner["enum"] if value is not None]
        return inner, True
    if options and NULL in options:
        others = [option for option in options if option != NULL]
        return (others[0] if len(others) == 1 else {"anyOf": others}), True
    return schema, False


@dataclass(slots=True)
class _Reading:
    """One schema, being read."""

    document: Mapping[str, Any]
    where: str
    count: int = 0
    definitions: Node = field(default_factory=dict)  # the recursive ones, in canonical form

    def root(self) -> Node:
        """Return the whole schema in canonical form."""
        schema, seen = self.document, set[str]()
        while "$ref" in schema and schema["$ref"] not in seen:  # a recursive class: the root is one of its definitions
            seen.add(schema["$ref"])
            schema = {**self._target(schema["$ref"], self.where), **_others(schema, "$ref")}
        found = self._node(schema, self.where, 0)
        return found | {"$defs": dict(sorted(self.definitions.items()))} if self.definitions else found

    def _node(self, schema: Any, path: str, depth: int) -> Node:
        self.count += 1
        if depth > DEPTH_MAX or self.count > NODES_MAX:
            limit = f"{DEPTH_MAX} levels" if depth > DEPTH_MAX else f"{NODES_MAX:,} schemas"
            raise ConfigError(f"{path}: the schema is too large: more than {limit}")
        if schema is True:
            return {}
        if not isinstance(schema, Mapping):
            raise ConfigError(f"{path} must be a schema, not {_called(schema)}")
        if "$ref" in schema:
            return self._reference(schema, path, depth)
        parts = schema.get("allOf")
        if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], Mapping):
            return self._node({**parts[0], **_others(schema, "allOf")}, path, depth + 1)
        return self._plain(schema, path, depth)

    def _reference(self, schema: Mapping[str, Any], path: str, depth: int) -> Node:
        reference, others = schema["$ref"], _others(schema, "$ref")
        target = self._target(reference, path)
        if not self._is_recursive(reference):
            return self._node({**target, **others}, path, depth + 1)
        name = reference.removeprefix("#").replace("/$defs/", "", 1).replace("/definitions/", "", 1).replace("/", "_")
        if name and name not in self.definitions:
            self.definitions[name] = {}
            self.definitions[name] = self._plain(target, f"{path}.{name}", depth + 1)
        described = {"description": others["description"]} if others.get("description") else {}
        return {"$ref": f"#/$defs/{name}" if name else "#"} | described

    def _target(self, reference: Any, path: str) -> Mapping[str, Any]:
        if not isinstance(reference, str) or not (reference + "/").startswith("#/"):
            raise ConfigError(f"{path}: $ref {reference!r} is not in this schema: write #/$defs/NAME")
        found: Any = self.document
        for part in reference.removeprefix("#").split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            raise ConfigError(f"{path}: $ref {reference!r} names no definition of this schema")
        return found

    def _is_recursive(self, reference: str) -> bool:
        """Whether a definition comes back to itself."""
        seen, ahead = set[str](), [reference]
        while ahead:
            for inner in _references(self._target(ahead.pop(), self.where)):
                if inner == reference:
                    return True
                if inner not in seen:
                    seen.add(inner)
                    ahead.append(inner)
        return False

    def _plain(self, schema: Mapping[str, Any], path: str, depth: int) -> Node:
        found = {key: _number(value) for key, value in schema.items() if key not in _DROPPED and value is not None}
        if not found.get("description"):
            found.pop("description", None)
        is_nullable = schema.get("nullable") is True
        if "const" in schema:
            found.pop("const", None)
            found["enum"] = [schema["const"]]
        if isinstance(found.get("oneOf"), list) and "discriminator" in schema:  # each option has a constant of its own
            found["anyOf"] = found.pop("oneOf")
        for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
            if key in found:
                found[key] = self._options(found[key], f"{path}.{key}", depth)
        if "anyOf" in found:
            options = [option for option in found.pop("anyOf") if option not in (NULL, {"enum": [None]})]
            is_nullable |= len(options) < len(schema.get("anyOf", schema.get("oneOf", ())))
            inner = [without_null(option) for option in options]
            is_nullable |= any(nullable for _, nullable in inner)
            unique = [one for number, (one, _) in enumerate(inner) if one not in [each for each, _ in inner[:number]]]
            if len(unique) == 1:
                found = {**unique[0], **found}
            elif unique:
                found["anyOf"] = unique
        found, is_null = self._typed(found, path)
        self._inner(found, path, depth)
        return _ordered(_or_null(found) if is_nullable or is_null else found)

    def _options(self, given: Any, path: str, depth: int) -> list[Node]:
        if not isinstance(given, list | tuple) or not given:
            raise ConfigError(f"{path} must be a list of schemas")
        return [self._node(option, f"{path}[{number}]", depth + 1) for number, option in enumerate(given)]

    def _typed(self, found: Node, path: str) -> tuple[Node, bool]:
        """Return the schema with one type, where it can be told, and whether it may be null as well."""
        kinds, is_null = found.get("type"), False
        if isinstance(kinds, list | tuple):
            is_null = "null" in kinds
            others = [kind for kind in kinds if kind != "null"]
            found["type"] = others[0] if len(others) == 1 else others
            if not others:
                found["type"] = "null"
        if "enum" in found:
            values = found["enum"]
            if not isinstance(values, list | tuple) or not values:
                raise ConfigError(f"{path}.enum must be a list of values")
            is_null |= None in values
            unique = {repr(_number(value)): _number(value) for value in values if value is not None}
            if not unique:
                return _others(found, "enum") | {"type": "null"}, True
            found["enum"] = list(unique.values())
            kinds = {_kind_of(value) for value in found["enum"]}
            if len(kinds) == 1 and not isinstance(found.get("type"), str):
                found["type"] = kinds.pop()
        for key, kind in (("properties", "object"), ("items", "array"), ("prefixItems", "array")):
            if key in found:
                found.setdefault("type", kind)
        return found, is_null

    def _inner(self, found: Node, path: str, depth: int) -> None:
        """Bring fields and items into canonical form."""
        if "properties" in found:
            fields = found["properties"]
            if not isinstance(fields, Mapping):
                raise ConfigError(f"{path}.properties must be a table of fields")
            required = found.get("required", ())
            for name in required:
                if name not in fields:
                    raise ConfigError(f"{path}.required names {name!r}, which is no field of it")
            found["properties"] = {
                _named(name, path): one if name in required else _or_null(one)
                for name, inner in fields.items()
                for one in [self._node(inner, f"{path}.{name}", depth + 1)]
            }
            found["required"] = [name for name in fields if name in required]
            found.setdefault("additionalProperties", False)
        if isinstance(found.get("additionalProperties"), Mapping):
            found["additionalProperties"] = self._node(found["additionalProperties"], f"{path}[]", depth + 1)
        for key in found.keys() & {*_ONE}:
            if not isinstance(found[key], bool):
                found[key] = self._node(found[key], f"{path}.{key}", depth + 1)
        for key in found.keys() & {*_TABLES}:
            if isinstance(found[key], Mapping):
                inner = found[key].items()
                found[key] = {name: self._node(one, f"{path}.{key}.{name}", depth + 1) for name, one in inner}
        if "items" in found:
            found["items"] = self._node(found["items"], f"{path}[]", depth + 1)


def _others(schema: Mapping[str, Any], key: str) -> Node:
    return {name: value for name, value in schema.items() if name != key}


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for key, inner in value.items():
            if key not in ("$defs", "definitions", "enum", "const", "default", "examples"):
                yield from _references(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _references(inner)


def _or_null(schema: Node) -> Node:
    """Return the schema of the same value or null."""
    kind = schema.get("type")
    if kind == "null" or not schema or without_null(schema)[1]:
        return schema
    if isinstance(kind, str | list) and "anyOf" not in schema and "$ref" not in schema:
        more = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
        return _ordered(schema | more | {"type": [*([kind] if isinstance(kind, str) else kind), "null"]})
    if "anyOf" in schema:
        return _ordered(schema | {"anyOf": [*schema["anyOf"], NULL]})
    described = {"description": schema["description"]} if "description" in schema else {}
    return _ordered({**described, "anyOf": [_others(schema, "description"), NULL]})


def _ordered(schema: Node) -> Node:
    known = [key for key in _ORDER if key in schema]
    after = [key for key in _ORDER_AFTER if key in schema]
    rest = sorted(schema.keys() - {*known, *after})
    return {key: schema[key] for key in (*known, *rest, *after)}


def _named(name: Any, path: str) -> str:
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ConfigError(f"{path}: a field has the name {name!r}: give it one of printable characters")
    return name


def _number(value: Any) -> Any:
    """Return a number in one form: 0.0 is 0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _kind_of(value: Any) -> str:
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "object")


def _called(value: Any) -> str:
    return {"dict": "a table", "list": "a list", "str": f"the text {value!r}"}.get(
        type(value).__name__, type(value).__name__
    )
