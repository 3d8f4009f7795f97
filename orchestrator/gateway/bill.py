"""The operator's view of all dialects: the bill (answers, cost, answers paid twice) and the list of all batches.

A pair (custom_id, params) with two or more billable answers is *paid twice*. It is *excused* if the fault plan removed
every answer but the last: its line was missing, unreadable or under another id, or the result file of its batch was
withheld or cut and never delivered completely. A lost answer to a create excuses nothing: the client must find out
whether the batch exists before it creates another one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

from orchestrator.gateway.anthropic_service import AnthropicService, is_message_batch
from orchestrator.gateway.anthropic_wire import batch_object
from orchestrator.gateway.envelopes import fees_text
from orchestrator.gateway.openai_service import OpenAIService, is_openai_id
from orchestrator.gateway.service import Service
from orchestrator.gateway.states import openai_status
from orchestrator.gateway.store import DENIED_DOWNLOADS, NOT_BILLED, WHOLE_DOWNLOADS, WITHHELD, Store

EXAMPLES_MAX: Final = 20

PAID_TWICE: Final = f"""
WITH twice AS (
    SELECT custom_id, body FROM items WHERE outcome != {NOT_BILLED} GROUP BY custom_id, body HAVING count(*) > 1
)
SELECT items.custom_id, items.body, batches.batch_id,
    items.outcome = {WITHHELD}
    OR (batches.batch_id IN (SELECT batch_id FROM occasions WHERE name = '{DENIED_DOWNLOADS}')
        AND batches.batch_id NOT IN (SELECT batch_id FROM occasions WHERE name = '{WHOLE_DOWNLOADS}'))
FROM items JOIN twice USING (custom_id, body) JOIN batches USING (task_id)
WHERE items.outcome != {NOT_BILLED} ORDER BY items.custom_id, items.body, items.task_id, items.row_no
"""  # noqa: S608 - constants of ours
SAME_BODY: Final = f"""
SELECT count(*) FROM (
    SELECT body FROM items WHERE outcome != {NOT_BILLED} GROUP BY body HAVING min(custom_id) != max(custom_id)
)
"""  # noqa: S608
SAME_CUSTOM_ID: Final = f"""
SELECT count(*) FROM (
    SELECT custom_id FROM items WHERE outcome != {NOT_BILLED} GROUP BY custom_id HAVING min(body) != max(body)
)
"""  # noqa: S608


def bill(store: Store, now: float) -> dict[str, Any]:
    """Return the bill of all settled batches; a create that arrives after `now` is not counted.

    Keys: creates and batches (accepted), answers (billable), fees_usd (decimal string), paid_twice and excused (pairs),
    same_body (params answered under several custom_ids), same_custom_id (custom_ids answered for several params), and
    examples: up to 20 pairs that are not excused, then excused ones.
    """
    statement = "SELECT count(*), coalesce(sum(fees_micro_usd), 0) FROM batches WHERE submitted_at <= ?"
    [(batch_count, fees_micro_usd)] = store.query(statement, now)
    [(answer_count,)] = store.query(f"SELECT count(*) FROM items WHERE outcome != {NOT_BILLED}")  # noqa: S608
    pairs: list[tuple[bool, str, list[str]]] = []
    for (custom_id, _), answers in groupby(store.query(PAID_TWICE), key=lambda row: row[:2]):
        paid = list(answers)
        is_excused = all(row[3] for row in paid[:-1])
        pairs.append((is_excused, str(custom_id), [str(row[2]) for row in paid]))
    examples = sorted(pairs)[:EXAMPLES_MAX]
    return {
        "creates": batch_count,
        "batches": batch_count,
        "answers": answer_count,
        "fees_usd": fees_text(fees_micro_usd),
        "paid_twice": len(pairs),
        "excused": sum(is_excused for is_excused, _, _ in pairs),
        "same_body": store.query(SAME_BODY)[0][0],
        "same_custom_id": store.query(SAME_CUSTOM_ID)[0][0],
        "examples": [{"custom_id": custom_id, "batch_ids": batch_ids} for _, custom_id, batch_ids in examples],
    }


def settled_bill(service: Service, openai: OpenAIService, anthropic: AnthropicService) -> dict[str, Any]:
    """Settle the batches that have ended and return the bill. Slow."""
    now = service.clock.now()
    for batch in service.store.batches():
        if not batch.is_settled and now >= batch.ends_at:
            if is_openai_id(batch.batch_id):
                openai.settle(batch.batch_id)
            elif is_message_batch(batch.batch_id):
                anthropic.settled(batch)
            else:
                service.settle(batch.batch_id)
    return bill(service.store, now)


def known_batches(service: Service, openai: OpenAIService) -> Iterator[dict[str, Any]]:
    """List all batches, oldest first, with what a person needs to recognise a lost create."""
    now = service.clock.now()
    for batch in service.store.batches():
        if batch.submitted_at > now:
            continue
        dialect, state = "onerouter", service.standing(batch).word
        if is_message_batch(batch.batch_id):
            dialect, state = "anthropic", batch_object(batch, now, results_url="")["processing_status"]
        elif is_openai_id(batch.batch_id) and (found := openai.store.batch(batch.batch_id)) is not None:
            dialect, state = "openai", openai_status(*found, now).value
        yield {
            "id": batch.batch_id,
            "dialect": dialect,
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
