"""Parses Anthropic's batch object.

    {"id", "type": "message_batch", "processing_status": "in_progress" | "canceling" | "ended", "results_url", …,
     "request_counts": {"processing", "succeeded", "errored", "canceled", "expired"}}

Until a batch has ended, all its requests count as processing. A status that is not known counts as running.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from orchestrator.domain.batch import BatchStatus
from orchestrator.domain.model import Outcome
from orchestrator.domain.results_at import ALL_RESULTS, ResultRef, Urls
from orchestrator.providers.http.error_mapping import number

PATH: Final = "/messages/batches"
COUNTS: Final = ("processing", "succeeded", "errored", "canceled", "expired")


def status_of(batch: object) -> BatchStatus | None:
    """Read a batch object; None where it is none."""
    if not isinstance(batch, dict) or not isinstance(batch.get("processing_status"), str):
        return None
    if batch["processing_status"] != "ended":
        return BatchStatus(outcome=None)
    counts, url = counts_of(batch), batch.get("results_url")
    cut_short = Outcome.CANCELLED if counts["canceled"] else Outcome.EXPIRED if counts["expired"] else None
    where = url if isinstance(url, str) else ""
    ref = ResultRef(name=ALL_RESULTS, at=where, line_count=counts.total() or None)
    return BatchStatus(
        outcome=cut_short or Outcome.COMPLETED,
        results=Urls(refs=(ref,)) if where else None,
        done_count=counts["succeeded"],
        failed_count=counts["errored"] + counts["canceled"] + counts["expired"],
    )


def counts_of(batch: Mapping[str, Any]) -> Counter[str]:
    """Return how many requests a batch has, by what became of them; what cannot be read is 0."""
    counts = batch.get("request_counts")
    given = counts if isinstance(counts, dict) else {}
    return Counter({name: max(number(given.get(name)) or 0, 0) for name in COUNTS})
