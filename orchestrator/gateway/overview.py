"""What the operator sees of both dialects at once: the bill, and the list of all batches."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from orchestrator.gateway import bill as bills
from orchestrator.gateway.openai_service import OpenAIService, is_openai_id
from orchestrator.gateway.openai_states import status_of
from orchestrator.gateway.service import Service


def bill(service: Service, openai: OpenAIService) -> dict[str, Any]:
    """Settle what has ended and return the bill. Slow."""
    now = service.clock.now()
    for batch in service.store.batches():
        if not batch.is_settled and now >= batch.ends_at:
            if is_openai_id(batch.batch_id):
                openai.settle(batch.batch_id)
            else:
                service.settle(batch.batch_id)
    return bills.bill(service.store, now)


def batches(service: Service, openai: OpenAIService) -> Iterator[dict[str, Any]]:
    """List all batches, oldest first, with what a person needs to recognise a lost create."""
    now = service.clock.now()
    for batch in service.store.batches():
        if batch.submitted_at > now:
            continue
        found = openai.store.batch(batch.batch_id) if is_openai_id(batch.batch_id) else None
        state = service.standing(batch).word if found is None else status_of(*found, now).value
        yield {
            "id": batch.batch_id,
            "dialect": "onerouter" if found is None else "openai",
            "task_id": batch.task_id,
            "state": state,
            "total": batch.total,
            "submitted_at": datetime.fromtimestamp(batch.submitted_at, tz=UTC).isoformat(timespec="milliseconds"),
            "file_id": batch.file_id,
            "digest": batch.digest,
            "size_bytes": batch.size_bytes,
            "model": batch.model,
            "first_custom_id": batch.first_custom_id,
            "last_custom_id": batch.last_custom_id,
        }
