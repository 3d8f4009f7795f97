"""Steps that outlast their leases, and steps that are told to stop: each is done once, and none is half recorded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any, Final

import pytest

from orchestrator.domain import lifecycle
from orchestrator.domain.changes import JobMoved, ShardMoved
from orchestrator.domain.errors import Interrupted
from orchestrator.domain.lifecycle import GaveUp
from orchestrator.domain.look import Activity, Look
from orchestrator.domain.model import ChunkState, Claim, ShardState, Step
from orchestrator.engine.local_runner import LocalRunner
from orchestrator.engine.workspace import Workspace
from orchestrator.ledger.clock import LedgerClock
from orchestrator.ledger.db.database import open_sqlite
from orchestrator.ledger.snapshot import SqlSnapshot
from orchestrator.ledger.steps import SqlLedger
from orchestrator.ledger.workers import SqlWorkers
from orchestrator.ports import Checkpoint
from tests.builders import JOB, NOW, a_chunk
from tests.contract.ledger_harness import LedgerHarness

LEASE_S: Final = 0.2
LEASES: Final = 3
PATIENCE_S: Final = 60.0
STATE_FOR: Final = {
    Step.SUBMIT: ChunkState.PLANNED,
    Step.RECOVER: ChunkState.AMBIGUOUS,
    Step.POLL: ChunkState.SUBMITTED,
    Step.CANCEL: ChunkState.SUBMITTED,
    Step.COLLECT: ChunkState.ENDED,
    Step.SPLIT: ChunkState.SPLITTING,
}


@pytest.fixture
def harness() -> Iterator[LedgerHarness]:
    database = open_sqlite(None)
    yield LedgerHarness(database)
    database.close()


def make_due(harness: LedgerHarness, step: Step) -> None:
    """Bring a job to where this step of it is due."""
    harness.open(shards=step in (Step.PLAN, Step.FINISH))
    if step in STATE_FOR:
        harness.add(a_chunk(state=STATE_FOR[step]))
    if step is Step.CANCEL:
        harness.admin.cancel(JOB, now=NOW)
    if step is Step.FINISH:
        shard = harness.ledger.shard(JOB, 0)
        planned = replace(shard, state=ShardState.PLANNED, row_count=10, chunk_count=1)
        harness.write(ShardMoved(before=shard, after=planned, due_at=NOW))
        harness.add(a_chunk())
        harness.move(lifecycle.advance(harness.ledger.chunk(a_chunk().id), GaveUp("400", "no")), due_at=None)
    if step in (Step.RETRY, Step.SEAL):
        job = harness.ledger.job(JOB)
        harness.write(JobMoved(before=job, after=replace(job, due=step), due_at=NOW))


class CountingLedger(SqlLedger):
    """A ledger that tells how often claims were renewed."""

    def __init__(self, harness: LedgerHarness) -> None:
        super().__init__(harness.database)
        self.beaten = threading.Condition()
        self.beats = 0

    def renew(self, leases: Mapping[Claim, datetime]) -> frozenset[Claim]:
        """Renew, and count."""
        standing = super().renew(leases)
        with self.beaten:
            self.beats += 1
            self.beaten.notify_all()
        return standing

    def outlast(self, leases: int) -> None:
        """Wait until so many leases have been renewed from beginning to end: four beats each."""
        with self.beaten:
            until = self.beats + 4 * leases + 1
            assert self.beaten.wait_for(lambda: self.beats >= until, timeout=PATIENCE_S)


def a_runner(harness: LedgerHarness, ledger: SqlLedger, perform: Callable[[Claim, Checkpoint], None]) -> LocalRunner:
    """Return a runner whose every step is `perform`."""
    workspace: Any = SimpleNamespace(
        ledger=ledger,
        admin=harness.admin,
        workers=SqlWorkers(harness.database),
        clock=LedgerClock(harness.database),
        perform=perform,
    )
    workspace.register = partial(Workspace.register, workspace)
    workspace.snapshot = SqlSnapshot(harness.database)
    workspace.may_be_run = lambda _job_id: True
    workspace.look = partial(Workspace.look, workspace)
    return LocalRunner(workspace=workspace, job_id=JOB, threads=2, lease_s=LEASE_S)


@pytest.mark.parametrize("step", list(Step))
def test_a_step_that_takes_three_leases_is_begun_once_and_its_record_is_taken(
    step: Step, harness: LedgerHarness
) -> None:
    """Whatever kind of step: the runner looks for due work meanwhile, and must not find what it is working on."""
    make_due(harness, step)
    ledger, begun = CountingLedger(harness), list[Claim]()

    def perform(claim: Claim, _checkpoint: Checkpoint) -> None:
        begun.append(claim)
        if claim.step is step:
            ledger.outlast(LEASES)
            runner.stop.set()
        else:
            assert runner.stop.wait(PATIENCE_S)
        ledger.record(claim, now=datetime.now(UTC))  # raises LeaseLost where somebody else has it

    runner = a_runner(harness, ledger, perform)

    runner.run()

    assert sorted(claim.step for claim in begun) == sorted({claim.step for claim in begun})
    assert step in {claim.step for claim in begun}


def test_a_stop_ends_a_long_step_at_its_next_checkpoint_and_waits_for_one_that_has_none(harness: LedgerHarness) -> None:
    """A render stops; a create comes to its end."""
    harness.open(shards=1)
    harness.add(a_chunk())
    ended = dict[Step, str]()
    both = threading.Barrier(2, timeout=PATIENCE_S)

    def perform(claim: Claim, checkpoint: Checkpoint) -> None:
        if claim.step is Step.REVIEW:
            return
        both.wait()
        runner.stop.set()
        try:
            while claim.step is Step.PLAN:
                checkpoint()
        except Interrupted:
            ended[claim.step] = "interrupted"
            raise
        ended[claim.step] = "came to its end"

    runner = a_runner(harness, harness.ledger, perform)

    runner.run()

    assert ended == {Step.PLAN: "interrupted", Step.SUBMIT: "came to its end"}


def test_a_run_that_stops_says_so_while_a_create_is_under_way(harness: LedgerHarness) -> None:
    """To who looks, and to its own callback, until the create has ended; then nobody works on the job."""
    harness.open(shards=0)
    harness.add(a_chunk())
    told = threading.Event()
    looks = list[Look]()

    def perform(_claim: Claim, _checkpoint: Checkpoint) -> None:
        runner.stop.set()
        assert told.wait(PATIENCE_S)

    def progress(look: Look) -> None:
        looks.append(look)
        if look.activity is Activity.STOPPING:
            looks.append(SqlSnapshot(harness.database).look(JOB, now=look.at))
            told.set()

    runner = a_runner(harness, harness.ledger, perform)

    runner.run(progress)

    *_, own, other, left = looks
    assert own == other
    assert (Step.SUBMIT, "c00000-00000") in [(one.step, one.unit) for one in own.worked_by[0].doing]
    assert (left.activity, left.worked_by) == (Activity.UNATTENDED, ())


def test_an_error_in_one_step_waits_for_the_others_before_it_is_raised(harness: LedgerHarness) -> None:
    """Otherwise a script that ends with the error takes the answer to a create with it."""
    harness.open(shards=1)
    harness.add(a_chunk())
    has_failed, ended = threading.Event(), list[Step]()

    def perform(claim: Claim, _checkpoint: Checkpoint) -> None:
        if claim.step is Step.PLAN:
            has_failed.set()
            raise ValueError("a bug")
        assert has_failed.wait(PATIENCE_S)
        ended.append(claim.step)

    runner = a_runner(harness, harness.ledger, perform)

    with pytest.raises(ValueError, match="a bug"):
        runner.run()

    assert Step.SUBMIT in ended


@pytest.mark.parametrize("error", [ValueError("of the user's"), KeyboardInterrupt()])
def test_what_a_progress_callback_raises_waits_for_the_steps_under_way(
    error: BaseException, harness: LedgerHarness
) -> None:
    """A KeyboardInterrupt that arrives as an exception, as in some notebooks, is a stop that is asked for."""
    harness.open(shards=0)
    harness.add(a_chunk())
    begun, has_raised, ended = threading.Event(), threading.Event(), list[Step]()

    def perform(claim: Claim, _checkpoint: Checkpoint) -> None:
        begun.set()
        assert has_raised.wait(PATIENCE_S)
        ended.append(claim.step)

    def progress(*_: object) -> None:
        if begun.is_set() and not has_raised.is_set():
            has_raised.set()
            raise error

    runner = a_runner(harness, harness.ledger, perform)

    if isinstance(error, KeyboardInterrupt):
        runner.run(progress)
        assert runner.stop.is_set()
    else:
        with pytest.raises(ValueError, match="of the user's"):
            runner.run(progress)

    assert Step.SUBMIT in ended


def test_a_second_interrupt_leaves_at_once(harness: LedgerHarness) -> None:
    """Even while a step hangs."""
    harness.open(shards=0)
    harness.add(a_chunk())
    never = threading.Event()

    def perform(_claim: Claim, _checkpoint: Checkpoint) -> None:
        never.wait(PATIENCE_S)

    def progress(*_: object) -> None:
        runner.stop.set()
        raise KeyboardInterrupt

    runner = a_runner(harness, harness.ledger, perform)

    with pytest.raises(KeyboardInterrupt):
        runner.run(progress)
    never.set()


def test_a_program_that_leaves_from_its_progress_callback_loses_no_answer(harness: LedgerHarness) -> None:
    """A SystemExit is no Exception; the step under way is waited for all the same."""
    make_due(harness, Step.SUBMIT)
    ledger, begun, recorded = SqlLedger(harness.database), threading.Event(), list[Claim]()

    def perform(claim: Claim, _checkpoint: Checkpoint) -> None:
        begun.set()
        assert leaving.wait(PATIENCE_S)
        ledger.record(claim, now=datetime.now(UTC))
        recorded.append(claim)

    def leave(_look: Look) -> None:
        if not begun.is_set():
            return
        threading.Timer(LEASE_S, leaving.set).start()  # some time after the program has left
        raise SystemExit(7)

    leaving = threading.Event()

    with pytest.raises(SystemExit):
        a_runner(harness, ledger, perform).run(leave)

    assert Step.SUBMIT in {claim.step for claim in recorded}
