"""A step that raises what no step expects: noted where people look, tried again, and in the end its job is stopped."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator import settings
from orchestrator.domain.errors import ConfigError, Interrupted, LeaseLost, LedgerError, StorageError
from orchestrator.domain.model import ChunkState, Claim, JobState, Step
from orchestrator.engine.heartbeat import Heartbeat
from orchestrator.fleet.process import STARTS_MAX, FleetProcess, become, this_process
from orchestrator.fleet.tasks import FAILURES_MAX, advance
from orchestrator.ledger.clock import LedgerClock
from orchestrator.ledger.db.database import open_sqlite
from orchestrator.ledger.workers import SqlWorkers
from orchestrator.ports import Checkpoint
from tests.batches.stage import ClockAtRest
from tests.builders import JOB, NOW, a_chunk
from tests.contract.ledger_harness import LedgerHarness

SECRET_ROW = "canary of a row"
FAR = NOW.replace(year=2100)  # every wait is over


@dataclass
class Nowhere:
    """Queues that take everything and give nothing."""

    def lengths(self) -> dict[Any, int]:
        return {}


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[LedgerHarness]:
    database = open_sqlite(tmp_path / "ledger.db")
    harness = LedgerHarness(database)
    harness.open(shards=0)
    harness.add(a_chunk(state=ChunkState.SUBMITTED))
    yield harness
    database.close()


def fail_with(harness: LedgerHarness, error: BaseException, how: Callable[[], None] = lambda: None) -> list[Claim]:
    """Make this process one whose every step raises `error`; return the list of what it performs."""
    performed: list[Claim] = []

    def perform(claim: Claim, _checkpoint: Checkpoint) -> None:
        performed.append(claim)
        how()
        raise error

    database = harness.database
    clock = LedgerClock(database)
    workspace: Any = SimpleNamespace(
        ledger=harness.ledger,
        workers=SqlWorkers(database),
        clock=clock,
        perform=perform,
        give_back=lambda claim: harness.ledger.record(claim, now=clock.now()),
    )
    given = settings.load({})
    heartbeat = Heartbeat(harness.ledger, clock, given.lease_s)
    queues: Any = Nowhere()
    become(FleetProcess(workspace=workspace, settings=given, queues=queues, heartbeat=heartbeat))
    return performed


def deliver(harness: LedgerHarness, times: int = 1, now: datetime = FAR) -> None:
    """Hand the poll out and deliver it, so many times over."""
    for _ in range(times):
        chunk = a_chunk(state=ChunkState.SUBMITTED)
        [claim] = harness.claim(Step.POLL, now=now)
        advance("poll", JOB, None, chunk.id, claim.token)


def failures(harness: LedgerHarness) -> list[dict[str, Any]]:
    return [event.details for _, event in harness.admin.events(JOB) if event.name == "step.failed"]


def test_a_failure_is_noted_in_the_timeline_and_the_unit_is_free_again(harness: LedgerHarness) -> None:
    fail_with(harness, ConfigError("set the variable"))

    deliver(harness)

    assert failures(harness) == [{"step": "poll", "error": "set the variable"}]
    assert len(harness.claim(Step.POLL, now=NOW.replace(year=2100))) == 1
    assert harness.ledger.job(JOB).state is JobState.RUNNING


def test_a_job_whose_step_goes_on_failing_is_stopped_with_the_reason(harness: LedgerHarness) -> None:
    fail_with(harness, ConfigError("set the variable"))

    deliver(harness, FAILURES_MAX)

    job = harness.ledger.job(JOB)
    assert (job.state, job.reason) == (JobState.STOPPED, f"poll failed {FAILURES_MAX} times: set the variable")


def test_an_error_that_is_not_ours_is_told_by_its_kind_only(harness: LedgerHarness) -> None:
    """Promise 8: a library's message may quote a row."""
    fail_with(harness, ValueError(SECRET_ROW))

    deliver(harness, FAILURES_MAX)

    assert {one["error"] for one in failures(harness)} == {"ValueError"}
    assert SECRET_ROW not in harness.ledger.job(JOB).reason


def test_a_disk_that_is_full_or_a_store_that_is_away_stops_no_job(harness: LedgerHarness) -> None:
    """It is nobody's mistake and mends by itself; the timeline tells of it."""
    fail_with(harness, StorageError("s3://bucket is away"))

    deliver(harness, 2 * FAILURES_MAX)

    assert harness.ledger.job(JOB).state is JobState.RUNNING
    assert len(failures(harness)) == 2 * FAILURES_MAX


class Killed(BaseException):
    """As the kernel does it: nothing of ours runs afterwards."""


def test_a_step_that_kills_its_worker_again_and_again_is_not_begun_any_more(harness: LedgerHarness) -> None:
    """What is killed cannot say so: each start is counted before the step begins. The next job's steps live on."""
    performed = fail_with(harness, Killed())

    for _ in range(STARTS_MAX):
        with pytest.raises(Killed):
            deliver(harness)
    assert harness.ledger.job(JOB).state is JobState.RUNNING
    deliver(harness)

    job = harness.ledger.job(JOB)
    assert len(performed) == STARTS_MAX
    assert job.state is JobState.STOPPED
    assert job.reason == (
        f"poll of {a_chunk().id} was started {STARTS_MAX} times and never ended: "
        "each time its worker was killed (out of memory?) or lost the ledger"
    )
    assert failures(harness) == [{"step": "poll", "error": job.reason}]


def test_a_stopped_job_does_not_kill_on(harness: LedgerHarness) -> None:
    """Its batches are still polled and collected, so the step stays due: it is taken, and not begun."""
    performed = fail_with(harness, Killed())
    for _ in range(STARTS_MAX):
        with pytest.raises(Killed):
            deliver(harness)

    for year in (2101, 2102, 2103):
        deliver(harness, now=NOW.replace(year=year))

    assert len(performed) == STARTS_MAX


def test_a_job_that_was_stopped_for_killing_workers_can_be_taken_up_again(harness: LedgerHarness) -> None:
    """With more memory, say: then it has all of its starts again."""
    performed = fail_with(harness, Killed())
    for _ in range(STARTS_MAX):
        with pytest.raises(Killed):
            deliver(harness)
    deliver(harness)
    harness.admin.resume(JOB, now=NOW.replace(year=2101))
    performed.clear()

    with pytest.raises(Killed):
        deliver(harness, now=NOW.replace(year=2101))

    assert len(performed) == 1


def die_in_a_step(ledger: Path, unit: tuple[str, int]) -> None:
    """Be a worker's process that the kernel kills in the middle of a step."""
    database = open_sqlite(ledger)
    fail_with(LedgerHarness(database), Killed(), how=lambda: os.kill(os.getpid(), signal.SIGKILL))
    chunk_id, token = unit
    advance("poll", JOB, None, chunk_id, token)


def test_a_worker_that_was_killed_has_left_the_count_behind(harness: LedgerHarness, tmp_path: Path) -> None:
    """A real process, a real SIGKILL: the ledger knows that the step was begun."""
    [claim] = harness.claim(Step.POLL)
    unit = (a_chunk().id, claim.token)
    spawned = multiprocessing.get_context("spawn")

    worker = spawned.Process(target=die_in_a_step, args=(tmp_path / "ledger.db", unit))
    worker.start()
    worker.join()

    assert worker.exitcode == -signal.SIGKILL
    [again] = harness.claim(Step.POLL, now=NOW.replace(year=2100))
    assert SqlWorkers(harness.database).step_started(again, now=NOW, lease_s=60, draw=0.0) == 2


@pytest.mark.parametrize("error", [LeaseLost("moved"), LedgerError("away")])
def test_a_lost_lease_and_a_ledger_that_is_away_are_no_failures(harness: LedgerHarness, error: Exception) -> None:
    fail_with(harness, error)

    deliver(harness)

    assert failures(harness) == []


def test_what_the_ledger_was_away_for_is_given_back_when_it_is_there_again(harness: LedgerHarness) -> None:
    """Nobody waits for a lease of two minutes because a database was restarted."""
    fail_with(harness, LedgerError("away"))

    deliver(harness)

    assert len(harness.claim(Step.POLL)) == 1


def test_a_step_that_outlasts_its_lease_is_kept_and_counts_as_one_start(harness: LedgerHarness) -> None:
    """It was called out of memory after five leases: each time the lease ended, another worker began it again."""
    lease, clock = timedelta(seconds=settings.load({}).lease_s), ClockAtRest()
    offered: list[Claim] = []

    def five_leases() -> None:
        clock.at = datetime.now(UTC)
        for _ in range(20):
            clock.at += lease / 4
            this_process().heartbeat.beat()
            offered.extend(harness.claim(Step.POLL, now=clock.at + lease / 2))

    performed = fail_with(harness, LeaseLost("nothing to do"), how=five_leases)
    this_process().heartbeat.clock = clock

    deliver(harness)

    assert (len(performed), offered) == (1, [])
    this_process().heartbeat.beat()  # what has ended is not kept any more
    assert len(harness.claim(Step.POLL, now=clock.at + lease)) == 1


def test_a_worker_that_is_told_to_stop_gives_a_long_step_back(harness: LedgerHarness) -> None:
    """It is due at once for another worker, and no failure of the step."""
    fail_with(harness, LeaseLost("never reached"))
    process = this_process()

    def perform(claim: Claim, checkpoint: Checkpoint) -> None:
        process.stopping.set()
        try:
            checkpoint()
        except Interrupted:
            process.workspace.give_back(claim)
            raise

    process.workspace.perform = perform  # type: ignore[method-assign]

    deliver(harness)

    assert failures(harness) == []
    assert len(harness.claim(Step.POLL)) == 1


def test_a_hint_that_was_doubled_is_performed_once(harness: LedgerHarness) -> None:
    """The second finds its token spent: the first has given the unit back, and another was handed out."""
    performed = fail_with(harness, ConfigError("x"))
    [stale] = harness.claim(Step.POLL)
    [present] = harness.claim(Step.POLL, now=NOW.replace(year=2100))

    for claim in (stale, stale, present):
        advance("poll", JOB, None, claim.unit.chunk_id, claim.token)

    assert performed == [present]
