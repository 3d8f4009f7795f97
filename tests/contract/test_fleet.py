"""Who is at work, what is due for them, and what becomes of a step that nobody expected to fail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.changes import ChunkMoved
from orchestrator.domain.errors import LeaseLost
from orchestrator.domain.model import ChunkState, JobState, Step
from orchestrator.domain.queues import Queue
from orchestrator.domain.workers import Doing, Kind, WorkerProcess
from orchestrator.ledger.workers import SqlWorkers
from tests.builders import JOB, NOW, a_chunk, a_job, after
from tests.contract.ledger_harness import LedgerHarness, names
from tests.contract.threads import at_once

DAY_S = 86_400


def a_member(name: str = "one", **fields: object) -> WorkerProcess:
    values = {"host": "here", "pid": 7, "kind": Kind.WORKER, "version": "1.0", "started_at": NOW, "seen_at": NOW}
    return WorkerProcess(id=name, **values | fields)  # type: ignore[arg-type]


@pytest.fixture
def fleet(harness: LedgerHarness) -> SqlWorkers:
    return SqlWorkers(harness.database)


def test_a_member_is_alive_for_as_long_as_it_is_seen(fleet: SqlWorkers) -> None:
    member = a_member(queues=(Queue.CONTROL, Queue.PLAN))
    fleet.register(member, NOW)

    assert fleet.alive(after(30)) == [member]
    assert fleet.alive(after(31)) == []
    assert fleet.seen(member.id, after(40))
    assert fleet.alive(after(70)) == [replace(member, seen_at=after(40))]


def test_a_member_says_what_it_is_at_and_how_large_it_is(fleet: SqlWorkers) -> None:
    """The first few steps: a message of a process that runs hundreds stays small."""
    doing = [Doing(step=Step.COLLECT, job_id=JOB, unit=f"c00000-{n:05}", since=after(n)) for n in range(12)]
    member = a_member(memory_bytes=2_000)
    fleet.register(member, NOW)
    assert fleet.alive(NOW) == [member]
    fleet.seen(member.id, after(1), doing=doing, memory_bytes=3_000_000_000)
    [at_work] = fleet.alive(after(1))
    fleet.seen(member.id, after(2))
    [idle] = fleet.alive(after(2))

    assert at_work.doing == tuple(doing[:8])
    assert at_work.memory_bytes == 3_000_000_000
    assert (idle.doing, idle.memory_bytes) == ((), None)


def test_a_member_that_is_stopping_says_so_until_it_leaves(fleet: SqlWorkers) -> None:
    """By itself, or because a person has asked it to."""
    fleet.register(a_member(), NOW)
    fleet.register(a_member("run", kind=Kind.RUN, job_id=JOB), NOW)
    before = fleet.alive(NOW, kinds=frozenset(Kind))
    fleet.seen("one", after(1), is_stopping=True)
    fleet.seen("one", after(2))
    fleet.ask_to_stop(JOB, after(2))

    assert [one.is_stopping for one in before] == [False, False]
    assert [one.is_stopping for one in fleet.alive(after(2), kinds=frozenset(Kind))] == [True, True]
    fleet.leave("one")
    fleet.register(a_member(), after(3))
    assert [one.is_stopping for one in fleet.alive(after(3))] == [False]


def test_a_process_that_runs_one_job_is_no_member_of_a_fleet(fleet: SqlWorkers) -> None:
    runs = a_member("run", kind=Kind.RUN, job_id=JOB)
    fleet.register(runs, NOW)

    assert fleet.alive(after(30)) == []
    assert fleet.alive(after(30), kinds={Kind.RUN}) == [runs]


def test_a_member_that_left_is_gone(fleet: SqlWorkers) -> None:
    fleet.register(a_member("one"), NOW)
    fleet.register(a_member("two", kind=Kind.BEAT), NOW)

    fleet.leave("one")

    assert [member.id for member in fleet.alive(NOW)] == ["two"]
    assert not fleet.seen("one", NOW)


def test_a_member_that_enlists_again_is_one_member(fleet: SqlWorkers) -> None:
    fleet.register(a_member(pid=1), NOW)

    fleet.register(a_member(pid=2), after(5))

    assert fleet.alive(after(5)) == [a_member(pid=2, seen_at=after(5))]


def test_a_member_not_seen_for_a_day_is_forgotten_when_another_comes(fleet: SqlWorkers) -> None:
    fleet.register(a_member("old"), NOW)
    fleet.register(a_member("older"), after(-1))

    fleet.register(a_member("new"), after(DAY_S))

    assert [member.id for member in fleet.alive(after(DAY_S), within_s=10 * DAY_S)] == ["new", "old"]


def test_a_ledger_has_one_name_of_its_own_whoever_asks_first(harness: LedgerHarness) -> None:
    names: list[str] = []

    at_once(4, lambda _number: names.append(SqlWorkers(harness.database).ledger_id()))

    assert len(names) == 4 and len(set(names)) == 1 and len(names[0]) == 32


def test_what_is_due_is_counted_by_lane(harness: LedgerHarness, fleet: SqlWorkers) -> None:
    """As claims would find it: due, free, of a job that moves."""
    harness.open(shards=3)
    harness.add(
        a_chunk("c00000-00000"),
        a_chunk("c00000-00001", state=ChunkState.SUBMITTED),
        a_chunk("c00000-00002", state=ChunkState.SUBMITTED),
        a_chunk("c00000-00003", state=ChunkState.ENDED),
        a_chunk("c00000-00004", state=ChunkState.FAILED),
    )
    harness.add(a_chunk("c00000-00005", state=ChunkState.SUBMITTED), due_at=after(9))
    harness.claim(Step.POLL, limit=1)

    assert fleet.due(NOW) == {Queue.CONTROL: 2, Queue.TRANSFER: 1, Queue.PLAN: 3, Queue.COLLECT: 1}
    assert fleet.due(after(9))[Queue.CONTROL] == 3
    harness.put_job(JobState.STOPPED)
    assert fleet.due(NOW) == {Queue.CONTROL: 1, Queue.TRANSFER: 0, Queue.PLAN: 0, Queue.COLLECT: 1}


def test_a_step_that_failed_is_on_record_and_its_unit_waits_a_while(harness: LedgerHarness, fleet: SqlWorkers) -> None:
    harness.open(shards=0)
    harness.add(a_chunk())
    [claim] = harness.claim(Step.SUBMIT)

    assert fleet.step_failed(claim, "KeyError", NOW) == 1

    [*_, (_, event)] = harness.admin.events(JOB)
    assert (event.name, event.unit, event.details) == (
        "step.failed",
        "c00000-00000",
        {"step": "submit", "error": "KeyError"},
    )
    assert harness.claim(Step.SUBMIT, now=after(1)) == []
    assert len(harness.claim(Step.SUBMIT, now=after(2))) == 1


@pytest.mark.parametrize("step", [Step.SUBMIT, Step.PLAN, Step.REVIEW])
def test_failures_of_a_unit_are_counted_for_an_hour(harness: LedgerHarness, fleet: SqlWorkers, step: Step) -> None:
    """Its own only: another unit's do not count."""
    harness.open(shards=1)
    harness.add(a_chunk())
    counts = []
    for at_s in (0, 1_000, 2_000, 3_500, 3_600, 9_000):
        [claim] = harness.claim(step, now=after(at_s))
        [other] = harness.claim(Step.PLAN if step is Step.SUBMIT else Step.SUBMIT, now=after(at_s))
        fleet.step_failed(other, "another", after(at_s))
        counts.append(fleet.step_failed(claim, "", after(at_s)))

    assert counts == [1, 2, 3, 4, 4, 1]


def test_a_unit_that_fails_again_and_again_waits_longer_each_time(harness: LedgerHarness, fleet: SqlWorkers) -> None:
    harness.open(shards=0)
    harness.add(a_chunk())
    waits_s, now_s = [], 0
    for _ in range(4):
        [claim] = harness.claim(Step.SUBMIT, now=after(now_s))
        fleet.step_failed(claim, "", after(now_s))
        wait_s = next(wait_s for wait_s in range(300) if fleet.due(after(now_s + wait_s))[Queue.TRANSFER])
        waits_s.append(wait_s)
        now_s += wait_s

    assert waits_s == [2, 3, 5, 9]


def test_a_failure_of_whoever_lost_the_unit_does_not_put_it_off(harness: LedgerHarness, fleet: SqlWorkers) -> None:
    harness.open(shards=0)
    harness.add(a_chunk())
    [stale] = harness.claim(Step.SUBMIT)
    [present] = harness.claim(Step.SUBMIT, now=after(60))

    assert fleet.step_failed(stale, "late", after(60)) == 1

    assert harness.ledger.renew({present: after(120)}) == {present}


def test_a_failure_after_the_step_has_recorded_does_not_put_off_what_is_next(
    harness: LedgerHarness, fleet: SqlWorkers
) -> None:
    harness.open(shards=0)
    harness.add(a_chunk(state=ChunkState.SUBMITTED))
    [claim] = harness.claim(Step.POLL)
    chunk = harness.ledger.chunk(a_chunk().id)
    harness.ledger.record(
        claim, ChunkMoved(before=chunk, after=replace(chunk, state=ChunkState.ENDED), due_at=NOW), now=NOW
    )

    fleet.step_failed(claim, "on the way out", NOW)

    assert len(harness.claim(Step.COLLECT)) == 1


def test_a_failed_unit_is_free_for_nobody_else_to_record(harness: LedgerHarness, fleet: SqlWorkers) -> None:
    """The claim is let go of: after the wait another has it, and what the first still writes is refused."""
    harness.open(shards=0)
    harness.add(a_chunk())
    [claim] = harness.claim(Step.SUBMIT)
    fleet.step_failed(claim, "", NOW)
    harness.claim(Step.SUBMIT, now=after(10))

    with pytest.raises(LeaseLost):
        harness.ledger.record(claim, now=after(10))


@pytest.mark.parametrize("step", [Step.SUBMIT, Step.PLAN, Step.REVIEW])
def test_starts_of_a_step_that_never_comes_to_an_end_are_counted(
    harness: LedgerHarness, fleet: SqlWorkers, step: Step
) -> None:
    harness.open(shards=1)
    harness.add(a_chunk())
    counts = []
    for at_s in (0, 100, 200):
        [claim] = harness.claim(step, now=after(at_s))
        counts.append(fleet.step_started(claim, now=after(at_s), lease_s=50, draw=0.0))

    assert counts == [1, 2, 3]


@pytest.mark.parametrize("end", ["recorded", "recorded and kept", "failed in words"])
def test_a_step_that_came_through_or_failed_in_words_begins_the_count_anew(
    harness: LedgerHarness, fleet: SqlWorkers, end: str
) -> None:
    harness.open(shards=0)
    harness.add(a_chunk())
    [lost] = harness.claim(Step.SUBMIT)
    fleet.step_started(lost, now=NOW, lease_s=50, draw=0.0)
    [claim] = harness.claim(Step.SUBMIT, now=after(100))
    fleet.step_started(claim, now=after(100), lease_s=50, draw=0.0)
    if end == "failed in words":
        fleet.step_failed(claim, "", after(100))
    else:
        harness.ledger.record(claim, now=after(100), keep=end == "recorded and kept")

    [next_one] = harness.claim(Step.SUBMIT, now=after(1_000))

    assert fleet.step_started(next_one, now=after(1_000), lease_s=50, draw=0.0) == 1


def test_units_whose_workers_died_together_come_again_apart(harness: LedgerHarness, fleet: SqlWorkers) -> None:
    """Else the innocent would die beside the guilty each time. A first start is kept no longer than it must be."""
    harness.open(shards=0)
    first, second = a_chunk("c00000-00000"), a_chunk("c00000-00001")
    harness.add(first, second)
    for at_s in (0, 100):
        claims = harness.claim(Step.SUBMIT, now=after(at_s))
        assert names(claims) == [first.name, second.name]
        for claim, draw in zip(claims, (0.0, 0.5), strict=True):
            fleet.step_started(claim, now=after(at_s), lease_s=50, draw=draw)

    assert names(harness.claim(Step.SUBMIT, now=after(150))) == [first.name]
    assert harness.claim(Step.SUBMIT, now=after(174)) == []
    assert names(harness.claim(Step.SUBMIT, now=after(175))) == [second.name]


def test_a_claim_that_is_lost_starts_nothing(harness: LedgerHarness, fleet: SqlWorkers) -> None:
    harness.open(shards=0)
    harness.add(a_chunk())
    [stale] = harness.claim(Step.SUBMIT)
    [present] = harness.claim(Step.SUBMIT, now=after(60))

    with pytest.raises(LeaseLost):
        fleet.step_started(stale, now=after(60), lease_s=50, draw=0.0)

    assert fleet.step_started(present, now=after(60), lease_s=50, draw=0.0) == 1


def test_a_running_job_is_stopped_and_says_why(harness: LedgerHarness, fleet: SqlWorkers) -> None:
    harness.open()

    assert fleet.stop(JOB, "it cannot be read", NOW)
    assert not fleet.stop(JOB, "a later reason", NOW)

    found = harness.ledger.job(JOB)
    assert (found.state, found.reason) == (JobState.STOPPED, "it cannot be read")
    assert [event.name for _, event in harness.admin.events(JOB)] == ["job.opened", "job.stopped"]


def test_a_job_that_is_being_cancelled_is_not_stopped(harness: LedgerHarness, fleet: SqlWorkers) -> None:
    harness.open(a_job())
    harness.admin.cancel(JOB, now=NOW)

    assert not fleet.stop(JOB, "too late", NOW)
    assert harness.ledger.job(JOB).state is JobState.CANCELLING
