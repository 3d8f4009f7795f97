"""What this process has done: counts, for metrics; spans, for tracing. Both cost little, and change nothing.

Rule 1: labels are fixed words, names of providers and status codes; ids are in spans only. No row, no key, no URL.
Rule 2: spans are made only after `trace_with`; nothing of OpenTelemetry is imported here.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

Labels = tuple[str, ...]


class Span(Protocol):
    """A span of OpenTelemetry, as far as it is used here."""

    def set_attribute(self, key: str, value: Any) -> None:
        """Say something about it."""
        ...


class Tracer(Protocol):
    """A tracer of OpenTelemetry, as far as it is used here."""

    def start_as_current_span(
        self, name: str, *, attributes: Mapping[str, Any], record_exception: bool, set_status_on_exception: bool
    ) -> AbstractContextManager[Span]:
        """Return a context that is one span."""
        ...


@dataclass(slots=True)
class Counted:
    """How often something was done, and how long it took, by labels. Safe to use from many threads."""

    times: defaultdict[Labels, int] = field(default_factory=lambda: defaultdict(int))
    seconds: defaultdict[Labels, float] = field(default_factory=lambda: defaultdict(float))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, *labels: str, seconds: float = 0.0, times: int = 1) -> None:
        """Count."""
        with self._lock:
            self.times[labels] += times
            self.seconds[labels] += seconds

    def read(self) -> list[tuple[Labels, int, float]]:
        """Return the labels, how often, and how many seconds in all; in order of the labels."""
        with self._lock:
            return [(labels, self.times[labels], self.seconds[labels]) for labels in sorted(self.times)]


STEPS: Final = Counted()  # step, outcome
CALLS: Final = Counted()  # provider, method, status
TOKENS: Final = Counted()  # kind
_tick: list[float] = []  # when this process last handled a tick, seconds since 1970
Fail = Callable[[Any], None]  # marks a span as failed
_tracer: list[tuple[Tracer, Fail]] = []


def trace_with(tracer: Tracer | None, fail: Fail = lambda _: None) -> None:
    """Make spans with this tracer from now on; None: make none.

    Args:
        fail: marks a span as failed.
    """
    _tracer[:] = [] if tracer is None else [(tracer, fail)]


def ticked() -> None:
    """Record that a tick was handled."""
    _tick[:] = [time.time()]


def last_tick() -> float | None:
    """Return when this process last handled a tick, seconds since 1970."""
    return _tick[0] if _tick else None


@contextmanager
def step(*, step: str, **ids: str) -> Generator[None]:
    """Count a step and its outcome: `done`, or the name of the error that ended it.

    Args:
        ids: of what it works on, for its span.
    """
    began, outcome = time.monotonic(), "done"
    try:
        with _span(f"step {step}", {f"orchestrator.{key}": value for key, value in ids.items()}):
            yield
    except BaseException as error:
        outcome = type(error).__name__
        raise
    finally:
        STEPS.add(step, outcome, seconds=time.monotonic() - began)


class Call:
    """One call to a provider that is under way."""

    def __init__(self, span: Span | None) -> None:
        self.status = "none"  # no answer yet
        self._span = span

    def answered(self, status: int) -> None:
        """Record the status of its answer."""
        self.status = str(status)
        if self._span is not None:
            self._span.set_attribute("http.response.status_code", status)


@contextmanager
def call(provider: str, method: str, host: str) -> Generator[Call]:
    """Count a call to a provider, by the status of its answer, `none` where there is none."""
    began = time.monotonic()
    attributes = {"http.request.method": method, "server.address": host, "orchestrator.provider": provider}
    with _span(f"{method} {provider}", attributes) as span:
        one = Call(span)
        try:
            yield one
        finally:
            CALLS.add(provider, method, one.status, seconds=time.monotonic() - began)


@contextmanager
def _span(name: str, attributes: Mapping[str, str]) -> Generator[Span | None]:
    """Make a span. Of an error it has the type alone: its message may come from a user's function, and quote a row."""
    if not _tracer:
        yield None
        return
    tracer, fail = _tracer[0]
    quietly = {"record_exception": False, "set_status_on_exception": False}
    with tracer.start_as_current_span(name, attributes=attributes, **quietly) as span:
        try:
            yield span
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            fail(span)
            raise
