"""The `Clock` of a simulation: time moves when it is told to, chance comes from a seed."""

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
