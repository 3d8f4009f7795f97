"""Reads how a user says what an answer is: fields, a JSON Schema or the file of one, a pydantic class.

Rule: all of them become one canonical schema (`domain.response_schema`), and so the same requests, columns and job.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.response_fields import is_json_schema, schema_of_fields
from orchestrator.domain.response_schema import ResponseSchema, canonical

FILE: Final = "schema"  # the key of [response] that names a file
WHERE: Final = "response"


def read_response(given: Any) -> ResponseSchema | None:
    """Return the schema of answers; None where there is none. Raises ConfigError that names the field.

    Args:
        given: fields as in a job file, a JSON Schema (a dict), the path of a file with one, or a class with
            `model_json_schema()`, as pydantic's have.
    """
    match given:
        case None:
            return None
        case str() | Path():
            return _of_file(Path(given))
        case {"schema": str() | Path() as path}:
            others = sorted(given.keys() - {FILE})
            if others:
                raise ConfigError(
                    f"[response] {FILE} names a file, so there can be no fields beside it: {', '.join(others)}. "
                    f'For a field named {FILE!r} write {FILE} = {{ type = "string" }}'
                )
            return _of_file(Path(path))
        case Mapping() if is_json_schema(given):
            return _canonical(given, WHERE)
        case Mapping():
            return _canonical(schema_of_fields(given), WHERE)
    if isinstance(given, type) and callable(getattr(given, "model_json_schema", None)):
        return _canonical(given.model_json_schema(), WHERE)  # type: ignore[attr-defined]
    raise ConfigError(
        'response must be fields, such as {"mood": "string"}, a JSON Schema, the path of a file with one, or a '
        f"pydantic class, not {_called(given)}"
    )


def with_path(table: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """Return `[response]` of a job file in `folder`: the schema's file is relative to it."""
    path = table.get(FILE)
    return {**table, FILE: str(folder / path)} if isinstance(path, str) else table


def _canonical(document: Any, where: str) -> ResponseSchema:
    """Return a JSON Schema in canonical form, once it is one. Raises ConfigError."""
    import jsonschema_rs  # only a job with a schema needs it

    if isinstance(document, Mapping):
        try:
            jsonschema_rs.meta.validate({key: value for key, value in document.items() if key != "$schema"})
        except jsonschema_rs.ValidationError as error:
            place = ".".join(str(part) for part in error.instance_path if part != "properties")
            raise ConfigError(f"{where}.{place}: {error.message}" if place else f"{where}: {error.message}") from None
        except (ValueError, TypeError, RecursionError):  # NaN, half a surrogate pair, a key that is no text
            raise ConfigError(f"{where}: it holds a value that JSON cannot express") from None
    return canonical(document, where)


def _of_file(path: Path) -> ResponseSchema:
    where = f"response: {path}"
    try:
        text = path.expanduser().read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{where}: no such file") from None
    except (OSError, ValueError, RuntimeError) as error:  # no such user's home, a zero byte in the name
        reason = getattr(error, "strerror", None) or "it is not UTF-8, or its name is none"
        raise ConfigError(f"{where}: cannot be read: {reason}") from None
    try:
        document = json.loads(text, object_pairs_hook=_without_twice)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: is not valid JSON: {error}") from None
    return _canonical(document, where)


def _without_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, _ in pairs if [key for key, _ in pairs].count(name) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def _called(given: Any) -> str:
    return f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
