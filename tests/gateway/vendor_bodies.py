"""Writes orchestrator/gateway/{openai,anthropic}_bodies.json from the types of the installed packages of these names.

    .venv/bin/python -m tests.gateway.vendor_bodies

The gateway validates request bodies with those files, so that it needs neither the packages nor pydantic to run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from orchestrator.gateway import anthropic_bodies, openai_bodies

PATH: Final = Path(openai_bodies.__file__).with_suffix(".json")
ANTHROPIC_PATH: Final = Path(anthropic_bodies.__file__).with_suffix(".json")
HEADERS: Final = ("user_profile_id", "workspace_id")  # the client's method takes them; they are no part of the body
PROSE: Final = frozenset({"title", "description", "default"})


def vendor_schemas() -> dict[str, Any]:
    """Return a JSON schema per endpoint; an object takes no keys but those its type names."""
    from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
    from openai.types.embedding_create_params import EmbeddingCreateParams
    from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming

    # A batch runs requests without streaming: the vendor has a type of its own for these.
    return {
        "/v1/chat/completions": _schema_of(CompletionCreateParamsNonStreaming),
        "/v1/embeddings": _schema_of(EmbeddingCreateParams),
        "/v1/responses": _schema_of(ResponseCreateParamsNonStreaming),
    }


def anthropic_schemas() -> dict[str, Any]:
    """Return the schema of a message's parameters, as above."""
    schema = _schema_of(message_params())
    for name in HEADERS:
        del schema["properties"][name]
    return {"/v1/messages": schema}


def message_params() -> Any:
    """Return the vendor's type of a message's parameters."""
    from anthropic.types.message_create_params import MessageCreateParamsNonStreaming

    return MessageCreateParamsNonStreaming


def _schema_of(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return _compact(TypeAdapter(kind).json_schema())


def _compact(node: Any) -> Any:
    if isinstance(node, list):
        return [_compact(each) for each in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _compact(each) for key, each in node.items() if key not in PROSE}
    for names in ("properties", "$defs"):  # whose keys are names and not keywords
        if names in node:
            kept[names] = {name: _compact(each) for name, each in node[names].items()}
    if "properties" in kept:
        kept.setdefault("additionalProperties", False)
    return kept


def without_order(node: Any) -> Any:
    """Return a schema with its members of enums in order: of two equal Literals Python keeps the one it met first."""
    if isinstance(node, list):
        return [without_order(each) for each in node]
    if not isinstance(node, dict):
        return node
    kept = {key: without_order(each) for key, each in node.items()}
    return kept | {"enum": sorted(node["enum"])} if isinstance(node.get("enum"), list) else kept


def encoded(schemas: dict[str, Any]) -> str:
    """Return the file's text: one line per endpoint, keys in order."""
    lines = [
        f"{json.dumps(name)}:{json.dumps(each, separators=(',', ':'), sort_keys=True)}"
        for name, each in schemas.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    PATH.write_text(encoded(vendor_schemas()), encoding="utf-8")
    ANTHROPIC_PATH.write_text(encoded(anthropic_schemas()), encoding="utf-8")
