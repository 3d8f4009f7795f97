"""One seed, run to its end: the hub that decides who runs, who dies, who sleeps, and when time passes.

Two phases: faults until `faults_until_s` (safety), then none (liveness); by then everything must come to its end.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

import greenlet

from orchestrator.domain.errors import LeaseLost
from orchestrator.domain.model import Canary, Claim, Job, JobId, JobState, Step
from orchestrator.engine.heartbeat import BEATS_PER_LEASE
from orchestrator.engine.steps import STEPS
from orchestrator.job_files.reused_parts import OtherAnswers, OtherJob
from orchestrator.ledger.admin import SqlAdmin
from tests.fakes.batches import HOME
from tests.fakes.classes import CLASSES
from tests.fakes.clock import VirtualClock, WallClock
from tests.fakes.dice import Fault
from tests.fakes.faults import Temper
from tests.fakes.provider import SimulatedProvider
from tests.fakes.source import MemorySource
from tests.simulation.choosing import audited
from tests.simulation.context import an_empty_ledger, context
from tests.simulation.keys import Keys
from tests.simulation.oracle import Broken, Oracle
from tests.simulation.people import People
from tests.simulation.plan import JobPlan, Scenario, scenario
from tests.simulation.power import Power
from tests.simulation.switching import Crash, Switch, Trace
from tests.simulation.variant import PRODUCTION, Variant

LEASE_S: Final = 120.0
PATIENCE_S: Final = 20 * 86_400.0  # a job that has not ended so long after the last fault never will
ENDED: Final = (JobState.FINISHED, JobState.CANCELLED)


@dataclass(slots=True)
class Worker:
    """A process that runs one step at a time."""

    name: str
    greenlet: Any = None
    claim: Claim | None = None
    wakes_at_s: float = 0.0
    slept_s: float = 0.0  # in this step
    beaten_at_s: float = 0.0  # when its heartbeat last renewed its claim
    has_lost: bool = False  # its claim is somebody else's by now

    @property
    def is_busy(self) -> bool:
        """Whether it is in the middle of a step."""
        return self.greenlet is not None and not self.greenlet.dead

    def checkpoint(self) -> None:
        """Tell the step under way where its claim is lost."""
        if self.has_lost:
            raise LeaseLost(f"{self.name} has lost its claim")


@dataclass(slots=True, kw_only=True)
class Report:
    """What became of a seed."""

    digest: str
    permits: int
    crashes: int
    batches: int
    elapsed_s: float
    faults: list[Fault] = field(repr=False)
    trace: list[str] | None = field(repr=False, default=None)


class SimulatedJob:
    """A job, its files and its dataset."""

    def __init__(self, plan: JobPlan, variant: Variant, world: World) -> None:
        self.plan = plan
        self.digest = hashlib.sha256(f"simulation {plan.number}".encode()).hexdigest()
        self.id = JobId(f"sim-{self.digest[:8]}")
        self.equal_rows = plan.equal_rows(self.digest)
        self.job_files, self.output = variant.disk(), variant.disk()
        for disk in (self.job_files, self.output):
            disk.elapsed_s = lambda: world.clock.elapsed_s
            disk.between = world.switch.point
        self.source = MemorySource(plan.tables, knows_counts=plan.knows_counts)
        self.retries = 0
        # Rows that a person had sent again the last time, each with how many batches had it before; None: never.
        self.asked: dict[str, int] | None = None
        self.asked_for_answers = False  # a person has had rows sent again that had an answer
        self.put: Mapping[str, Any] = {}  # what was set in the requests of these rows
        self.budget_usd = plan.policy.budget_usd
        self.wants_to_cancel = plan.cancel_at_s is not None
        self.pauses = list(plan.pauses)  # those to come; the first may be under way
        self.context = context(self, variant, world)


class World:
    """Everything there is, for one seed."""

    def __init__(
        self, plan: Scenario, variant: Variant, *, only: Collection[Fault] | None = None, keep_trace: bool = False
    ) -> None:
        self.plan = plan
        name = f"{plan.provider}/{plan.seed}"
        self.chance = random.Random(f"hub/{name}")
        self.clock = VirtualClock(random.Random(f"clock/{name}"))
        self.wall = WallClock(self.clock)
        self.trace = Trace(self.clock, keep=keep_trace)
        self.switch = Switch(self.trace)
        self.database = an_empty_ledger()
        self.ledger = variant.ledger(self.database)
        self.admin = SqlAdmin(self.database)
        temper = Temper(plan.rates, name, only=only, reported=plan.reported)
        self.dice, self.more_dice = temper.dice, temper.more_dice
        self.provider = SimulatedProvider(
            CLASSES[plan.provider],
            self.clock,
            random.Random(f"provider/{name}"),
            temper,
            requests_max=plan.provider_requests_max,
            slow_factor=plan.slow_factor,
        )
        self.steps = {**STEPS, **variant.steps}
        drawn = [SimulatedJob(each, variant, self) for each in plan.jobs]
        self.jobs = {job.id: job for job in drawn if not job.plan.follows}
        self.later = [job for job in drawn if job.plan.follows]
        self.oracle = Oracle(self.database, self.provider, tuple(self.jobs.values()))
        self.power = Power(self, forgets_commits=variant.forgets_commits)
        self.people = People(self)
        self.keys = Keys(name, plan.mishaps.other_key, self.clock, only=only)
        self.workers = [Worker(name=f"w{number}") for number in range(plan.workers)]
        self.permits = self.crashes = 0
        self.may_be_due = True
        self._must_review = False
        self._refused: tuple[tuple[Step, ...], int, float] | None = None  # what was asked for in vain
        self._writes = self._record_count()

    def run(self) -> Report:
        """Run the seed; raise Broken, or whatever a step raised that it should not have."""
        try:
            for job in self.jobs.values():
                self._open(job)
            while not self._is_over():
                self._turn()
            return Report(
                digest=self.trace.digest,
                permits=self.permits,
                crashes=self.crashes,
                batches=len(self.provider.batches),
                elapsed_s=self.clock.elapsed_s,
                faults=self.faults,
                trace=self.trace.lines,
            )
        finally:
            for worker in self.workers:
                if worker.is_busy:
                    self.kill(worker)

    @property
    def faults(self) -> list[Fault]:
        """What has gone wrong so far."""
        return self.dice.fired + self.more_dice.fired + self.keys.dice.fired

    def _open(self, job: SimulatedJob) -> None:
        policy = job.plan.policy
        opened = Job(id=job.id, name="sim", account="one", spec="{}", policy=policy, rounds_max=policy.attempts_max)
        opened = replace(opened, canary=Canary.WANTED if job.plan.has_canary else Canary.NONE)
        self.admin.open(opened, len(job.source.shards), now=self.wall.now())

    def _open_later(self, job: SimulatedJob) -> None:
        """Open a job of the same rows as the first one's, which has ended: its answers are taken."""
        first = next(iter(self.jobs.values()))
        first.job_files.between = lambda: None  # this is no step of a worker
        answers = OtherAnswers([OtherJob(job_id=first.id, job_files=first.job_files)])
        job.context["planning"] = replace(job.context["planning"], answers=answers)
        self.jobs[job.id] = job
        self.oracle.follow(job, first)
        self.trace.add(f"{job.id} takes {len(answers)} answers of {first.id}")
        self._open(job)
        self.may_be_due = True

    def _turn(self) -> None:
        self.permits += 1
        late_s = self.clock.elapsed_s - self.plan.faults_until_s
        if self.permits > self.plan.turns_max or late_s > PATIENCE_S:
            raise Broken(f"no end after {self.permits} turns, {late_s:.0f} s after the last fault: {self._standing()}")
        if not self.dice.is_calm and late_s > 0:
            self.dice.is_calm = self.more_dice.is_calm = self.keys.dice.is_calm = True
            self.trace.add("-- from here on nothing goes wrong")
        if self.permits % 50 == 0:
            self._look_around()
        now_s = self.clock.elapsed_s
        self._beat([worker for worker in self.workers if worker.is_busy and worker.wakes_at_s <= now_s])
        if self.may_be_due:
            self._hand_out()
        awake = [worker for worker in self.workers if worker.is_busy and worker.wakes_at_s <= now_s]
        if not awake:
            self._look_around()
            if not self.may_be_due or all(worker.is_busy for worker in self.workers):
                self._jump()
            return
        self._let_run(self._chosen(awake))
        if self.chance.random() < 0.1:
            self.clock.advance(self.chance.random() * 2)
            self.may_be_due = True

    def _beat(self, awake: list[Worker]) -> None:
        """Be the heartbeat of every process that is not paused: it renews the claim of the step under way."""
        late = [worker for worker in awake if self.clock.elapsed_s - worker.beaten_at_s > LEASE_S / BEATS_PER_LEASE]
        if not late:
            return
        until = self.wall.now() + timedelta(seconds=LEASE_S)
        standing = self.ledger.renew({worker.claim: until for worker in late if worker.claim is not None})
        for worker in late:
            worker.beaten_at_s, worker.has_lost = self.clock.elapsed_s, worker.claim not in standing
            self.trace.add(f"{worker.name} {'has lost' if worker.has_lost else 'keeps'} its claim")
        self._writes = self._record_count()

    def _chosen(self, awake: list[Worker]) -> Worker:
        return self.chance.choice(awake)

    def _look_around(self) -> None:
        self.people.act()
        self.may_be_due |= self._record_count() != self._writes

    def _let_run(self, worker: Worker) -> None:
        mishaps, fires = self.plan.mishaps, self.dice.fires
        if fires("crash", mishaps.crash):
            self.trace.add(f"{worker.name} crashes")
            self.crashes += 1
            self.kill(worker)
            return
        if fires("power", mishaps.power):
            self.power.fail()
            self._judge()
            return
        if fires("jump", mishaps.jump):
            self.power.set_clock()
        if fires("pause", mishaps.pause):
            pause_s = min(10 ** self.dice.shape().uniform(0.5, 3.6), self.plan.pause_s_max - worker.slept_s)
            worker.slept_s += pause_s
            worker.wakes_at_s = self.clock.elapsed_s + pause_s
            self.trace.add(f"{worker.name} pauses for {pause_s:.0f} s")
            return
        self.switch.worker = worker.name
        worker.greenlet.switch()
        if worker.greenlet.dead:
            self.may_be_due = True
        self._judge()

    def _judge(self) -> None:
        writes = self._record_count()
        if writes != self._writes or len(self.provider.batches) != self.oracle.seen_count:
            self._writes = writes
            self.may_be_due = True
            self.oracle.after_event()
            self.power.note_commit()

    def _record_count(self) -> int:
        return int(self.oracle.connection.total_changes)

    def kill(self, worker: Worker) -> None:
        """End a process, wherever it is."""
        with suppress(Crash):
            worker.greenlet.throw(Crash)
        assert worker.greenlet.dead
        self.switch.gone(worker.name)
        worker.greenlet = worker.claim = None
        worker.wakes_at_s = 0.0
        self.may_be_due = True

    def _hand_out(self) -> None:
        """Do what the beat does: claim what is due, and deliver it: once, twice, or not at all."""
        idle = [worker for worker in self.workers if not worker.is_busy]
        self._writes = self._record_count()
        if not idle:
            return
        steps, is_all = self._wanted(idle)
        if not steps:
            return
        claims = self.ledger.claim(steps, limit=len(idle), now=self.wall.now(), lease_s=LEASE_S)
        self._must_review = False
        if claims or not is_all:
            self._refused = None
        self.may_be_due = bool(claims) or not is_all
        for claim in claims:
            if self.dice.fires("dropped", self.plan.mishaps.dropped):
                self.trace.add(f"beat loses {told(claim)}")
                continue
            twice = len(idle) > 1 and self.dice.fires("twice", self.plan.mishaps.twice)
            for _ in range(2 if twice else 1):
                if idle:
                    self._deliver(claim, idle.pop(self.chance.randrange(len(idle))))
        self._writes = self._record_count()

    def _wanted(self, idle: list[Worker]) -> tuple[list[Step], bool]:
        """Return the steps to ask for, and whether they are all that may be due; none where it would be in vain."""
        due = self.oracle.due_steps(self.wall.now().timestamp())
        if Step.REVIEW in due and not self._must_review and self.chance.random() < 0.8:
            due.remove(Step.REVIEW)  # it is due all the time
        asked_before = self._refused is not None and self._refused[0] == tuple(due)
        if asked_before and len(idle) < len(self.workers) and self.chance.random() < 0.8:
            self.may_be_due = False
            return [], True
        facts = (tuple(due), self._record_count(), self.clock.elapsed_s // 60)
        if not due or facts == self._refused:
            self.may_be_due = False
            return [], True
        if not self.dice.is_calm and self.chance.random() < 0.2:
            some = [step for step in due if self.chance.random() < 0.5]
            if some and len(some) < len(due):
                return some, False
        self._refused = facts
        return due, True

    def _deliver(self, claim: Claim, worker: Worker) -> None:
        self.trace.add(f"{worker.name} gets {told(claim)}")
        worker.claim, worker.wakes_at_s, worker.slept_s = claim, 0.0, 0.0
        worker.beaten_at_s, worker.has_lost = self.clock.elapsed_s, False
        worker.greenlet = greenlet.greenlet(self._perform)
        self.switch.worker = worker.name
        worker.greenlet.switch(claim, worker)

    def _perform(self, claim: Claim, worker: Worker) -> None:
        step, names = self.steps[claim.step]
        context = self.jobs[claim.unit.job_id].context | {"checkpoint": worker.checkpoint}
        key = self.keys.present(claim.step)  # of the process: it has one from its start to its end
        if key != HOME:
            self.trace.add(f"{self.switch.worker} has the {key} key")
        given = {name: context["providers"][key] if name == "provider" else context[name] for name in names}
        try:
            step(claim, **given)
        except LeaseLost:
            self.trace.add(f"{self.switch.worker} yields {told(claim)}")

    def _jump(self) -> None:
        """Let time pass until something is due."""
        rate = self.plan.mishaps.jump_in_wait
        if rate and self.dice.fires(
            "jump_in_wait", rate
        ):  # not even a chance where there is none: seeds stay as they are
            self.power.set_clock()
        now_s, wall_s = self.clock.elapsed_s, self.wall.now().timestamp()
        units_in_s, jobs_in_s = self.oracle.next_due_in_s(wall_s)
        waits = [worker.wakes_at_s - now_s for worker in self.workers if worker.is_busy]
        waits += [(late.lands_at - self.clock.now()).total_seconds() for late in self.provider.late]
        waits += [] if units_in_s is None else [units_in_s]
        waits += [at_s - now_s for job in self.jobs.values() for pause in job.pauses[:1] for at_s in pause]
        waits = [wait for wait in waits if wait > 0]
        if not waits:
            self._must_review = True
            states = {self.state(job) for job in self.jobs.values()}
            waits = [jobs_in_s or 0.0] if states - {JobState.STOPPED, *ENDED} else [60.0]
        self.clock.advance(max(0.0, min(waits)) + 0.000_001)
        self.provider.settle()
        self.may_be_due = True

    def _is_over(self) -> bool:
        """Whether the jobs have ended, nobody will retry them, and every straggler has come home."""
        if self.permits % 10 or any(worker.is_busy for worker in self.workers):
            return False
        for job in self.jobs.values():
            if job.retries < job.plan.retries or self.state(job) not in ENDED or self.people.has_unread(job):
                return False
        if self.later:
            self._open_later(self.later.pop(0))
            return False
        self.clock.advance(20_000)
        self.provider.settle()
        self.oracle.after_event()
        for job in self.jobs.values():
            self.check_end(job)
        return True

    def check_end(self, job: SimulatedJob) -> None:
        """Hold a job that has ended against the truth."""
        self._judge()
        digest = self.oracle.at_end(job, self.ledger.job(job.id))
        if differences := audited(self, job):
            raise Broken(f"the audit of {job.id} finds {differences}")
        self.trace.add(f"{job.id} output {digest}")

    def state(self, job: SimulatedJob) -> str:
        """Return the job's state."""
        return str(self.oracle.first(f"select state from jobs where id = '{job.id}'"))

    def _standing(self) -> str:
        words = []
        for job in map(self.ledger.job, self.jobs):
            chunks = dict(self.ledger.totals(job.id).chunks)
            words.append(f"job {job.state} due {job.due} ({job.reason}), chunks {chunks}")
        return "; ".join(words)


def told(claim: Claim) -> str:
    """Return a claim in a few words."""
    unit = claim.unit
    what = unit.chunk_id or (unit.job_id if unit.shard_no is None else f"{unit.job_id} {unit.shard_no}")
    return f"{claim.step} {what} t{claim.token}"


def simulate(
    seed: int,
    provider: str,
    *,
    variant: Variant = PRODUCTION,
    only: Collection[Fault] | None = None,
    keep_trace: bool = False,
) -> Report:
    """Run one seed against a provider of a class; `only` names the faults that happen, where it must be just those."""
    world = World(variant.weather(scenario(seed, provider)), variant, only=only, keep_trace=keep_trace)
    try:
        with variant.altered():
            return world.run()
    except BaseException as error:
        error.add_note(f"replay: python -m tests.simulation replay {provider} {seed}")
        error.add_note(f"shrink: python -m tests.simulation shrink {provider} {seed}")
        error.faults = world.faults  # type: ignore[attr-defined]
        if keep_trace:
            sys.stdout.write("\n".join(world.trace.lines or ()) + "\n")
        raise
