"""The jobs of a work folder as metrics: the same looks as on the page, in Prometheus' text form.

Rule: labels are the job's id and fixed words; nothing of a row or of a provider's messages is in a metric.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from orchestrator.domain.look import Activity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.domain.look import Look

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
PLACES: Final = ("answered", "at_provider", "to_send_again", "waiting", "failed", "needs_decision")


def metrics(looks: Sequence[Look]) -> bytes:
    """Return the metrics of jobs: all of them by what they do, those that have not ended in detail."""
    registry = CollectorRegistry()
    registry.register(_Looks(looks))
    return generate_latest(registry)


class _Looks(Collector):
    """Looks, as a library's collector."""

    def __init__(self, looks: Sequence[Look]) -> None:
        self._looks = looks

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics."""
        jobs = GaugeMetricFamily("orchestrator_jobs", "Jobs by what they do.", labels=["activity"])
        counts = Counter(look.activity for look in self._looks)
        for activity in Activity:
            jobs.add_metric([activity.value], counts[activity])
        yield jobs
        live = [look for look in self._looks if not look.has_ended]
        rows = GaugeMetricFamily("orchestrator_rows", "Rows by where they are.", labels=["job", "place"])
        batches = GaugeMetricFamily("orchestrator_batches", "Batches by how far they are.", labels=["job", "group"])
        spent = GaugeMetricFamily("orchestrator_spent_usd", "What is settled, as far as it is known.", labels=["job"])
        reserved = GaugeMetricFamily("orchestrator_reserved_usd", "Of batches in flight, at most.", labels=["job"])
        age = GaugeMetricFamily("orchestrator_oldest_batch_seconds", "Of those at the provider.", labels=["job"])
        troubled = GaugeMetricFamily("orchestrator_troubled_batches", "That are tried again.", labels=["job"])
        for look in live:
            for place in PLACES:
                rows.add_metric([look.job_id, place], getattr(look.rows, place))
            for group, count in look.batches.items():
                batches.add_metric([look.job_id, group.value], count)
            if look.money.spent is not None:
                spent.add_metric([look.job_id], float(look.money.spent))
            reserved.add_metric([look.job_id], float(look.money.reserved))
            oldest = look.at_provider.oldest_sent_at
            age.add_metric([look.job_id], 0 if oldest is None else (look.at - oldest).total_seconds())
            troubled.add_metric([look.job_id], sum(one.chunks for one in look.troubles if not one.is_unresolved))
        yield from (rows, batches, spent, reserved, age, troubled)
