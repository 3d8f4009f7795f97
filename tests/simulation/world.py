"""One seed, run to its end: the hub that decides who runs, who dies, who sleeps, and when time passes.

Two phases: faults until `faults_until_s`, then none; by then everything must come to its end.
"""

from __future__ import annotations

import random
import sys
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

import greenlet

from orchestrator.domain.errors import LeaseLost
from orchestrator.domain.model import ChunkId, Claim, Job, JobId, JobState, Step
from orchestrator.ledger.desk import SqlDesk
from orchestrator.ledger.overview import SqlOverview
from orchestrator.wiring.bench import _STEPS
from tests.fakes.clock import BEGINNING, VirtualClock
from tests.fakes.faults import CALM
from tests.fakes.provider import CLASS_B1, CLASS_C, SimulatedProvider
from tests.fakes.source import MemorySource
from tests.simulation.kit import DIGEST, an_empty_ledger, kit
from tests.simulation.mutants import PRODUCTION, Variant
from tests.simulation.oracle import Broken, Oracle
from tests.simulation.plan import Scenario, scenario
from tests.simulation.switching import (
    Crash,
    Switch,
    Trace,  # fmt: skip
)

LEASE_S: Final = 120.0
TURNS_MAX: Final = 15_000
LIVE: Final = (JobState.RUNNING, JobState.STOPPED)
ENDED: Final = (JobState.FINISHED, JobState.CANCELLED)


@dataclass(slots=True)
class Worker:
    """A process that runs one step at a time."""

    name: str
    greenlet: Any = None
    claim: Claim | None = None
    wakes_at_s: float = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether it is in the middle of a step."""
        return self.greenlet is not None and not self.greenlet.dead


@dataclass(slots=True, kw_only=True)
class Report:
    """What became of a seed."""

    digest: str
    turns: int
    crashes: int
    batches: int
    elapsed_s: float
    trace: list[str] | None = field(repr=False, default=None)


class World:
    """Everything there is, for one seed."""

    def __init__(self, plan: Scenario, variant: Variant, *, keep_trace: bool) -> None:
        self.plan = plan
        self.chance = random.Random(f"hub/{plan.provider}/{plan.seed}")
        self.clock = VirtualClock(random.Random(f"clock/{plan.seed}"))
        self.trace = Trace(self.clock, keep=keep_trace)
        self.switch = Switch(self.trace)
        self.database = an_empty_ledger()
        self.ledger = variant.ledger(self.database)
        self.overview = SqlOverview(self.database)
        self.desk = SqlDesk(self.database)
        traits = CLASS_B1 if plan.provider == "b1" else CLASS_C
        temper = random.Random(f"provider/{plan.provider}/{plan.seed}")
        self.provider = SimulatedProvider(
            traits, self.clock, temper, plan.rates, requests_max=plan.provider_requests_max
        )
        self.spool, self.output = variant.spool(), variant.spool()
        self.source = MemorySource(plan.tables, knows_counts=plan.knows_counts)
        self.oracle = Oracle(
            plan, self.database, self.provider, spool=self.spool, output=self.output, job_digest=DIGEST
        )
        self.kit = kit(plan, variant, self)
        self.workers = [Worker(name=f"w{number}") for number in range(plan.workers)]
        self.job_id = JobId(f"sim-{DIGEST[:8]}")
        self.turns = self.crashes = self.retries = 0
        self.budget_usd = plan.policy.budget_usd
        self.is_calm = False
        self._wants_to_cancel = plan.cancel_at_s is not None
        self.may_be_due = True
        self._must_review = False
        self._refused: tuple[tuple[Step, ...], int, float] | None = None  # what was asked for in vain
        self._writes = self._record_count()

    def run(self) -> Report:
        """Run the seed; raise Broken, or whatever a step raised that it should not have."""
        try:
            self._open()
            while not self._is_over():
                self._turn()
            return Report(
                digest=self.trace.digest,
                turns=self.turns,
                crashes=self.crashes,
                batches=len(self.provider.batches),
                elapsed_s=self.clock.elapsed_s,
                trace=self.trace.lines,
            )
        finally:
            for worker in self.workers:
                if worker.is_busy:
                    self._kill(worker)

    def _open(self) -> None:
        job = Job(id=self.job_id, name="sim", account="one", spec="{}", policy=self.plan.policy,
                  rounds_max=self.plan.policy.attempts_max)  # fmt: skip
        self.desk.open(job, len(self.source.shards), now=self.clock.now())

    def _turn(self) -> None:
        self.turns += 1
        if self.turns > TURNS_MAX:
            raise Broken(f"no end after {TURNS_MAX} turns: {self._standing()}")
        if not self.is_calm and self.clock.elapsed_s > self.plan.faults_until_s:
            self.is_calm, self.provider.rates = True, CALM
            self.trace.add("-- from here on nothing goes wrong")
        if self.turns % 50 == 0:
            self._people()
        if self.may_be_due:
            self._hand_out()
        now_s = self.clock.elapsed_s
        awake = [worker for worker in self.workers if worker.is_busy and worker.wakes_at_s <= now_s]
        if not awake:
            self._people()
            if not self.may_be_due or all(worker.is_busy for worker in self.workers):
                self._jump()
            return
        self._let_run(self.chance.choice(awake))
        if self.chance.random() < 0.1:
            self.clock.advance(self.chance.random() * 2)
            self.may_be_due = True

    def _let_run(self, worker: Worker) -> None:
        roll = 1.0 if self.is_calm else self.chance.random()
        if roll < self.plan.crash:
            self.trace.add(f"{worker.name} crashes")
            self.crashes += 1
            self._kill(worker)
            return
        if roll < self.plan.crash + self.plan.pause:
            pause_s = 10 ** self.chance.uniform(0.5, 3.6)
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
            self.oracle.after_event(self.budget_usd)

    def _record_count(self) -> int:
        return int(self.oracle.connection.total_changes)

    def _kill(self, worker: Worker) -> None:
        with suppress(Crash):
            worker.greenlet.throw(Crash)
        assert worker.greenlet.dead
        worker.greenlet = worker.claim = None
        worker.wakes_at_s = 0.0
        self.may_be_due = True

    def _hand_out(self) -> None:
        """Do what the beat does: claim what is due, and deliver it: once, twice, or not at all."""
        idle = [worker for worker in self.workers if not worker.is_busy]
        self._writes = self._record_count()
        if not idle:
            return
        due = self.oracle.due_steps(self.clock.now().timestamp())
        if Step.REVIEW in due and not self._must_review and self.chance.random() < 0.8:
            due.remove(Step.REVIEW)  # it is due all the time
        asked_before = self._refused is not None and self._refused[0] == tuple(due)
        if asked_before and len(idle) < len(self.workers) and self.chance.random() < 0.8:
            self.may_be_due = False
            return
        facts = (tuple(due), self._record_count(), self.clock.elapsed_s // 60)
        if not due or facts == self._refused:
            self.may_be_due = False
            return
        steps = due
        if not self.is_calm and self.chance.random() < 0.2:
            steps = [step for step in due if self.chance.random() < 0.5] or due
        claims = self.ledger.claim(steps, limit=len(idle), now=self.clock.now(), lease_s=LEASE_S)
        self._must_review = False
        self._refused = None if claims or steps is not due else facts
        self.may_be_due = bool(claims) or steps is not due
        for claim in claims:
            if not self.is_calm and self.chance.random() < self.plan.dropped:
                self.trace.add(f"beat loses {_told(claim)}")
                continue
            twice = not self.is_calm and len(idle) > 1 and self.chance.random() < self.plan.twice
            for _ in range(2 if twice else 1):
                if idle:
                    self._deliver(claim, idle.pop(self.chance.randrange(len(idle))))
        self._writes = self._record_count()

    def _deliver(self, claim: Claim, worker: Worker) -> None:
        self.trace.add(f"{worker.name} gets {_told(claim)}")
        worker.claim, worker.wakes_at_s = claim, 0.0
        worker.greenlet = greenlet.greenlet(self._perform)
        self.switch.worker = worker.name
        worker.greenlet.switch(claim)

    def _perform(self, claim: Claim) -> None:
        step, names = _STEPS[claim.step]
        try:
            step(claim, **{name: self.kit[name] for name in names})
        except LeaseLost:
            self.trace.add(f"{self.switch.worker} yields {_told(claim)}")

    def _jump(self) -> None:
        """Let time pass until something is due."""
        now_s = self.clock.elapsed_s
        wakes = [worker.wakes_at_s for worker in self.workers if worker.is_busy]
        base_s = BEGINNING.timestamp()
        units, jobs = (None if due is None else due - base_s for due in self.oracle.next_due_s(now_s + base_s))
        landings = [(late.lands_at - BEGINNING).total_seconds() for late in self.provider.late]
        times = [at for at in (*wakes, *landings, *(() if units is None else (units,))) if at > now_s]
        if not times:
            self._must_review = True
            times = [now_s if jobs is None else jobs] if self._state() not in (JobState.STOPPED, *ENDED) else []
        if not times:
            times = [now_s + 60]
        self.clock.advance(max(0.0, min(times) - now_s) + 0.000_001)
        self.provider.settle()
        self.may_be_due = True

    def _is_over(self) -> bool:
        """Whether the job has ended, nobody will retry it, and every straggler has come home."""
        if self.turns % 10 or self.retries < self.plan.retries or self._state() not in ENDED:
            return False
        if any(worker.is_busy for worker in self.workers):
            return False
        self.clock.advance(20_000)
        self.provider.settle()
        self.oracle.after_event(self.budget_usd)
        self._check_end()
        return True

    def _check_end(self) -> None:
        digest = self.oracle.at_end(self._job())
        self.trace.add(f"output {digest}")

    def _people(self) -> None:
        """Do what people do: cancel, resume, resolve, retry, restart."""
        state, now, chance = self._state(), self.clock.now(), self.chance
        if self._wants_to_cancel and state in LIVE and self.clock.elapsed_s >= (self.plan.cancel_at_s or 0.0):
            self._wants_to_cancel = False
            self.trace.add("the job is cancelled")
            self.desk.cancel(self.job_id, now=now)
        if self.plan.break_leases and not self.is_calm and chance.random() < 0.02:
            self.trace.add("leases are broken")
            self.desk.break_leases(now=now)
        if state == JobState.STOPPED and chance.random() < 0.3:
            self._resume(self._job())
        if state in ENDED and self.retries < self.plan.retries:
            self.retries += 1
            self._judge()
            self._check_end()
            count = self.desk.retry(self.job_id, now=now)
            self.trace.add(f"{count} rows are retried")
        if self._has_held():
            for chunk, _attempt in self.desk.held(self.job_id):
                if chance.random() < (0.5 if self.is_calm else 0.1):
                    self._resolve(chunk.id, str(chunk.token))
        self.may_be_due |= self._record_count() != self._writes

    def _resume(self, job: Job) -> None:
        self.trace.add(f"resumed after {job.reason}")
        if self.budget_usd is not None and "budget" in job.reason:
            self.budget_usd += Decimal("0.004")
            self.desk.open(
                replace(job, policy=replace(job.policy, budget_usd=self.budget_usd)), 0, now=self.clock.now()
            )
        self.desk.resume(job.id, now=self.clock.now())

    def _resolve(self, chunk_id: ChunkId, token: str) -> None:
        """Look the truth up at the provider, once nothing can be on its way any more, and say it."""
        if any(late.token == token for late in self.provider.late):
            return
        for worker in self.workers:
            if worker.is_busy and worker.claim is not None and worker.claim.unit.chunk_id == chunk_id:
                self.trace.add(f"{worker.name} is stopped by the operator")
                self._kill(worker)
        made = [batch.id for batch in self.provider.batches.values() if batch.token == token]
        self.trace.add(f"{chunk_id} is resolved: {made}")
        self.desk.resolve(chunk_id, made[0] if made else None, now=self.clock.now())

    def _job(self) -> Job:
        return self.ledger.job(self.job_id)

    def _has_held(self) -> bool:
        return int(self.oracle.first("select count(*) from chunks where state = 'held'")) > 0

    def _state(self) -> str:
        return str(self.oracle.first("select state from jobs"))

    def _standing(self) -> str:
        job = self._job()
        chunks = dict(self.overview.totals(self.job_id).chunks)
        return f"job {job.state} due {job.due} ({job.reason}), chunks {chunks}"


def _told(claim: Claim) -> str:
    unit = claim.unit
    return f"{claim.step} {unit.chunk_id or ('' if unit.shard_no is None else unit.shard_no)} t{claim.token}"


def simulate(seed: int, provider: str, *, variant: Variant = PRODUCTION, keep_trace: bool = False) -> Report:
    """Run one seed against a provider of class "b1" or "c"."""
    world = World(scenario(seed, provider), variant, keep_trace=keep_trace)
    try:
        with variant.altered():
            return world.run()
    except BaseException as error:
        error.add_note(f"replay: python -m tests.simulation {seed} --provider {provider}")
        if keep_trace:
            sys.stdout.write("\n".join(world.trace.lines or ()) + "\n")
        raise
