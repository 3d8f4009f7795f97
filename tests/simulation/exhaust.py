"""Every crash, and every pair of crashes, of two workers who always have the same chunk, at every outcome of a create.

Rule 1: nothing is left to chance: the workers take turns, and die at the points they are told to.
Rule 2: a point is a moment at which a worker that submits or recovers could be stopped: before a call, or after it.
        A schedule ends once the create is settled: what follows it is polled and collected as always.
Rule 3: `whole` counts the points of every step, from the plan to the seal, and goes on to the job's end; there it is
        the power that fails, and everything goes that the disk had not synced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa

from orchestrator.domain import recovery
from orchestrator.domain.model import ChunkState, Step
from orchestrator.domain.policy import Policy
from tests.fakes.dice import Fault
from tests.fakes.faults import CALM
from tests.simulation import flawed_steps
from tests.simulation.plan import BYTES_MAX, PAUSE_S_MAX, PRICE, JobPlan, Mishaps, Scenario
from tests.simulation.shrink import CAUGHT
from tests.simulation.variant import PRODUCTION, Variant, altered
from tests.simulation.world import LEASE_S, Worker, World

POINTS_MAX: Final = 70
OUTCOMES: Final = MappingProxyType(
    {
        "made": (),
        "refused": (Fault("refused", 1),),
        "lost before": (Fault("lost_before", 1),),
        "lost after": (Fault("lost_after", 1),),
        "late": (Fault("late", 1),),
    }
)
UNSYNCED_LOST: Final = tuple(Fault("unsynced_lost", number) for number in range(1, 100))
SETTLED: Final = f"('{ChunkState.SUBMITTED}', '{ChunkState.ENDED}', '{ChunkState.COLLECTED}', '{ChunkState.FAILED}')"
UNSETTLED: Final = f"select count(*) from chunks where state not in {SETTLED}"
CHUNKS: Final = "select count(*) from chunks"


def _plan(provider: str) -> Scenario:
    rows = {"number": pa.array([0, 1, 2], pa.int64()), "text": pa.array(["a", "b", "c"], pa.string())}
    job = JobPlan(
        number=0,
        tables=(pa.table(rows),),
        knows_counts=True,
        policy=Policy(chunk_requests_max=3, chunk_bytes_max=BYTES_MAX, poll_s_min=240.0, poll_s_max=1_200.0),
        price=PRICE,
        cancel_at_s=None,
        retries=0,
    )
    return Scenario(
        seed=0,
        provider=provider,
        jobs=(job,),
        provider_requests_max=3,
        rates=CALM,
        mishaps=Mishaps(),
        pause_s_max=PAUSE_S_MAX,
        faults_until_s=20_000.0,
        workers=2,
        slice_rows=8,
        turns_max=15_000,
    )


class Duel(World):
    """Two workers, one chunk."""

    def __init__(self, provider: str, outcome: str, crashes: Sequence[int], variant: Variant, *, whole: bool) -> None:
        super().__init__(_plan(provider), variant, only=(*OUTCOMES[outcome], *UNSYNCED_LOST))
        self._crash_at = frozenset(crashes)
        self._whole = whole
        self.points = 0

    def _chosen(self, awake: list[Worker]) -> Worker:
        return awake[self.permits % len(awake)]

    def _let_run(self, worker: Worker) -> None:
        counts = self._whole or (worker.claim is not None and worker.claim.step in (Step.SUBMIT, Step.RECOVER))
        if counts:
            self.points += 1
            if self.points in self._crash_at:
                self._fail(worker)
                return
        super()._let_run(worker)

    def _fail(self, worker: Worker) -> None:
        if not self._whole:
            self.kill(worker)
            return
        self.power.fail()
        self._judge()

    def _hand_out(self) -> None:
        self._writes = self._record_count()
        self.may_be_due = False
        if any(worker.is_busy for worker in self.workers):
            return
        steps = self.oracle.due_steps(self.wall.now().timestamp())
        claims = self.ledger.claim(steps, limit=1, now=self.wall.now(), lease_s=LEASE_S) if steps else []
        for worker in self.workers if claims else ():
            self._deliver(claims[0], worker)
        self._writes = self._record_count()

    def _jump(self) -> None:
        super()._jump()
        if self._must_review and not self._whole:
            self.clock.advance(60)

    def _is_over(self) -> bool:
        if self._whole:
            return super()._is_over()
        if any(worker.is_busy for worker in self.workers) or self.provider.late:
            return False
        if not self.oracle.first(CHUNKS) or self.oracle.first(UNSETTLED):
            return False
        self.oracle.after_event()
        return True


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of the schedules."""

    schedules: int = 0
    points: int = 0  # of the longest
    failed: list[str] = field(default_factory=list)
    by_outcome: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Count what another has counted."""
        self.schedules += other.schedules
        self.points = max(self.points, other.points)
        self.failed += other.failed
        self.by_outcome += other.by_outcome

    def told(self) -> dict[str, Any]:
        """Return the figures as they are printed."""
        return {
            "schedules": self.schedules,
            "points": self.points,
            "failed": len(self.failed),
            "first_failed": self.failed[:3],
            "failed_by_outcome": dict(self.by_outcome),
        }


def schedules(points_max: int, *, pairs: bool) -> Iterator[tuple[int, ...]]:
    """Return no crash, every single one, and where `pairs`, every two."""
    yield ()
    points = range(1, points_max + 1)
    yield from ((point,) for point in points)
    if pairs:
        yield from combinations(points, 2)


def points_of(provider: str, outcome: str) -> int:
    """Return how many points the whole of a job has where nobody dies."""
    duel = Duel(provider, outcome, (), PRODUCTION, whole=True)
    duel.run()
    return duel.points


def run_schedules(
    provider: str,
    outcome: str,
    crashes: Sequence[tuple[int, ...]],
    *,
    variant: Variant = PRODUCTION,
    whole: bool = False,
) -> Tally:
    """Run these schedules at one class and one outcome of the first create."""
    tally = Tally()
    with variant.altered():
        for points in crashes:
            tally.schedules += 1
            duel = Duel(provider, outcome, points, variant, whole=whole)
            try:
                duel.run()
            except CAUGHT as error:
                tally.failed.append(f"{provider} {outcome} {points}: {error}")
                tally.by_outcome[outcome] += 1
            tally.points = max(tally.points, duel.points)
    return tally


LISTS_AT_ONCE: Final = Variant(
    name="lists at once", altered=altered((recovery, "decide", flawed_steps.absent_at_once))
)  # the negative control: it takes one empty list for a proof

Block = tuple[str, str, list[tuple[int, ...]], bool, bool]  # class, outcome, schedules, whole, negative


def run_block(given: Block) -> Tally:
    """Run some schedules of one outcome, as a process of several does."""
    provider, outcome, crashes, whole, negative = given
    variant = LISTS_AT_ONCE if negative else PRODUCTION
    return run_schedules(provider, outcome, crashes, variant=variant, whole=whole)
