"""The numbers of a status or a report, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def sums(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers that a job's status or report has, without its times."""
    job, rows, lines, money = (document[name] for name in ("job", "rows", "lines", "money"))
    return {
        "job_id": job["id"],
        "state": job["state"],
        "reason": job["reason"],
        "decision": job["decision"],
        "paused_at": job["paused_at"],
        "account_paused": job["account_paused"],
        "rows": rows["total"],
        "planning": not rows["all_read"],
        "succeeded": rows["answered"],
        "reused": rows["reused"],
        "failed": rows["failed"],
        "truncated": rows["truncated"],
        "empty": rows["empty"],
        "refused": rows["refused"],
        "waiting_for_retry": rows["to_send_again"],
        "in_flight": rows["at_provider"],
        "unresolved_chunks": document["batches"]["needs you"],
        "chunks": document["chunks"],
        "batches": document["created"],
        "lines": lines["read"],
        "missing": lines["missing"],
        "duplicates": lines["duplicates"],
        "foreign": lines["foreign"],
        "unreadable": lines["unreadable"],
        "cost_usd": money["spent"],
        "unpriced": money["unpriced"],
        "reserved_usd": money["reserved"],
        "undelivered_notices": document["notices"]["undelivered"],
        "troubles": document["troubles"],
    }
