"""What the gateway is asked and what it answers, as an OpenAPI document: OneRouter by hand, the others by their types.

The answers of OpenAI's and Anthropic's routes have the types of the vendors' own clients. A fault plan is no part of
it, and the answers of `/admin` have tests of their own (tests/gateway).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from anthropic.types.messages import DeletedMessageBatch, MessageBatch
from openai.types import Batch, FileDeleted, FileObject
from pydantic.json_schema import models_json_schema

from orchestrator.gateway.anthropic_bodies import VERSIONS
from orchestrator.gateway.faults import FaultPlan
from orchestrator.gateway.openai_bodies import ENDPOINTS

Schema = dict[str, Any]

COMPONENT: Final = "#/components/schemas/{model}"
TEXT: Final[Schema] = {"type": "string"}
WHOLE: Final[Schema] = {"type": "integer"}
NOTHING: Final[Schema] = {"type": "null"}
ANY: Final[Schema] = {}


def exactly(**fields: Schema) -> Schema:
    """An object with these keys and no others."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def one_of(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


def maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, NOTHING]}


def many(schema: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": schema, "minItems": least}


def whole(least: int, most: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most}


def asks(needed: tuple[str, ...], **fields: Schema) -> Schema:
    """A body with these keys, and any others."""
    return {"type": "object", "properties": fields, "required": list(needed)}


VENDORS, VENDOR_SCHEMAS = models_json_schema(
    [(model, "validation") for model in (Batch, FileObject, FileDeleted, MessageBatch, DeletedMessageBatch)],
    ref_template=COMPONENT,
)
_, FAULT_SCHEMAS = msgspec.json.schema_components([FaultPlan], ref_template="#/components/schemas/{name}")
PLAN: Final[Schema] = {"$ref": "#/components/schemas/FaultPlan"}


def of(model: type[Any]) -> Schema:
    return VENDORS[model, "validation"]


def page(shown: Schema, **more: Schema) -> Schema:
    ends = maybe(TEXT)
    return exactly(data=many(shown), has_more={"type": "boolean"}, first_id=ends, last_id=ends, **more)


LIST: Final = one_of("list")
ONEROUTER_ERROR: Final = exactly(error=exactly(code=WHOLE, message=TEXT, type=TEXT, param=TEXT))
OPENAI_ERROR: Final = exactly(error=exactly(message=TEXT, type=TEXT, param=maybe(TEXT), code=maybe(TEXT)))
EITHER_ERROR: Final[Schema] = {"anyOf": [ONEROUTER_ERROR, OPENAI_ERROR]}
ANTHROPIC_ERROR: Final = exactly(type=one_of("error"), error=exactly(type=TEXT, message=TEXT), request_id=TEXT)

ONEROUTER_BATCH: Final = exactly(
    **dict.fromkeys(
        ("cancelled_at", "cancelling_at", "completed_at", "expired_at", "failed_at", "finalizing_at", "in_progress_at"),
        maybe(WHOLE),
    ),
    **dict.fromkeys(("endpoint", "error_file_id", "id", "input_file_id", "output_file_id"), TEXT),
    **dict.fromkeys(("created_at", "expires_at"), WHOLE),
    **dict.fromkeys(("errors", "metadata"), NOTHING),
    completion_window=one_of("24h"),
    object=one_of("batch"),
    request_counts=exactly(total=WHOLE, completed=WHOLE, failed=WHOLE),
    status=one_of("validating", "cancelling"),
)
ONEROUTER_FILE: Final = exactly(
    bytes=WHOLE,
    created_at=WHOLE,
    filename=TEXT,
    id=TEXT,
    object=one_of("file"),
    purpose=one_of("batch"),
    status=one_of("processed"),
)
CREATED: Final[dict[str, Schema]] = {
    "batch": ONEROUTER_BATCH,
    "batch_id": TEXT,
    "file": ONEROUTER_FILE,
    "file_id": TEXT,
    "task_id": WHOLE,
}
ONEROUTER_STATUS: Final = exactly(
    **dict.fromkeys(("batch_id", "error", "fail_reason", "fees", "model", "progress", "result_url", "status"), TEXT),
    **dict.fromkeys(("completed_count", "completion_tokens", "failed_count", "finish_time", "prompt_tokens"), WHOLE),
    **dict.fromkeys(("start_time", "submit_time", "task_id", "total_requests", "total_tokens"), WHOLE),
)
ONEROUTER_STATUS["properties"]["processing_status"] = one_of("canceling", "ended")  # only of one that was cancelled
MODEL: Final = exactly(
    **dict.fromkeys(("id", "owned_by", "category_type"), TEXT),
    **dict.fromkeys(("min_prompt_price", "min_completion_price"), maybe({"type": "number"})),
    created=WHOLE,
    object=one_of("model"),
)

NAME: Final[Schema] = {"type": "string", "minLength": 1}
ONEROUTER_CREATE: Final = asks(
    ("requests",),
    requests=many(asks(("custom_id", "params"), custom_id=NAME, params=asks(("model",), model=NAME)), least=1),
)
METADATA: Final[Schema] = {
    "type": "object",
    "maxProperties": 16,
    "propertyNames": {"maxLength": 64},
    "additionalProperties": {"type": "string", "maxLength": 512},
}
KEPT: Final = asks(("seconds",), seconds=whole(3_600, 2_592_000), anchor=TEXT)
OPENAI_CREATE: Final = asks(
    ("input_file_id", "endpoint", "completion_window"),
    input_file_id=TEXT,
    endpoint=one_of(*ENDPOINTS),
    completion_window=one_of("24h"),
    metadata=maybe(METADATA),
    output_expires_after=maybe(KEPT),
)
ANTHROPIC_NAME: Final[Schema] = {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"}
ANTHROPIC_CREATE: Final = asks(
    ("requests",),
    requests=many(asks(("custom_id", "params"), custom_id=ANTHROPIC_NAME, params={"type": "object"}), least=1),
)
UPLOAD: Final = asks(
    ("file", "purpose"),
    file={"type": "string", "format": "binary"},
    purpose=one_of("batch"),
    **{"expires_after[seconds]": whole(3_600, 2_592_000), "expires_after[anchor]": TEXT},
)


def call(
    *answers: Schema,
    refusals: dict[int, Schema] | None = None,
    has_lines: bool = False,
    body: Schema | None = None,
    form: Schema | None = None,
    has_version: bool = False,
    needs_key: bool = True,
    **query: Schema,
) -> Schema:
    """One operation: what a 200 is, and what is refused with which status; all but a few need the key."""
    content: Schema = {"application/json": {"schema": {"anyOf": list(answers)}}} if answers else {}
    if has_lines:
        content["application/jsonl"] = {}
    refused = dict(refusals or {})
    if needs_key:
        refused[401] = ANTHROPIC_ERROR if has_version else EITHER_ERROR
    responses = {str(status): {"application/json": {"schema": schema}} for status, schema in refused.items()}
    described: Schema = {
        "responses": {
            status: {"description": "", "content": shown} for status, shown in ({"200": content} | responses).items()
        },
        "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in query.items()],
        "security": [{"key": []}] if needs_key else [],
    }
    if has_version:
        version = {"name": "anthropic-version", "in": "header", "required": True, "schema": one_of(*VERSIONS)}
        described["parameters"].append(version)
    for kind, asked in (("application/json", body), ("multipart/form-data", form)):
        if asked is not None:
            described["requestBody"] = {"required": True, "content": {kind: {"schema": asked}}}
    return described


def refused(schema: Schema, *statuses: int) -> dict[int, Schema]:
    return dict.fromkeys(statuses, schema)


ID: Final[Schema] = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,100}$"}
BATCH, FILE = of(Batch), of(FileObject)
MESSAGE_BATCH: Final = of(MessageBatch)
GONE_MESSAGE: Final = refused(ANTHROPIC_ERROR, 400, 404)
PATHS: Final[dict[str, dict[str, Schema]]] = {
    "/v1/batches": {
        "post": call(
            exactly(**CREATED, task_status=one_of("NOT_START")),
            BATCH,
            refusals=refused(EITHER_ERROR, 400, 413),
            body={"anyOf": [ONEROUTER_CREATE, OPENAI_CREATE]},
        ),
        "get": call(
            page(BATCH, object=LIST), refusals=refused(OPENAI_ERROR, 400, 404), limit=whole(1, 100), after=TEXT
        ),
    },
    "/v1/batches/{batch_id}": {
        "get": call(ONEROUTER_STATUS, BATCH, has_lines=True, refusals=refused(EITHER_ERROR, 404))
    },
    "/v1/batches/{batch_id}/cancel": {
        "post": call(
            exactly(**CREATED, task_status=one_of("IN_PROGRESS"), processing_status=one_of("canceling")),
            BATCH,
            refusals=refused(EITHER_ERROR, 400, 404, 409),
        )
    },
    "/v1/files": {
        "post": call(FILE, refusals=refused(OPENAI_ERROR, 400, 413), form=UPLOAD),
        "get": call(
            page(FILE, object=LIST),
            refusals=refused(OPENAI_ERROR, 400, 404),
            limit=whole(1, 10_000),
            after=TEXT,
            order=one_of("asc", "desc"),
            purpose=TEXT,
        ),
    },
    "/v1/files/{file_id}": {
        "get": call(FILE, refusals=refused(OPENAI_ERROR, 404)),
        "delete": call(of(FileDeleted), refusals=refused(OPENAI_ERROR, 404)),
    },
    "/v1/files/{file_id}/content": {"get": call(has_lines=True, refusals=refused(OPENAI_ERROR, 404))},
    "/v1/messages/batches": {
        "post": call(
            MESSAGE_BATCH, refusals=refused(ANTHROPIC_ERROR, 400, 413), body=ANTHROPIC_CREATE, has_version=True
        ),
        "get": call(
            page(MESSAGE_BATCH),
            refusals=GONE_MESSAGE,
            has_version=True,
            limit=whole(1, 1_000),
            after_id=TEXT,
            before_id=TEXT,
        ),
    },
    "/v1/messages/batches/{batch_id}": {
        "get": call(MESSAGE_BATCH, refusals=GONE_MESSAGE, has_version=True),
        "delete": call(of(DeletedMessageBatch), refusals=GONE_MESSAGE, has_version=True),
    },
    "/v1/messages/batches/{batch_id}/cancel": {
        "post": call(MESSAGE_BATCH, refusals=GONE_MESSAGE, has_version=True),
    },
    "/v1/messages/batches/{batch_id}/results": {
        "get": call(has_lines=True, refusals=GONE_MESSAGE, has_version=True),
    },
    "/resource/batch-llm/azure-batch%2F{name}": {
        "get": call(has_lines=True, refusals=refused(ONEROUTER_ERROR, 404), needs_key=False)
    },
    "/admin/bill": {"get": call(ANY)},
    "/admin/batches": {"get": call(ANY)},
    "/admin/faults": {
        "get": call(PLAN),
        "put": call(PLAN, refusals=refused(ONEROUTER_ERROR, 400), body=PLAN),
    },
    "/v1/models": {
        "get": call(
            exactly(object=LIST, data=many(MODEL), has_more={"type": "boolean"}),
            refusals=refused(ONEROUTER_ERROR, 401),
            needs_key=False,
        )
    },
    "/healthz": {"get": call(exactly(status=one_of("ok")), needs_key=False)},
}
PARAMETERS: Final[dict[str, Schema]] = {
    "batch_id": ID,
    "file_id": ID,
    "name": {"type": "string", "pattern": r"^[A-Za-z0-9_-]{1,100}\.jsonl$"},
}


def document() -> Schema:
    """Return the OpenAPI document."""
    paths: dict[str, Schema] = {}
    for path, operations in PATHS.items():
        named = [
            {"name": name, "in": "path", "required": True, "schema": schema}
            for name, schema in PARAMETERS.items()
            if f"{{{name}}}" in path
        ]
        paths[path] = {**operations, "parameters": named}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Gateway", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": VENDOR_SCHEMAS["$defs"] | FAULT_SCHEMAS,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }
