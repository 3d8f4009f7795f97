"""Writes orchestrator/gateway/openai_bodies.json from the types of the installed `openai` package.

    .venv/bin/python -m tests.gateway.vendor_bodies

The gateway validates request bodies with that file, so that it needs neither `openai` nor pydantic to run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.embedding_create_params import EmbeddingCreateParams
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter

from orchestrator.gateway import openai_bodies

PATH: Final = Path(openai_bodies.__file__).with_suffix(".json")
# A batch runs requests without streaming: the vendor has a type of its own for these.
TYPES: Final[dict[str, Any]] = {
    "/v1/chat/completions": CompletionCreateParamsNonStreaming,
    "/v1/embeddings": EmbeddingCreateParams,
    "/v1/responses": ResponseCreateParamsNonStreaming,
}
PROSE: Final = frozenset({"title", "description", "default"})


def vendor_schemas() -> dict[str, Any]:
    """Return a JSON schema per endpoint; an object takes no keys but those its type names."""
    return {endpoint: _compact(TypeAdapter(each).json_schema()) for endpoint, each in TYPES.items()}


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


def encoded(schemas: dict[str, Any]) -> str:
    """Return the file's text: one line per endpoint, keys in order."""
    lines = [
        f"{json.dumps(name)}:{json.dumps(each, separators=(',', ':'), sort_keys=True)}"
        for name, each in schemas.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    PATH.write_text(encoded(vendor_schemas()), encoding="utf-8")
