"""The beat sends a tick every few seconds. Several beats may run: a tick only makes a worker look for due work."""

from __future__ import annotations

from typing import Any, Final

from celery.beat import Scheduler

from orchestrator.fleet.presence import Loop

LOOP: Final = Loop()
WAIT_S_MAX: Final = 5


class TickScheduler(Scheduler):
    """Celery's scheduler without its state file: its only entry is in the configuration."""

    max_interval = WAIT_S_MAX

    def setup_schedule(self) -> None:
        """Read the entry, and make it due at once: after a restart the first tick must not wait."""
        super().setup_schedule()
        for entry in self.schedule.values():
            every: Any = entry.schedule
            entry.last_run_at -= every.run_every

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due, and record that the loop runs."""
        LOOP.turn()
        return float(super().tick(*args, **kwargs))
