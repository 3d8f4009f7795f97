"""The types of all answers, for the OpenAPI document.

They intentionally repeat what `envelopes`, `openai_wire` and `bill` build: if a key is added, renamed or given another
type there, the answer no longer matches its description and tests/fuzz/test_openapi.py fails.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Shape(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An object with exactly these keys."""


class RefusalWords(Shape):
    """OneRouter's error object; `code` repeats the HTTP status."""

    code: int
    message: str
    type: str
    param: str


class Refusal(Shape):
    """OneRouter's error envelope."""

    error: RefusalWords


class OpenAIRefusalWords(Shape):
    """OpenAI's error object."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIRefusal(Shape):
    """OpenAI's error envelope."""

    error: OpenAIRefusalWords


class ListedModel(Shape):
    """A model, and the price of its calls without a batch, USD per million tokens; `*` is any other name."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    category_type: str
    min_prompt_price: float | None
    min_completion_price: float | None


class Models(Shape):
    """The list of models."""

    object: Literal["list"]
    data: list[ListedModel]
    has_more: bool


class Counts(Shape):
    """The request counts of a batch."""

    total: int
    completed: int
    failed: int


class CreatedBatch(Shape):
    """A batch as OneRouter shows it when it is created or cancelled: absent ids are empty, absent times are null."""

    cancelled_at: int | None
    cancelling_at: int | None
    completed_at: int | None
    completion_window: Literal["24h"]
    created_at: int
    endpoint: str
    error_file_id: str
    errors: None
    expired_at: int | None
    expires_at: int
    failed_at: int | None
    finalizing_at: int | None
    id: str
    in_progress_at: int | None
    input_file_id: str
    metadata: None
    object: Literal["batch"]
    output_file_id: str
    request_counts: Counts
    status: Literal["validating", "cancelling"]


class CreatedFile(Shape):
    """The file that OneRouter reports for the requests."""

    bytes: int
    created_at: int
    filename: str
    id: str
    object: Literal["file"]
    purpose: Literal["batch"]
    status: Literal["processed"]


class Created(Shape):
    """The answer to a create of OneRouter's dialect."""

    batch: CreatedBatch
    batch_id: str
    file: CreatedFile
    file_id: str
    task_id: int
    task_status: Literal["NOT_START"]


class Cancelled(Shape):
    """The answer to a cancel of OneRouter's dialect."""

    batch: CreatedBatch
    batch_id: str
    file: CreatedFile
    file_id: str
    task_id: int
    task_status: Literal["IN_PROGRESS"]
    processing_status: Literal["canceling"]


class Standing(Shape):
    """The status of a batch of OneRouter's dialect; `result_url` is empty while there are no results."""

    batch_id: str
    completed_count: int
    completion_tokens: int
    error: str
    fail_reason: str
    failed_count: int
    fees: str
    finish_time: int
    model: str
    progress: str
    prompt_tokens: int
    result_url: str
    start_time: int
    status: str
    submit_time: int
    task_id: int
    total_requests: int
    total_tokens: int
    processing_status: Literal["canceling", "ended"] | msgspec.UnsetType = msgspec.UNSET


class OpenAIFile(Shape):
    """A file of OpenAI's dialect."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: Literal["processed"]
    status_details: None


class OpenAIDeleted(Shape):
    """The answer to a delete."""

    id: str
    object: Literal["file"]
    deleted: Literal[True]


class LineError(Shape):
    """One error in an input file, and its line."""

    code: str
    line: int | None
    message: str
    param: str | None


class LineErrors(Shape):
    """The errors of a batch that failed."""

    object: Literal["list"]
    data: list[LineError]


class InputDetails(Shape):
    """Details of the input tokens."""

    cached_tokens: int


class OutputDetails(Shape):
    """Details of the output tokens."""

    reasoning_tokens: int


class Usage(Shape):
    """The tokens of a batch."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class OpenAIBatch(Shape):
    """A batch of OpenAI's dialect; absent values are null. A fault plan can make `status` any word."""

    id: str
    object: Literal["batch"]
    endpoint: str
    model: str | None
    errors: LineErrors | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    expires_at: int
    in_progress_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelled_at: int | None
    cancelling_at: int | None
    request_counts: Counts
    usage: Usage | None
    metadata: dict[str, str] | None


class Page(Shape):
    """A page of a list."""

    object: Literal["list"]
    first_id: str | None
    last_id: str | None
    has_more: bool


class OpenAIFiles(Page):
    """A page of files."""

    data: list[OpenAIFile]


class OpenAIBatches(Page):
    """A page of batches, newest first."""

    data: list[OpenAIBatch]


class MessageCounts(Shape):
    """The requests of a message batch, by what became of them."""

    processing: int
    succeeded: int
    errored: int
    canceled: int
    expired: int


class MessageBatch(Shape):
    """A batch of Anthropic's dialect; absent values are null. A fault plan can make its status any word."""

    id: str
    type: Literal["message_batch"]
    processing_status: str
    request_counts: MessageCounts
    created_at: str
    expires_at: str
    ended_at: str | None
    cancel_initiated_at: str | None
    archived_at: str | None
    results_url: str | None


class MessageBatches(Shape):
    """A page of message batches, newest first."""

    data: list[MessageBatch]
    has_more: bool
    first_id: str | None
    last_id: str | None


class MessageBatchDeleted(Shape):
    """The answer to a delete of a message batch."""

    id: str
    type: Literal["message_batch_deleted"]


class AnthropicRefusalWords(Shape):
    """Anthropic's error object."""

    type: str
    message: str


class AnthropicRefusal(Shape):
    """Anthropic's error envelope."""

    type: Literal["error"]
    error: AnthropicRefusalWords
    request_id: str


class PaidTwice(Shape):
    """A request with more than one billable answer."""

    custom_id: str
    batch_ids: list[str]


class Bill(Shape):
    """The bill of all batches that have ended."""

    creates: int
    batches: int
    answers: int
    fees_usd: str
    paid_twice: int
    excused: int
    same_body: int
    same_custom_id: int
    examples: list[PaidTwice]


class KnownBatch(Shape):
    """A batch of any dialect, as the operator sees it."""

    id: str
    dialect: Literal["onerouter", "openai", "anthropic"]
    task_id: int
    state: str
    total: int
    submitted_at: str
    file_id: str
    digest: str
    size_bytes: int
    model: str
    first_custom_id: str
    last_custom_id: str


class KnownBatches(Shape):
    """All batches, oldest first."""

    batches: list[KnownBatch]


class Health(Shape):
    """The answer of /healthz."""

    status: Literal["ok"]


class Description(msgspec.Struct, kw_only=True):
    """The OpenAPI document."""

    openapi: Literal["3.1.0"]
    info: dict[str, Any]
    paths: dict[str, Any]
