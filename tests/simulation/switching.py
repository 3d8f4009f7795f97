"""Workers as greenlets in one thread, and ports at which they can be stopped: before every call, and after it.

Rule 1: between two switch points a worker runs alone, so that a seed decides everything.
Rule 2: a crash is raised at a switch point, and is nobody's to catch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO

import greenlet

from orchestrator.domain.batch import ResultFile
from orchestrator.domain.changes import AttemptClosed
from orchestrator.domain.errors import BatchTaken, OrchestratorError
from orchestrator.domain.results_at import ResultsAt
from tests.fakes.capabilities import Capabilities
from tests.fakes.clock import VirtualClock


class Crash(BaseException):
    """The process is gone."""


class Trace:
    """What happened, in order: always as a digest, as text only where somebody will read it."""

    def __init__(self, clock: VirtualClock, *, keep: bool) -> None:
        self._clock = clock
        self._digest = hashlib.sha256()
        self.lines: list[str] | None = [] if keep else None
        self.count = 0

    def add(self, line: str) -> None:
        """Append a line."""
        text = f"{self._clock.elapsed_s:10.1f} {line}"
        self._digest.update(text.encode())
        self.count += 1
        if self.lines is not None:
            self.lines.append(text)

    @property
    def digest(self) -> str:
        """What tells this run from another."""
        return self._digest.hexdigest()[:16]


class Switch:
    """Where workers give way to the hub."""

    def __init__(self, trace: Trace) -> None:
        self.hub = greenlet.getcurrent()
        self.trace = trace
        self.worker = ""  # who runs
        self._answers: dict[str, str] = {}  # worker: the create whose answer it has just had
        self.kept: set[str] = set()  # creates whose answers must be on the disk by now
        self._misled: set[str] = set()

    def point(self, label: str) -> None:
        """Let the hub decide what happens next; the hub itself just goes on."""
        if greenlet.getcurrent() is self.hub:
            return
        self.trace.add(f"{self.worker} {label}")
        self.hub.switch()

    def answered(self, token: str) -> None:
        """Note that the worker has had the answer to a create: before the ledger, the journal has it."""
        self._answers[self.worker] = token

    def recording(self) -> None:
        """Note that the worker is about to record the answer that it has had."""
        token = self._answers.pop(self.worker, None)
        if token is not None and token not in self._misled:
            self.kept.add(token)

    def misled(self, tokens: set[str]) -> None:
        """Note creates that had another create's batch for an answer: the journal forgets what came to them."""
        self._misled |= tokens
        self.kept -= tokens

    def gone(self, worker: str) -> None:
        """Note that a worker has died, with all that it knew."""
        self._answers.pop(worker, None)

    def call(self, label: str, function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
        """Call a port with a switch point before and after."""
        self.point(label)
        try:
            result = function(*args, **keywords)
        except OrchestratorError as error:
            self.point(f"{label} raised {type(error).__name__}: {error}")
            raise
        self.point(f"{label} done")
        return result


class SwitchingPort:
    """A port whose every method is called through a switch."""

    def __init__(self, name: str, port: Any, switch: Switch) -> None:
        self._name = name
        self._port = port
        self._switch = switch

    def __getattr__(self, name: str) -> Any:
        """Return the port's method, with its switch points; each is made once."""
        function, label = getattr(self._port, name), f"{self._name}.{name}"

        def call(*args: Any, **keywords: Any) -> Any:
            return self._switch.call(label, function, *args, **keywords)

        setattr(self, name, call)
        return call


class SwitchingProvider(Capabilities, SwitchingPort):
    """The provider: results are a stream, with a switch point at each block."""

    @property
    def traits(self) -> Any:
        """What the provider is like: no call."""
        return self._port.traits

    def create(self, submission: Any) -> Any:
        """Send the POST, between two switch points."""
        batch_id = self._switch.call("provider.create", self._port.create, submission)
        self._switch.answered(submission.token)
        return batch_id

    def results(self, batch_id: Any, where: ResultsAt) -> Iterator[ResultFile]:
        """Stream the results."""
        self._switch.point(f"provider.results {batch_id}")
        for file in self._port.results(batch_id, where):
            self._switch.point(f"provider.results {batch_id} {file.name}")
            yield replace(file, blocks=self._blocks(file.blocks))

    def _blocks(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self._switch.point(f"provider.results block of {len(block)}")
            yield block


class SwitchingJobFiles(SwitchingPort):
    """The job files: a file being written can be crossed by a crash, and then is not there."""

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Open a new file for writing."""
        self._switch.point(f"job_files.create {name}")
        with self._port.create(name) as file:
            yield file
            self._switch.point(f"job_files.create {name} written")
        self._switch.point(f"job_files.create {name} in place")

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file in place for reading."""
        self._switch.point(f"job_files.open {name}")
        with self._port.open(name) as file:
            yield file


class SwitchingLedger(SwitchingPort):
    """The ledger: what is recorded stands in the trace."""

    def record(self, claim: Any, *changes: Any, **keywords: Any) -> None:
        """Record, between two switch points."""
        self._switch.recording()
        what = " ".join(_told(change) for change in changes)
        try:
            self._switch.call(f"ledger.record {what}", self._port.record, claim, *changes, **keywords)
        except BatchTaken:
            # The answer, just had or in the journal of a worker that has died, named another create's batch.
            self._switch.misled({change.token for change in changes if isinstance(change, AttemptClosed)})
            raise


def _told(change: Any) -> str:
    name, after = type(change).__name__, getattr(change, "after", None)
    if after is None:
        return f"{name}({getattr(change, 'state', '')})"
    unit = getattr(after, "name", None) or getattr(after, "shard_no", "")
    return f"{name}({unit} v{change.before.version} {change.before.state}>{after.state})"
