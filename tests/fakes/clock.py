"""The `Clock` of a simulation: time moves when it is told to, chance comes from a seed.

`VirtualClock` is the time as it is; `WallClock` is what a machine takes for it, and may be set at any moment.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualClock:
    """Time that only ever moves forward, by `advance`."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._now = BEGINNING

    def now(self) -> datetime:
        """Return the time."""
        return self._now

    def draw(self) -> float:
        """Return a uniform number in [0, 1)."""
        return self._chance.random()

    def token(self) -> str:
        """Return 32 hexadecimal digits."""
        return f"{self._chance.getrandbits(128):032x}"

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        assert seconds >= 0
        self._now += timedelta(seconds=seconds)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return (self._now - BEGINNING).total_seconds()


class WallClock:
    """The clock on a machine's wall: the true time, and whatever somebody has set it off by."""

    def __init__(self, truth: VirtualClock) -> None:
        self._truth = truth
        self._ahead = timedelta()

    def now(self) -> datetime:
        """Return the time, as far as this machine knows."""
        return self._truth.now() + self._ahead

    def draw(self) -> float:
        """Return a uniform number in [0, 1)."""
        return self._truth.draw()

    def token(self) -> str:
        """Return 32 hexadecimal digits."""
        return self._truth.token()

    @property
    def ahead_s(self) -> float:
        """How far it is ahead of the true time."""
        return self._ahead.total_seconds()

    def jump(self, seconds: float) -> None:
        """Set the clock forward, or back."""
        self._ahead += timedelta(seconds=seconds)
