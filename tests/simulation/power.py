"""What happens to the machine itself: its power fails, and its clock is set.

Rule 1: after a power loss the ledger stands at its last durable commit, which is its last (`synchronous=FULL`); a
        variant may forget some.
Rule 2: the clock is set forward at most once in three hours: two waits in a row are not both cut short. It is never
        more than a day wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.simulation.world import World

HOUR_S: Final = 3_600.0
FORWARD_S: Final = (60.0, HOUR_S, 24 * HOUR_S)
BACK_S: Final = (-60.0, -HOUR_S)
FORWARD_APART_S: Final = 3 * HOUR_S
AHEAD_S_MAX: Final = 25 * HOUR_S
COMMITS_APART: Final = 5  # of those that a forgetful ledger has safe


class Power:
    """The machine that a world's workers run on."""

    def __init__(self, world: World, *, forgets_commits: bool) -> None:
        self._world = world
        self._forgets_commits = forgets_commits
        self._commits = 0
        self._safe: bytes | None = None
        self._forward_at_s = -FORWARD_APART_S

    def note_commit(self) -> None:
        """Note that something was committed."""
        if self._forgets_commits:
            self._commits += 1
            if self._commits % COMMITS_APART == 0:
                self._safe = self._world.oracle.connection.serialize()

    def fail(self) -> None:
        """Kill everybody; lose what was not safe."""
        world = self._world
        for worker in world.workers:
            if worker.is_busy:
                world.kill(worker)
                world.crashes += 1
        disks = [disk for job in world.jobs.values() for disk in (job.job_files, job.output)]
        lost = [name for disk in disks for name in disk.lose_power(world.dice)]
        if self._safe is not None:
            world.oracle.connection.deserialize(self._safe)
            world.oracle.forget_answers()
        world.trace.add(f"the power fails: lost {lost}")
        for job in world.jobs.values():
            world.oracle.published(job)

    def set_clock(self) -> None:
        """Set the clock forward, or back."""
        world = self._world
        chance = world.dice.shape()
        may_go_forward = world.clock.elapsed_s - self._forward_at_s >= FORWARD_APART_S
        seconds = chance.choice(FORWARD_S + BACK_S if may_go_forward else BACK_S)
        if abs(world.wall.ahead_s + seconds) > AHEAD_S_MAX:
            return
        if seconds > 0:
            self._forward_at_s = world.clock.elapsed_s
        world.wall.jump(seconds)
        world.may_be_due = True
        world.trace.add(f"the clock is set by {seconds:+.0f} s")
