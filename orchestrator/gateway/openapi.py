"""The OpenAPI 3.1 document, made of the table of operations."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any, Final

import msgspec

from orchestrator.gateway.operations import OPERATIONS, Operation, Schema

REFERENCE: Final = "#/components/schemas/{name}"
WORDS: Final = {
    200: "Done.",
    400: "The request is refused.",
    401: "The key is missing or unknown.",
    404: "It does not exist.",
    409: "It has ended already.",
    413: "It is too large.",
}
ABOUT: Final = (
    "OneRouter's Batches API, OpenAI's files and batches, and Anthropic's message batches, answered by a simulated"
    " model. Any other path or verb is a 404. A fault plan (`/admin/faults`) makes the server answer what is not"
    " described here: that is what it is for."
)
PACKAGE: Final = "batch-orchestrator"


def document() -> dict[str, Any]:
    """Return the description of every operation."""
    types = {shape: None for operation in OPERATIONS for shape in _types(operation)}  # in order, each once
    references, components = msgspec.json.schema_components(tuple(types), ref_template=REFERENCE)
    schemas = dict(zip(types, references, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Gateway", "version": metadata.version(PACKAGE), "description": ABOUT},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _types(operation: Operation) -> tuple[type[msgspec.Struct], ...]:
    return (*operation.answer, *operation.refusal, *operation.body)


def _described(operation: Operation, schemas: Mapping[type[msgspec.Struct], Schema]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": {str(status): _answer(operation, status, schemas) for status in sorted(operation.statuses)},
    }
    parameters = [
        {"name": name, "in": place, "required": place != "query", "schema": schema}
        for place, named in (
            ("path", operation.parameters),
            ("query", operation.query),
            ("header", operation.headers),
        )
        for name, schema in named.items()
    ]
    if parameters:
        described["parameters"] = parameters
    if operation.body:
        content = {"application/json": {"schema": _any_of(operation.body, schemas)}}
        described["requestBody"] = {"required": True, "content": content}
    if operation.form is not None:
        content = {"multipart/form-data": {"schema": operation.form}}
        described["requestBody"] = {"required": True, "content": content}
    if not operation.needs_key:
        described["security"] = []
    return described


def _answer(operation: Operation, status: int, schemas: Mapping[type[msgspec.Struct], Schema]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    shapes = operation.answer if status == 200 else operation.refusal
    if shapes:
        content["application/json"] = {"schema": _any_of(shapes, schemas)}
    if status == 200 and operation.has_lines:
        content["application/jsonl"] = {}
    return {"description": WORDS[status], "content": content}


def _any_of(
    shapes: tuple[type[msgspec.Struct], ...], schemas: Mapping[type[msgspec.Struct], Schema]
) -> Mapping[str, Any]:
    return schemas[shapes[0]] if len(shapes) == 1 else {"anyOf": [schemas[shape] for shape in shapes]}
