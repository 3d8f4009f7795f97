"""Time, as an argument: the server asks its clock, so that a test can say what time it is."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What the server needs of time."""

    def now(self) -> float:
        """Return the time in unix seconds."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Return after `delay_s` seconds of this clock."""
        ...


class WallClock:
    """The time of this machine. Not monotonic time: a batch must end on time across a restart."""

    def now(self) -> float:
        return time.time()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
