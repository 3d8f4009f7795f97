"""The beat: sends a tick every few seconds. As many may run as you like: a tick only asks what is due."""

from __future__ import annotations

from typing import Any, Final

from celery.beat import Scheduler

from orchestrator.fleet.presence import Loop

LOOP: Final = Loop()
WAIT_S_MAX: Final = 5


class TickScheduler(Scheduler):
    """Celery's scheduler without its file: the one entry is in the configuration, and nothing is to be remembered."""

    max_interval = WAIT_S_MAX

    def setup_schedule(self) -> None:
        """Read the entry, and let it be due at once: after a crash of everything the first tick is waited for."""
        super().setup_schedule()
        for entry in self.schedule.values():
            every: Any = entry.schedule
            entry.last_run_at -= every.run_every

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due, and note that the loop turns."""
        LOOP.turn()
        return float(super().tick(*args, **kwargs))
