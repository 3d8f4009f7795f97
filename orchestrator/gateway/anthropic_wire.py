"""Anthropic's JSON objects, key for key: batch, list, error.

Until a batch has ended, all of its requests count as processing; an absent value is null; times are RFC 3339.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from orchestrator.gateway.lines import ANTHROPIC_ERROR_TYPES
from orchestrator.gateway.store import Batch, Fate

WINDOW_S: Final = 86_400.0
KEPT_S: Final = 29 * 86_400.0  # of the results, from the creation of the batch
ERROR_TYPES: Final = ANTHROPIC_ERROR_TYPES | {409: "conflict_error"}


def error_envelope(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """Return Anthropic's error envelope; the id of the request is added when it is sent."""
    kind = ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    details = {"details": {"error_code": code}} if code else {}
    return {"type": "error", "error": {"type": kind, "message": message, **details}, "request_id": ""}


def is_archived(batch: Batch, now: float) -> bool:
    """Return whether the results of a batch are no longer kept."""
    return now >= batch.submitted_at + KEPT_S


def batch_object(batch: Batch, now: float, *, results_url: str, counts_off_by: int = 0) -> dict[str, Any]:
    """Return a batch as it stands; its results and counts show once it is settled.

    Args:
        results_url: where the results of an ended batch are; "" where they are not shown.
    """
    has_ended = now >= batch.ends_at and batch.is_settled
    is_kept = not is_archived(batch, now)
    status = "ended" if has_ended else "in_progress" if batch.cancelled_at is None else "canceling"
    return {
        "id": batch.batch_id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": _counts(batch, has_ended=has_ended, off_by=counts_off_by),
        "created_at": _time(batch.submitted_at),
        "expires_at": _time(batch.submitted_at + WINDOW_S),
        "ended_at": _time(batch.ends_at) if has_ended else None,
        "cancel_initiated_at": None if batch.cancelled_at is None else _time(batch.cancelled_at),
        "archived_at": None if is_kept else _time(batch.submitted_at + KEPT_S),
        "results_url": results_url if has_ended and is_kept and results_url else None,
    }


def _counts(batch: Batch, *, has_ended: bool, off_by: int) -> dict[str, int]:
    counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
    if not has_ended:
        return counts | {"processing": batch.total}
    unrun = "canceled" if batch.fate == Fate.CANCEL else "expired"
    left = batch.total - batch.completed - batch.failed
    return counts | {"succeeded": batch.completed + off_by, "errored": batch.failed, unrun: left}


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def page_of(shown: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """Return one page of the list."""
    first_id, last_id = (shown[0]["id"], shown[-1]["id"]) if shown else (None, None)
    return {"data": shown, "has_more": has_more, "first_id": first_id, "last_id": last_id}
