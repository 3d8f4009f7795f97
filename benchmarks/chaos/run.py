"""One run: submit a job, let the plan happen to it, resolve what is held as an operator would, check the end.

Rule 1: everything happens in this one thread, between two looks at the ledger: what begins at a share of the work, what
        ends after a time, what the operator does.
Rule 2: the operator says "absent" only when no process can still send that create: none is frozen, and the last one to
        wake has been awake for longer than a create may last. docs/guarantees.md asks the same of a person.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

import orchestrator
from benchmarks.chaos.plan import Event, Kind
from benchmarks.chaos.stage import CREATE_S, Stage, set_stage
from orchestrator import JobHandle, OrchestratorError
from orchestrator.domain.errors import ConfigError, LedgerError
from orchestrator.domain.queues import Queue
from tests.acceptance.datasets import MODEL, check_audit, check_bill, check_counts, check_exact, marked, read_output
from tests.acceptance.operator import look_up, resolve
from tests.gateway_process import GatewayProcess
from tests.servers.valkey import client_of
from tests.sums import sums

LOOK_S: Final = 0.1
OPERATOR_S: Final = 1.0  # how often the operator looks for what is held
TO_CREATE_S: Final = 40.0  # how long to wait for a create to be under way: longer than messages that were lost
CATCH_S: Final = 0.7  # how long the gateway may stand still, time and again, until one is: shorter than any deadline
MARGIN_S: Final = 2.0
ENDED: Final = frozenset({"finished", "cancelled", "stopped"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large the job is, and how long it may take."""

    batches: int
    rows: int = 20  # of a batch
    in_flight_max: int = 20
    deadline_s: float = 420.0


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What happened, and what it came to."""

    seed: int
    seconds: float = 0.0
    events: Counter[str] = field(default_factory=Counter)
    frozen_creates: int = 0  # creates under way in a worker when it was frozen
    held: int = 0
    adopted: int = 0  # of the held: the provider had the batch
    chunks: int = 0
    creates: int = 0
    paid_twice: int = 0
    failure: str = ""


def run(seed: int, plan: list[Event], folder: Path, *, ledger: str, size: Size, batch_s: float) -> Outcome:
    """Play a plan; an outcome with a `failure` says what did not hold."""
    outcome = Outcome(seed=seed)
    begun = time.monotonic()
    with set_stage(folder, ledger=ledger, batch_s=batch_s) as stage:
        try:
            _Run(stage, outcome, list(plan), size).play()
        except (AssertionError, OrchestratorError) as error:
            outcome.failure = f"{type(error).__name__}: {error}"
    outcome.seconds = time.monotonic() - begun
    return outcome


def submit(gateway: GatewayProcess, work: Path, source: pa.Table, size: Size) -> JobHandle:
    """Enter the job for the fleet."""
    return orchestrator.submit(
        source,
        prompt="{text}",
        model=MODEL,
        work=work,
        provider_options={
            "base_url": gateway.url,
            "poll_s_min": 0.2,
            "poll_s_max": 1.0,
            "create_s_max": CREATE_S,
        },
        policy={
            "chunk_requests_max": size.rows,
            "batches_in_flight_max": size.in_flight_max,
            "retry_gather_s": 0.2,
        },
    )


class _Run:
    def __init__(self, stage: Stage, outcome: Outcome, plan: list[Event], size: Size) -> None:
        self.stage = stage
        self.outcome = outcome
        self.coming = plan
        self.size = size
        self.source = marked(size.batches * size.rows)
        self.ends: list[tuple[float, Callable[[], None]]] = []  # what to do when an event is over
        self.frozen: set[int] = set()
        self.woken_at = float("-inf")
        self.operator_at = 0.0
        self.down: set[str] = set()  # processes that are dead on purpose

    def play(self) -> None:
        job = self.job = submit(self.stage.gateway, self.stage.work, self.source, self.size)
        for process in self.stage.processes:
            process.start()
        deadline = time.monotonic() + self.size.deadline_s
        while True:
            status = self._look(job)
            if status is not None and status["state"] in ENDED and not self.ends:
                break
            assert time.monotonic() < deadline, f"not finished after {self.size.deadline_s:g} s: {status}"
            self._see_who_died()
            self._end_events()
            if status is not None:
                self._begin_events(status)
                self._resolve(job)
            time.sleep(LOOK_S)
        self._check(job)

    def _look(self, job: JobHandle) -> dict[str, Any] | None:
        """Return how the job stands; None while the ledger cannot be reached."""
        try:
            return sums(job.status().as_dict())
        except (LedgerError, ConfigError):
            return None

    def _see_who_died(self) -> None:
        for process in self.stage.processes:
            if process.name not in self.down and not process.is_running:
                raise AssertionError(f"{process.name} ended by itself, with {process.exit_code}: see {process.log}")

    def _begin_events(self, status: dict[str, Any]) -> None:
        if status["state"] in ENDED:
            return
        chunks = status["chunks"]
        collected = chunks.get("collected", 0) / self.size.batches
        unsent = chunks.get("planned", 0) + chunks.get("submitting", 0)
        sent = (sum(chunks.values()) - unsent) / self.size.batches
        for event in tuple(self.coming):
            # Creates are over long before the last result is collected.
            if event.at_share <= (sent if event.kind is Kind.FREEZE_WORKER else collected):
                self.coming.remove(event)
                self.outcome.events[event.kind] += 1
                self._begin(event)

    def _begin(self, event: Event) -> None:
        host = self.stage.hosts[event.host]
        match event.kind:
            case Kind.KILL_WORKER | Kind.KILL_BEAT:
                self._kill(event, host.worker if event.kind is Kind.KILL_WORKER else host.beat)
            case Kind.KILL_BROKER:
                self.stage.broker.kill()
                self._later(event, self._restart_broker)
            case Kind.FLUSH:
                if self.stage.broker.is_running:
                    with client_of(self.stage.broker) as client:
                        client.flushall()
            case Kind.FREEZE_WORKER:
                self._freeze(event)
            case Kind.BLACK_HOLE:
                host.network.black_hole()
                self._later(event, host.network.heal)
            case Kind.KILL_DATABASE:
                assert self.stage.database is not None
                self.stage.database.kill()
                self._later(event, self._restart_database)

    def _kill(self, event: Event, process: Any) -> None:
        if process.name in self.down or event.host in self.frozen:
            return
        process.kill()
        self.down.add(process.name)

        def come_back() -> None:
            process.start()
            self.down.discard(process.name)

        self._later(event, come_back)

    def _restart_broker(self) -> None:
        if not self.stage.broker.is_running:
            self.stage.broker.start()

    def _restart_database(self) -> None:
        assert self.stage.database is not None
        self.stage.database.start()

    def _freeze(self, event: Event) -> None:
        """Stop a worker while its creates are on the wire: the gateway answers only after it was frozen."""
        gateway = self.stage.gateway
        chosen = self._caught_creating()
        number = event.host if chosen is None else chosen
        worker = self.stage.hosts[number].worker
        worker.freeze()
        # Not from the loop, which may stand behind a lock that the frozen one holds.
        thawed = threading.Timer(event.lasts_s, worker.thaw)
        thawed.start()
        self.frozen.add(number)
        os.killpg(gateway.process.pid, signal.SIGCONT)
        time.sleep(1.0)  # the other worker's creates are answered and recorded; what is left is of the frozen one
        self.outcome.frozen_creates += self._submitting()

        def wake() -> None:
            thawed.join()
            self.frozen.discard(number)
            self.woken_at = time.monotonic()

        self._later(event, wake)

    def _caught_creating(self) -> int | None:
        """Stop the gateway in the middle of a create, and return whose it is; None where no worker creates anything."""
        gateway = self.stage.gateway
        port = int(gateway.base_url.rpartition(":")[2])
        deadline = time.monotonic() + TO_CREATE_S
        while True:
            os.killpg(gateway.process.pid, signal.SIGSTOP)
            listening_until = time.monotonic() + CATCH_S
            while time.monotonic() < listening_until:
                for number, host in enumerate(self.stage.hosts):
                    if host.worker.connections_to(port, word=Queue.TRANSFER.value) and self._submitting():
                        return number
                time.sleep(LOOK_S / 2)
            if time.monotonic() > deadline:
                return None
            os.killpg(gateway.process.pid, signal.SIGCONT)
            time.sleep(LOOK_S * 2)

    def _submitting(self) -> int:
        status = self._look(self.job)
        return 0 if status is None else int(status["chunks"].get("submitting", 0))

    def _later(self, event: Event, act: Callable[[], None]) -> None:
        self.ends.append((time.monotonic() + event.lasts_s, act))

    def _end_events(self) -> None:
        now = time.monotonic()
        due = [act for at, act in self.ends if at <= now]
        self.ends = [(at, act) for at, act in self.ends if at > now]
        for act in due:
            act()

    def _resolve(self, job: JobHandle) -> None:
        if time.monotonic() < self.operator_at:
            return
        self.operator_at = time.monotonic() + OPERATOR_S
        nobody_can_send = not self.frozen and time.monotonic() > self.woken_at + CREATE_S + MARGIN_S
        said = resolve_held(self.stage.gateway, job, nobody_can_send=nobody_can_send)
        self.outcome.held += len(said)
        self.outcome.adopted += sum(batch is not None for batch in said)

    def _check(self, job: JobHandle) -> None:
        check_end(job, self.stage.gateway, self.source, self.outcome)
        assert not self.coming, f"the job ended before {len(self.coming)} events"


def resolve_held(gateway: GatewayProcess, job: JobHandle, *, nobody_can_send: bool) -> list[str | None]:
    """Say of held creates what the provider has; "absent" only where nobody can still send them."""
    said: list[str | None] = []
    try:
        for one in job.unresolved():
            found = look_up(gateway, Path(job.work), job.job_id, one)
            if found is not None or nobody_can_send:
                resolve(job, one.chunk, found)
                said.append(found)
    except LedgerError:
        pass  # the answer has turned up by itself meanwhile, or the database is away: the operator looks again
    return said


def check_end(job: JobHandle, gateway: GatewayProcess, source: pa.Table, outcome: Outcome) -> None:
    """Note what a job came to, and raise AssertionError unless it is exact and each chunk was created once."""
    result = job.results()
    bill = gateway.bill()
    outcome.chunks = sum(result.status.totals.chunks.values())
    outcome.creates, outcome.paid_twice = bill["creates"], bill["paid_twice"]
    check_exact(read_output(result.path), source)
    check_counts(result.status.as_dict())
    check_audit(job.job_id, job.work)
    check_bill(bill)
    assert bill["paid_twice"] == 0
    assert outcome.creates == outcome.chunks, "the provider has not made one batch of each chunk"
