"""A seed in which the program is upgraded while its jobs run: an old fleet, then a mixed one, then a new one.

    the old version alone, on its own schema  ->  the new one opens the ledger, and both work  ->  the new one alone

Rule: the oracle is the simulation's own, all the time. Each version hands out work, and gets it from both.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, Final

from orchestrator.domain.model import Claim, Step
from orchestrator.ledger import migrations
from orchestrator.ledger.database import Database
from tests.simulation.kit import an_empty_ledger
from tests.simulation.plan import Scenario, scenario
from tests.simulation.variant import PRODUCTION
from tests.simulation.world import Report, SimulatedJob, Worker, World
from tests.upgrade.program import Program, kit
from tests.upgrade.versions import Version

TWO_LOOKS: Final = 3  # the first schema whose program proves an absence by two looks, far enough back
MARKS_OF_KEYS: Final = 4  # the first whose program does not believe another account
TURNS_BEFORE_MAX: Final = 120  # of the old version alone
SWITCH: Final = 0.02  # per step: a process is started anew, as the other version


class MixedLedger:
    """The ledger as whoever hands out work finds it: the old version's before the upgrade, then either's."""

    def __init__(self, world: UpgradeWorld) -> None:
        self._world = world

    def claim(self, steps: list[Step], **asked: Any) -> list[Claim]:
        """Hand out what is due."""
        world = self._world
        if not world.is_upgraded or (not world.dice.is_calm and world.draw.random() < 0.5):
            return world.old.claim(steps, **asked)
        return world.new_ledger.claim(steps, **asked)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.new_ledger if self._world.is_upgraded else self._world.old.ledger, name)


class UpgradeWorld(World):
    """A world with two versions of the program in it."""

    def __init__(self, plan: Scenario, version: Version, *, keep_trace: bool = False) -> None:
        super().__init__(plan, PRODUCTION, keep_trace=keep_trace)
        self.old = Program(version, self.database)
        self.draw = random.Random(f"upgrade/{plan.provider}/{plan.seed}")
        self.old_kits = {job.id: kit(self.old, job, self) for job in self.jobs.values()}
        self.new_ledger, self.new_desk, self.new_overview = self.ledger, self.desk, self.overview
        self.is_old = {worker.name: True for worker in self.workers}
        self.steps_by = {True: 0, False: 0}  # of the old version, of the new one, while both were at work
        self._upgrade_turn = self.draw.randint(0, TURNS_BEFORE_MAX)
        self.is_upgraded = False
        empty(self.database)
        self.old.migrate()
        self.ledger = MixedLedger(self)  # type: ignore[assignment]
        self.desk, self.overview = self.old.desk, self.old.overview

    def run(self) -> Report:
        """Run the seed; leave the ledger as the next one expects it."""
        try:
            return super().run()
        finally:
            empty(self.database)
            with self.database.write() as transaction:
                migrations.migrate(transaction)

    def _open(self, job: SimulatedJob) -> None:
        policy = job.plan.policy
        facts = {"id": job.id, "name": "sim", "account": "one", "spec": "{}", "rounds_max": policy.attempts_max}
        self.old.desk.open(self.old.job(policy, **facts), len(job.source.shards), now=self.wall.now())

    def upgrade(self) -> None:
        """Let the new version open the ledger, and take half of the workers."""
        if self.is_upgraded:
            return
        self.trace.add("-- the new version opens the ledger")
        with self.database.write() as transaction:
            migrations.migrate(transaction)
        self.is_upgraded = True
        self.desk, self.overview = self.new_desk, self.new_overview
        for number, worker in enumerate(self.workers):
            self.is_old[worker.name] = number % 2 == 0
            if worker.is_busy and not self.is_old[worker.name]:
                self.kill(worker)
        self.may_be_due = True

    def _turn(self) -> None:
        if self.turns >= self._upgrade_turn or self.dice.is_calm:
            self.upgrade()
        super()._turn()

    def check_end(self, job: SimulatedJob) -> None:
        """Hold a job that has ended against the truth; the new version reads it."""
        self.upgrade()
        super().check_end(job)

    def _deliver(self, claim: Claim, worker: Worker) -> None:
        if self.dice.is_calm:
            self.is_old[worker.name] = False
        elif self.is_upgraded and self.draw.random() < SWITCH:
            self.is_old[worker.name] = not self.is_old[worker.name]
        if self.is_upgraded and not self.dice.is_calm:
            self.steps_by[self.is_old[worker.name]] += 1
        super()._deliver(claim, worker)

    def _perform(self, claim: Claim) -> None:
        if not self.is_old[self.switch.worker]:
            super()._perform(claim)
            return
        theirs = self.old.theirs(claim)
        step, names = self.old.steps[theirs.step]
        tools = self.old_kits[claim.unit.job_id]
        try:
            step(theirs, **{name: tools[name] for name in names})
        except self.old.lease_lost:
            self.trace.add(f"{self.switch.worker} yields, as the old version")


def empty(database: Database) -> None:
    """Take everything out of the ledger, its tables as well."""
    found = "select type, name from sqlite_master where name not like 'sqlite_%'"
    with database.write() as transaction:
        for kind in ("view", "index", "table"):
            names = [row[1] for row in transaction.exec_driver_sql(found).all() if row[0] == kind]
            for name in names:
                transaction.exec_driver_sql(f'drop {kind} "{name}"')


def upgraded(seed: int, provider: str, version: Version, *, keep_trace: bool = False) -> UpgradeWorld:
    """Run one seed with an upgrade in the middle; return the world as it ended."""
    an_empty_ledger()
    plan = scenario(seed, provider)
    if version.schema < TWO_LOOKS:
        # Its proof of an absence took one look, and it looked back ten minutes: a clock that is set spoils both. That
        # is mended since, and is not what is tried here.
        plan = replace(plan, mishaps=replace(plan.mishaps, jump=0.0))
    if version.schema < MARKS_OF_KEYS:
        plan = replace(plan, mishaps=replace(plan.mishaps, other_key=0.0))  # it believes whatever key is in
    world = UpgradeWorld(plan, version, keep_trace=keep_trace)
    try:
        world.run()
    except BaseException as error:
        error.add_note(f"replay: python -m tests.upgrade replay {version.schema} {provider} {seed}")
        if keep_trace:
            error.add_note("\n".join(world.trace.lines or ()))
        raise
    return world
