"""Every operation in one table: the routes are made of it (`app`), and so is the OpenAPI 3.1 document (`openapi`).

Rule 1: `refusals` are what the server itself answers; what a fault plan makes it answer is no part of the API.
Rule 2: a request that `body` and `query` forbid is refused. A request that they allow may be refused, too, for reasons
        that no schema can express: a duplicate custom_id, a file that does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

import msgspec

from orchestrator.gateway import shapes
from orchestrator.gateway.anthropic_bodies import VERSIONS
from orchestrator.gateway.faults import FaultPlan
from orchestrator.gateway.intake import Body, ParamsHead, Row
from orchestrator.gateway.openai_intake import CreateRequest

Schema = Mapping[str, Any]

ONEROUTER: Final = (shapes.Refusal,)
OPENAI: Final = (shapes.OpenAIRefusal,)
ANTHROPIC: Final = (shapes.AnthropicRefusal,)
EITHER: Final = (shapes.Refusal, shapes.OpenAIRefusal)
ID: Final[Schema] = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,100}$"}


class CreateRow(Row):
    """One request of a create; `params` may hold more keys than this type names."""

    params: ParamsHead  # type: ignore[assignment] # the server keeps the bytes and checks them with this type


class Create(Body):
    """A create in OneRouter's dialect; no custom_id may occur twice."""

    requests: Annotated[list[CreateRow], msgspec.Meta(min_length=1)]  # type: ignore[assignment] # as above


class OpenAICreate(CreateRequest):
    """A create in OpenAI's dialect."""

    endpoint: Literal["/v1/chat/completions", "/v1/embeddings", "/v1/responses"]
    completion_window: Literal["24h"]


class MessageRow(msgspec.Struct):
    """One request of a message batch; its params are checked when it runs."""

    custom_id: Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    params: dict[str, Any]


class MessageBatchCreate(msgspec.Struct):
    """A create in Anthropic's dialect; no custom_id may occur twice."""

    requests: Annotated[list[MessageRow], msgspec.Meta(min_length=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One verb on one path; `route` is the path for Starlette, where it differs."""

    name: str  # also the name of the handler
    method: str
    path: str
    summary: str
    answer: tuple[type[msgspec.Struct], ...] = ()  # the JSON of a 200 is one of these
    has_lines: bool = False  # the body of a 200 may be JSON lines
    refusals: tuple[int, ...] = ()
    refusal: tuple[type[msgspec.Struct], ...] = ONEROUTER
    body: tuple[type[msgspec.Struct], ...] = ()
    form: Schema | None = None
    parameters: Mapping[str, Schema] = field(default_factory=dict)  # in the path
    query: Mapping[str, Schema] = field(default_factory=dict)
    headers: Mapping[str, Schema] = field(default_factory=dict)  # required ones
    needs_key: bool = True
    route: str = ""

    @property
    def statuses(self) -> frozenset[int]:
        """The statuses it answers with when there is no fault plan."""
        return frozenset({200, *self.refusals, *((401,) if self.needs_key else ())})


UPLOAD: Final[Schema] = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "its name ends in .jsonl"},
        "purpose": {"type": "string", "enum": ["batch"]},
        "expires_after[seconds]": {"type": "integer", "minimum": 3_600, "maximum": 2_592_000},
        "expires_after[anchor]": {"type": "string"},
    },
    "required": ["file", "purpose"],
}
BATCH: Final[Mapping[str, Schema]] = {"batch_id": ID}
FILE: Final[Mapping[str, Schema]] = {"file_id": ID}
VERSION: Final[Mapping[str, Schema]] = {"anthropic-version": {"type": "string", "enum": list(VERSIONS)}}
AFTER: Final[Schema] = {"type": "string"}


def _limit(most: int) -> Schema:
    return {"type": "integer", "minimum": 1, "maximum": most}


OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation(
        name="create",
        method="POST",
        path="/v1/batches",
        summary="Create a batch: of OneRouter's dialect if it has `requests`, else of OpenAI's.",
        answer=(shapes.Created, shapes.OpenAIBatch),
        refusals=(400, 413),
        refusal=EITHER,
        body=(Create, OpenAICreate),
    ),
    Operation(
        name="list",
        method="GET",
        path="/v1/batches",
        summary="List the batches of OpenAI's dialect, newest first.",
        answer=(shapes.OpenAIBatches,),
        refusals=(400, 404),
        refusal=OPENAI,
        query={"limit": _limit(100), "after": AFTER},
    ),
    Operation(
        name="status",
        method="GET",
        path="/v1/batches/{batch_id}",
        summary="Return the status of a batch in its own dialect; OneRouter's answer may be the results.",
        answer=(shapes.Standing, shapes.OpenAIBatch),
        has_lines=True,
        refusals=(404,),
        refusal=EITHER,
        parameters=BATCH,
    ),
    Operation(
        name="cancel",
        method="POST",
        path="/v1/batches/{batch_id}/cancel",
        summary="Cancel a batch; one that has ended is refused: 400 in OneRouter's dialect, 409 in OpenAI's.",
        answer=(shapes.Cancelled, shapes.OpenAIBatch),
        refusals=(400, 404, 409),
        refusal=EITHER,
        parameters=BATCH,
    ),
    Operation(
        name="upload",
        method="POST",
        path="/v1/files",
        summary="Upload an input file.",
        answer=(shapes.OpenAIFile,),
        refusals=(400, 413),
        refusal=OPENAI,
        form=UPLOAD,
    ),
    Operation(
        name="files",
        method="GET",
        path="/v1/files",
        summary="List the files.",
        answer=(shapes.OpenAIFiles,),
        refusals=(400, 404),
        refusal=OPENAI,
        query={
            "limit": _limit(10_000),
            "after": AFTER,
            "order": {"type": "string", "enum": ["asc", "desc"]},
            "purpose": {"type": "string"},
        },
    ),
    Operation(
        name="file",
        method="GET",
        path="/v1/files/{file_id}",
        summary="Describe a file.",
        answer=(shapes.OpenAIFile,),
        refusals=(404,),
        refusal=OPENAI,
        parameters=FILE,
    ),
    Operation(
        name="delete",
        method="DELETE",
        path="/v1/files/{file_id}",
        summary="Delete a file; later creates that name it are refused.",
        answer=(shapes.OpenAIDeleted,),
        refusals=(404,),
        refusal=OPENAI,
        parameters=FILE,
    ),
    Operation(
        name="content",
        method="GET",
        path="/v1/files/{file_id}/content",
        summary="Download a file.",
        has_lines=True,
        refusals=(404,),
        refusal=OPENAI,
        parameters=FILE,
    ),
    Operation(
        name="message_create",
        method="POST",
        path="/v1/messages/batches",
        summary="Create a message batch; what is wrong in a request's params fails that request.",
        answer=(shapes.MessageBatch,),
        refusals=(400, 413),
        refusal=ANTHROPIC,
        body=(MessageBatchCreate,),
        headers=VERSION,
    ),
    Operation(
        name="message_list",
        method="GET",
        path="/v1/messages/batches",
        summary="List the message batches, newest first.",
        answer=(shapes.MessageBatches,),
        refusals=(400, 404),
        refusal=ANTHROPIC,
        query={"limit": _limit(1_000), "after_id": AFTER, "before_id": AFTER},
        headers=VERSION,
    ),
    Operation(
        name="message_status",
        method="GET",
        path="/v1/messages/batches/{batch_id}",
        summary="Return the status of a message batch.",
        answer=(shapes.MessageBatch,),
        refusals=(400, 404),
        refusal=ANTHROPIC,
        parameters=BATCH,
        headers=VERSION,
    ),
    Operation(
        name="message_delete",
        method="DELETE",
        path="/v1/messages/batches/{batch_id}",
        summary="Delete a message batch that has ended.",
        answer=(shapes.MessageBatchDeleted,),
        refusals=(400, 404),
        refusal=ANTHROPIC,
        parameters=BATCH,
        headers=VERSION,
    ),
    Operation(
        name="message_cancel",
        method="POST",
        path="/v1/messages/batches/{batch_id}/cancel",
        summary="Cancel a message batch; one that has ended is refused.",
        answer=(shapes.MessageBatch,),
        refusals=(400, 404),
        refusal=ANTHROPIC,
        parameters=BATCH,
        headers=VERSION,
    ),
    Operation(
        name="message_results",
        method="GET",
        path="/v1/messages/batches/{batch_id}/results",
        summary="Download the results of a message batch that has ended.",
        has_lines=True,
        refusals=(400, 404),
        refusal=ANTHROPIC,
        parameters=BATCH,
        headers=VERSION,
    ),
    Operation(
        name="download",
        method="GET",
        path="/resource/batch-llm/azure-batch%2F{name}",
        summary="Download the results of a batch of OneRouter's dialect; the address itself is the secret.",
        has_lines=True,
        refusals=(404,),
        parameters={"name": {"type": "string", "pattern": r"^[A-Za-z0-9_-]{1,100}\.jsonl$"}},
        needs_key=False,
        route="/resource/{rest:path}",
    ),
    Operation(
        name="bill",
        method="GET",
        path="/admin/bill",
        summary="Return the bill: answers, fees, and answers that were paid twice.",
        answer=(shapes.Bill,),
    ),
    Operation(
        name="batches",
        method="GET",
        path="/admin/batches",
        summary="List the batches of both dialects, oldest first.",
        answer=(shapes.KnownBatches,),
    ),
    Operation(
        name="faults",
        method="GET",
        path="/admin/faults",
        summary="Show the fault plan.",
        answer=(FaultPlan,),
    ),
    Operation(
        name="set_faults",
        method="PUT",
        path="/admin/faults",
        summary="Set the fault plan; its counts start at zero.",
        answer=(FaultPlan,),
        refusals=(400,),
        body=(FaultPlan,),
    ),
    Operation(
        name="models",
        method="GET",
        path="/v1/models",
        summary="List the models and their prices, to anybody; a key that is sent must be right.",
        answer=(shapes.Models,),
        refusals=(401,),
        needs_key=False,
    ),
    Operation(
        name="healthz",
        method="GET",
        path="/healthz",
        summary="Return 200 while the server runs.",
        answer=(shapes.Health,),
        needs_key=False,
    ),
    Operation(
        name="openapi",
        method="GET",
        path="/openapi.json",
        summary="This description.",
        answer=(shapes.Description,),
        needs_key=False,
    ),
)
