"""What the triggerer does while a task is deferred: it waits, or looks at the ledger; it sends nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

import orchestrator


class JobTrigger(BaseTrigger):
    """Fires when a job of a fleet has ended or needs a person, or when it is time to work on a local one again.

    Args:
        job_id, work: the job, and where its work folder is.
        on: "local" or "fleet".
        poll_interval: seconds between two looks at the ledger.
        look_at: for a local job: when its task goes on, in seconds since 1970.
        deadline: when to give up waiting, in seconds since 1970; None waits as long as it takes.
        cancel_on_kill: whether the job is cancelled where a person clears or marks the deferred task.
    """

    def __init__(
        self,
        *,
        job_id: str,
        work: str,
        on: str,
        poll_interval: float,
        look_at: float,
        deadline: float | None,
        cancel_on_kill: bool,
    ) -> None:
        super().__init__()
        self.kept = {
            "job_id": job_id,
            "work": work,
            "on": on,
            "poll_interval": poll_interval,
            "look_at": look_at,
            "deadline": deadline,
            "cancel_on_kill": cancel_on_kill,
        }
        self.job_id = job_id
        self.work = work
        self.on = on
        self.poll_interval = poll_interval
        self.look_at = look_at
        self.deadline = deadline
        self.cancel_on_kill = cancel_on_kill

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what a triggerer makes this trigger from again."""
        return "batch_orchestrator_airflow.trigger.JobTrigger", self.kept

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire once; what has happened is for the task to find out."""
        while not self.is_late() and not await self._is_due():
            await asyncio.sleep(self.poll_interval)
        yield TriggerEvent({"job_id": self.job_id, "work": self.work, "is_late": self.is_late()})

    def is_late(self) -> bool:
        """Whether the task has waited as long as it may."""
        return self.deadline is not None and time.time() >= self.deadline

    async def _is_due(self) -> bool:
        if self.on == "local":
            return time.time() >= self.look_at
        look = await asyncio.to_thread(self._look)
        return look.has_ended or bool(look.decision) or look.activity in ("needs you", "stopped")

    def _look(self) -> orchestrator.Look:
        return orchestrator.open_job(self.job_id, work=self.work).status().look

    async def on_kill(self) -> None:
        """Cancel the job: a person has cleared or marked the deferred task. Called by Airflow 3.3 and later."""
        if self.cancel_on_kill:
            await asyncio.to_thread(self._cancel)

    def _cancel(self) -> None:
        orchestrator.open_job(self.job_id, work=self.work).cancel(progress=False)
