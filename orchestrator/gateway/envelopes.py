"""OneRouter's JSON objects, key for key as documented: create, status, error.

Absent ids are empty strings and absent times are null, counts are zero at the create, `start_time` stays 0 and fees are
a decimal string of nine places of which six are used: all as OneRouter prints them.
"""

from __future__ import annotations

from typing import Any, Final

from orchestrator.gateway.faults import decode_plan
from orchestrator.gateway.simulated import PRICES_NANO_USD
from orchestrator.gateway.states import Standing
from orchestrator.gateway.store import Batch, Fate

WINDOW_S: Final = 86_397  # 24 h less 3 s, as printed in the documentation
ERROR_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_credits",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    502: "bad_gateway",
    503: "service_unavailable",
}
FAIL_REASONS: Final = {
    Fate.FAIL: "batch input was rejected by the upstream",
    Fate.TOKEN_LIMIT: "token_limit_exceeded: too many tokens are enqueued for this model",
    Fate.FAIL_PARTIAL: "the upstream failed before all requests were run",
    Fate.EXPIRE: "the completion window passed before all requests were run",
}


def error_envelope(code: int, message: str, kind: str | None = None) -> dict[str, Any]:
    """Return the documented error envelope."""
    kind = kind or ERROR_TYPES.get(code, "api_error" if code >= 500 else "invalid_request_error")
    return {"error": {"code": code, "message": message, "type": kind, "param": ""}}


def create_envelope(batch: Batch) -> dict[str, Any]:
    """Return the answer to a create."""
    created_at = int(batch.submitted_at)
    return {
        "batch": {
            "cancelled_at": None,
            "cancelling_at": None,
            "completed_at": None,
            "completion_window": "24h",
            "created_at": created_at,
            "endpoint": "",
            "error_file_id": "",
            "errors": None,
            "expired_at": None,
            "expires_at": created_at + WINDOW_S,
            "failed_at": None,
            "finalizing_at": None,
            "id": batch.batch_id,
            "in_progress_at": None,
            "input_file_id": batch.file_id,
            "metadata": None,
            "object": "batch",
            "output_file_id": "",
            "request_counts": {"completed": 0, "failed": 0, "total": 0},
            "status": "validating",
        },
        "batch_id": batch.batch_id,
        "file": {
            "bytes": batch.size_bytes,
            "created_at": created_at,
            "filename": "batch.jsonl",
            "id": batch.file_id,
            "object": "file",
            "purpose": "batch",
            "status": "processed",
        },
        "file_id": batch.file_id,
        "task_id": batch.task_id,
        "task_status": "NOT_START",
    }


def reshaped(created: dict[str, Any], shape: str) -> dict[str, Any]:
    """Return the answer to a create, of either dialect, in another shape; see `faults`."""
    batch = created.get("batch", created)
    match shape:
        case "plain":
            return {key: batch[key] for key in ("id", "object", "status", "created_at")}
        case "data":
            return {"code": 0, "message": "ok", "data": batch}
        case "unknown":
            return {"accepted": True, "queue": "default"}
    return created


def cancel_envelope(batch: Batch) -> dict[str, Any]:
    """Return the answer to a cancel, of which only the word `canceling` is documented."""
    envelope = create_envelope(batch)
    envelope["batch"] |= {"cancelling_at": int(batch.cancelled_at or 0), "status": "cancelling"}
    return envelope | {"processing_status": "canceling", "task_status": "IN_PROGRESS"}


def status_object(batch: Batch, standing: Standing, *, result_url: str, counts_off_by: int) -> dict[str, Any]:
    """Return the status of a batch; its counts and fees are shown once it has ended."""
    fail_reason = _fail_reason(batch) if standing.is_ended else ""
    running = batch.total * standing.percent // 100
    shown = {
        "batch_id": batch.batch_id,
        "completed_count": (batch.completed if standing.is_ended else running) + counts_off_by,
        "completion_tokens": batch.output_tokens,
        "error": "batch_failed" if fail_reason else "",
        "fail_reason": fail_reason,
        "failed_count": batch.failed,
        "fees": fees_text(batch.fees_micro_usd),
        "finish_time": int(batch.ends_at) if standing.is_ended else 0,
        "model": batch.model,
        "progress": f"{standing.percent}%",
        "prompt_tokens": batch.input_tokens,
        "result_url": result_url,
        "start_time": 0,
        "status": standing.word,
        "submit_time": int(batch.submitted_at),
        "task_id": batch.task_id,
        "total_requests": batch.total,
        "total_tokens": batch.input_tokens + batch.output_tokens,
    }
    if standing.processing_status is not None:
        shown["processing_status"] = standing.processing_status
    return shown


def _fail_reason(batch: Batch) -> str:
    faults = decode_plan(batch.plan).batch
    if batch.fate == Fate.FAIL and (faults.code or faults.message):
        return ": ".join(filter(None, (faults.code, faults.message)))
    return FAIL_REASONS.get(Fate(batch.fate), "")


def models_envelope() -> dict[str, Any]:
    """Return the list of models: those with a price of their own, and `*`, as it answers for any name.

    The keys are OneRouter's, as read by apmantza/pi-free (infron-models.ts at 2e961ae), and OpenAI's.
    """
    priced: dict[str, tuple[float | None, float | None]] = {
        f"openai/{name}-batch": (2 * per_input / 1_000, 2 * per_output / 1_000)  # a batch costs half
        for name, (per_input, per_output) in PRICES_NANO_USD.items()
    }
    rows = [
        {
            "id": name,
            "object": "model",
            "created": 0,
            "owned_by": "gateway",
            "category_type": "LLM",
            "min_prompt_price": per_input,
            "min_completion_price": per_output,
        }
        for name, (per_input, per_output) in (priced | {"*": (None, None)}).items()
    ]
    return {"object": "list", "data": rows, "has_more": False}


def fees_text(fees_micro_usd: int) -> str:
    """Return an amount as OneRouter prints it: `0.000497000`."""
    return f"{fees_micro_usd // 1_000_000}.{fees_micro_usd % 1_000_000:06d}000"
