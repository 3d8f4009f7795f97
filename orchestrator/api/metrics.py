"""Metrics in Prometheus' text form: of the jobs in a ledger, from the same looks as on a page; of this process.

Rule 1: labels are ids of jobs, names of providers and fixed words; nothing of a row or of a provider's messages.
        `job` is a label that Prometheus sets itself, so the job's id is `job_id`.
Rule 2: every metric is in `METRICS`: docs/operations.md is generated from it, and a dashboard may name no other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from orchestrator import telemetry
from orchestrator.domain.look import Activity, Look
from orchestrator.domain.model import ENDED_JOBS, ChunkState, JobState
from orchestrator.engine.workspace import version

if TYPE_CHECKING:
    from orchestrator.api.viewer import Viewer

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
PLACES: Final = ("answered", "at_provider", "to_send_again", "waiting", "failed", "needs_decision")
Families = Callable[[], Iterator[Metric]]


@dataclass(frozen=True, slots=True)
class Described:
    """A metric: its kind, its labels, what it says, and from where."""

    kind: str
    labels: tuple[str, ...]
    help: str
    of_ledger: bool  # else of the process


METRICS: Final = {
    "orchestrator_jobs": Described("gauge", ("activity",), "Jobs by what they do.", True),
    "orchestrator_rows": Described("gauge", ("job_id", "place"), "Rows by where they are; they add up.", True),
    "orchestrator_batches": Described("gauge", ("job_id", "group"), "Batches by how far they are.", True),
    "orchestrator_chunks": Described("gauge", ("job_id", "state"), "Chunks by their state in the ledger.", True),
    "orchestrator_oldest_batch_seconds": Described("gauge", ("job_id",), "Age of the oldest at the provider.", True),
    "orchestrator_troubled_batches": Described("gauge", ("job_id",), "Batches that are tried again.", True),
    "orchestrator_spent_usd": Described("gauge", ("job_id",), "What is settled, as far as it is known.", True),
    "orchestrator_reserved_usd": Described("gauge", ("job_id",), "Of batches in flight, at most.", True),
    "orchestrator_budget_usd": Described("gauge", ("job_id",), "`policy.budget_usd`, where there is one.", True),
    "orchestrator_workers": Described("gauge", ("kind",), "Processes that were seen within 30 seconds.", True),
    "orchestrator_notices": Described("gauge", ("state",), "Notices by what became of them.", True),
    "orchestrator_build_info": Described("gauge", ("version",), "1; the program's version.", False),
    "orchestrator_steps": Described("counter", ("step", "outcome"), "Steps that this process has run.", False),
    "orchestrator_step_seconds": Described("summary", ("step",), "How long they took.", False),
    "orchestrator_provider_calls": Described(
        "counter", ("provider", "method", "status"), "Calls, by the status of the answer; `none`: no answer.", False
    ),
    "orchestrator_provider_call_seconds": Described(
        "summary", ("provider", "method"), "How long until the answer began.", False
    ),
    "orchestrator_collected_tokens": Described("counter", ("kind",), "Tokens of collected answers.", False),
    "orchestrator_last_tick_timestamp_seconds": Described("gauge", (), "When a tick was last handled here.", False),
}


def metrics(viewer: Viewer | None) -> bytes:
    """Return the metrics of this process and, with a viewer, of its ledger. Raises LedgerError."""
    registry = CollectorRegistry()
    registry.register(_Families(process_families))
    if viewer is not None:
        registry.register(_Families(lambda: ledger_families(viewer)))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def exposed_names() -> set[str]:
    """Return the names by which queries find the metrics: a counter's ends in `_total`, a summary has two."""
    suffixes = {"counter": ("_total",), "gauge": ("",), "summary": ("_count", "_sum")}
    return {f"{name}{suffix}" for name, one in METRICS.items() for suffix in suffixes[one.kind]}


class _Families(Collector):
    """Metrics that are made when they are asked for, as the library's collector."""

    def __init__(self, families: Families) -> None:
        self.collect = families  # type: ignore[method-assign]

    def collect(self) -> Iterator[Metric]:  # pragma: no cover - each object has its own
        """Yield the metrics."""
        return iter(())


class _Gauges(dict[str, GaugeMetricFamily]):
    """Gauges by their names, made when they are first given a value."""

    def put(self, name: str, value: float, *labels: str) -> None:
        """Give one a value."""
        family = self.get(name)
        if family is None:
            described = METRICS[name]
            family = self[name] = GaugeMetricFamily(name, described.help, labels=described.labels)
        family.add_metric(labels, value)


def ledger_families(viewer: Viewer) -> Iterator[Metric]:
    """Yield the metrics of a ledger: all jobs by what they do, those that have not ended in detail.

    A job that has ended is not looked at: there may be thousands.
    """
    ended = {JobState.FINISHED: Activity.FINISHED, JobState.CANCELLED: Activity.CANCELLED}
    counts, looks, gauges = Counter[Activity](), list[Look](), _Gauges()
    for job in viewer.known():
        if job.state in ENDED_JOBS:
            counts[ended[job.state]] += 1
        else:
            looks.append(viewer.look(job.id))
    counts.update(look.activity for look in looks)
    for activity in Activity:
        gauges.put("orchestrator_jobs", counts[activity], activity.value)
    for look in looks:
        _of_job(look, gauges)
    clock, workers = viewer.workspace.clock, Counter[str]()
    workers.update(one.kind.value for one in viewer.workspace.workers.alive(now=clock.now()))
    for kind in ("worker", "beat"):
        gauges.put("orchestrator_workers", workers[kind], kind)
    for state, count in viewer.workspace.notices.counts().items():
        gauges.put("orchestrator_notices", count, state)
    yield from gauges.values()


def _of_job(look: Look, gauges: _Gauges) -> None:
    job, money, oldest = look.job_id, look.money, look.at_provider.oldest_sent_at
    for place in PLACES:
        gauges.put("orchestrator_rows", getattr(look.rows, place), job, place)
    for group, count in look.batches.items():
        gauges.put("orchestrator_batches", count, job, group.value)
    for state in ChunkState:
        if state in look.chunks:
            gauges.put("orchestrator_chunks", look.chunks[state], job, state.value)
    gauges.put("orchestrator_oldest_batch_seconds", 0 if oldest is None else (look.at - oldest).total_seconds(), job)
    troubled = sum(one.chunks for one in look.troubles if not one.is_unresolved)
    gauges.put("orchestrator_troubled_batches", troubled, job)
    if money.spent is not None:
        gauges.put("orchestrator_spent_usd", float(money.spent), job)
    gauges.put("orchestrator_reserved_usd", float(money.reserved), job)
    if money.budget is not None:
        gauges.put("orchestrator_budget_usd", float(money.budget), job)


def process_families() -> Iterator[Metric]:
    """Yield the metrics of this process."""
    gauges = _Gauges()
    gauges.put("orchestrator_build_info", 1, version())
    tick = telemetry.last_tick()
    if tick is not None:
        gauges.put("orchestrator_last_tick_timestamp_seconds", tick)
    yield from gauges.values()
    yield _counter("orchestrator_steps", telemetry.STEPS)
    yield _summary("orchestrator_step_seconds", telemetry.STEPS)
    yield _counter("orchestrator_provider_calls", telemetry.CALLS)
    yield _summary("orchestrator_provider_call_seconds", telemetry.CALLS)
    yield _counter("orchestrator_collected_tokens", telemetry.TOKENS)


def _counter(name: str, counted: telemetry.Counted) -> CounterMetricFamily:
    family = CounterMetricFamily(name, METRICS[name].help, labels=METRICS[name].labels)
    for labels, times, _ in counted.read():
        family.add_metric(labels, times)
    return family


def _summary(name: str, counted: telemetry.Counted) -> SummaryMetricFamily:
    """Return how long something took, by the first of its labels."""
    described = METRICS[name]
    family = SummaryMetricFamily(name, described.help, labels=described.labels)
    times, seconds = Counter[tuple[str, ...]](), dict[tuple[str, ...], float]()
    for labels, more, more_s in counted.read():
        of = labels[: len(described.labels)]
        times[of] += more
        seconds[of] = seconds.get(of, 0.0) + more_s
    for of, total_s in seconds.items():
        family.add_metric(of, times[of], total_s)
    return family
