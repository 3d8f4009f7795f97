"""Spans of OpenTelemetry: steps, and the calls to providers within them. Off unless `traces` is set.

Rule: nothing of OpenTelemetry is imported before that. Its own variables (OTEL_EXPORTER_OTLP_ENDPOINT,
OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER …) say where spans go; a program that has set up a provider of its own keeps it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from orchestrator import telemetry
from orchestrator.domain.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.settings import Settings

SERVICE: Final = "batch-orchestrator"


@contextmanager
def traced(settings: Settings) -> Iterator[None]:
    """Make spans while a block runs, where the settings say so; what is not exported yet is, at its end.

    Raises ConfigError where OpenTelemetry is not installed.
    """
    if not settings.traces:
        yield
        return
    try:
        from opentelemetry import trace
    except ImportError:
        raise _missing() from None
    made = None
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):  # nobody has set one up
        made = _provider()
        trace.set_tracer_provider(made)
    trace_with(trace.get_tracer(SERVICE))
    try:
        yield
    finally:
        telemetry.trace_with(None)
        if made is not None:
            made.force_flush()  # a worker ends without Python's own end, where this would be done


def trace_with(tracer: Any) -> None:
    """Make spans with this tracer of OpenTelemetry from now on."""
    from opentelemetry.trace import StatusCode

    telemetry.trace_with(tracer, lambda span: span.set_status(StatusCode.ERROR))


def _provider() -> Any:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise _missing() from None
    named = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": SERVICE}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _missing() -> ConfigError:
    return ConfigError(
        "traces is set (ORCHESTRATOR_TRACES), and OpenTelemetry is not installed: "
        "pip install 'batch-orchestrator[otel]'"
    )
