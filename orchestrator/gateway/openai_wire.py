"""OpenAI's JSON objects, key for key: batch, file, list, error.

An absent value is null, never an empty string; times are whole seconds. A batch names its output file only if a request
succeeded, and its error file only if one did not.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from orchestrator.gateway.openai_store import Extras, File
from orchestrator.gateway.states import OpenAIStatus, openai_share_run
from orchestrator.gateway.store import NEVER_RUN, Batch, Fate

WINDOW_S: Final = 86_400
CODES: Final = {401: "invalid_api_key", 429: "rate_limit_exceeded"}


def error_envelope(status: int, message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """Return OpenAI's error envelope."""
    error = {"message": message, "type": error_type(status), "param": param, "code": code or CODES.get(status)}
    return {"error": error}


def error_type(status: int) -> str:
    """Return the vendor's type of an error with this HTTP status."""
    return "server_error" if status >= 500 else "requests" if status == 429 else "invalid_request_error"


def file_object(file: File) -> dict[str, Any]:
    """Return a file as the vendor shows it."""
    return {
        "id": file.file_id,
        "object": "file",
        "bytes": file.size_bytes,
        "created_at": int(file.created_at),
        "expires_at": int(file.expires_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def deleted_object(file_id: str) -> dict[str, Any]:
    """Return the answer to a delete."""
    return {"id": file_id, "object": "file", "deleted": True}


def page_of(shown: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """Return one page of a list."""
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": has_more,
    }


def batch_object(
    batch: Batch,
    extras: Extras,
    status: OpenAIStatus,
    now: float,
    *,
    counts_off_by: int = 0,
    hides_output: bool = False,
) -> dict[str, Any]:
    """Return a batch in the state `status`; results and usage show once it is settled."""
    has_ended = status in {OpenAIStatus.COMPLETED, OpenAIStatus.FAILED, OpenAIStatus.EXPIRED, OpenAIStatus.CANCELLED}
    is_shown = has_ended and batch.is_settled
    return {
        "id": batch.batch_id,
        "object": "batch",
        "endpoint": extras.endpoint,
        "model": None if status is OpenAIStatus.VALIDATING else batch.model or None,
        "errors": _errors(extras) if status is OpenAIStatus.FAILED else None,
        "input_file_id": batch.file_id,
        "completion_window": extras.completion_window,
        "status": status.value,
        "output_file_id": extras.output_file_id if is_shown and batch.has_results and not hides_output else None,
        "error_file_id": extras.error_file_id if is_shown and extras.has_errors else None,
        "created_at": int(batch.submitted_at),
        "expires_at": int(batch.submitted_at) + WINDOW_S,
        **_times(batch, extras, status, now),
        "request_counts": _counts(batch, extras, status, now, counts_off_by),
        "usage": _usage(batch) if is_shown else None,
        "metadata": msgspec.json.decode(extras.metadata),
    }


def _errors(extras: Extras) -> dict[str, Any]:
    return {"object": "list", "data": msgspec.json.decode(extras.errors)}


def _times(batch: Batch, extras: Extras, status: OpenAIStatus, now: float) -> dict[str, int | None]:
    ends = {
        OpenAIStatus.COMPLETED: "completed_at",
        OpenAIStatus.FAILED: "failed_at",
        OpenAIStatus.EXPIRED: "expired_at",
        OpenAIStatus.CANCELLED: "cancelled_at",
    }
    times: dict[str, int | None] = dict.fromkeys(("in_progress_at", "finalizing_at", *ends.values(), "cancelling_at"))
    has_run = extras.validated_at <= (now if batch.cancelled_at is None else batch.cancelled_at)
    if has_run and status is not OpenAIStatus.VALIDATING and Fate(batch.fate) not in NEVER_RUN:
        times["in_progress_at"] = int(extras.validated_at)
    if status in {OpenAIStatus.FINALIZING, OpenAIStatus.COMPLETED}:
        times["finalizing_at"] = int(extras.finalizing_at)
    if batch.cancelled_at is not None:
        times["cancelling_at"] = int(batch.cancelled_at)
    if status in ends:
        times[ends[status]] = int(batch.ends_at)
    return times


def _counts(batch: Batch, extras: Extras, status: OpenAIStatus, now: float, off_by: int) -> dict[str, int]:
    is_unread = batch.cancelled_at is not None and batch.cancelled_at < extras.validated_at
    if (
        status is OpenAIStatus.VALIDATING
        or is_unread
        or (status is OpenAIStatus.FAILED and Fate(batch.fate) in NEVER_RUN)
    ):
        return {"total": 0, "completed": 0, "failed": 0}
    match status:
        case OpenAIStatus.IN_PROGRESS:
            completed = int(batch.total * min(batch.done_share, openai_share_run(extras, now)))
        case OpenAIStatus.CANCELLING | OpenAIStatus.FINALIZING:
            completed = int(batch.total * batch.done_share)
        case _:
            completed = batch.completed
    return {"total": batch.total, "completed": completed + off_by, "failed": batch.failed}


def _usage(batch: Batch) -> dict[str, Any]:
    return {
        "input_tokens": batch.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": batch.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": batch.input_tokens + batch.output_tokens,
    }
