"""Spans: a step, and the calls within it; none by default."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from orchestrator import settings as configuration
from orchestrator import telemetry
from orchestrator.domain.errors import ConfigError
from orchestrator.engine.tracing import trace_with, traced
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.exchange import Body
from orchestrator.providers.http.secret import Secret
from tests.builders import JOB
from tests.servers.receiver import running_receiver


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What is exported while a test runs."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace_with(provider.get_tracer("test"))
    yield exporter
    telemetry.trace_with(None)


def test_a_call_to_a_provider_is_a_span_within_its_step(spans: InMemorySpanExporter) -> None:
    """With ids, host and status; neither the path, which may be a secret, nor the key."""
    with running_receiver() as server, telemetry.step(step="submit", job=JOB, unit=f"{JOB}/c1"):
        client = HttpClient(server.url.removesuffix("/hook-s3cret"), Secret("s3cret-key"), name="here")
        client.upload("/hook-s3cret", Body(blocks=(b"{}",), size_bytes=2))
        client.close()

    call, step = spans.get_finished_spans()
    assert (step.name, call.name) == ("step submit", "POST here")
    assert call.parent is not None
    assert call.parent.span_id == step.context.span_id
    assert dict(step.attributes or {}) == {"orchestrator.job": JOB, "orchestrator.unit": f"{JOB}/c1"}
    assert dict(call.attributes or {}) == {
        "http.request.method": "POST",
        "server.address": "127.0.0.1",
        "orchestrator.provider": "here",
        "http.response.status_code": 204,
    }
    assert "s3cret" not in step.to_json() + call.to_json()


def test_a_step_that_fails_is_a_failed_span_with_the_type_of_its_error_alone(spans: InMemorySpanExporter) -> None:
    """The message of a user's function may quote a row."""
    with pytest.raises(ValueError, match="a row's text"), telemetry.step(step="poll", job=JOB, unit=JOB):
        raise ValueError("a row's text")

    (step,) = spans.get_finished_spans()
    assert not step.status.is_ok
    assert (step.attributes or {})["error.type"] == "ValueError"
    assert "a row's text" not in step.to_json()


def test_without_the_setting_there_are_none_and_with_it_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = configuration.load({})
    monkeypatch.setitem(sys.modules, "opentelemetry", None)  # as where it is not installed
    with traced(settings):
        pass

    with (
        pytest.raises(ConfigError, match=r"pip install 'batch-orchestrator\[otel\]'"),
        traced(replace(settings, traces=True)),
    ):
        pass
