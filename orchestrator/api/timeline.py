"""A job's batches, and what has happened to it: what `orchestrator batches` and `orchestrator log` print."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Final

from orchestrator.engine.opening import opened_workspace

if TYPE_CHECKING:
    import threading

    from orchestrator.api.handle import JobHandle
    from orchestrator.domain.look import Look
    from orchestrator.domain.timeline import Batch, LedgerEvent

FOLLOW_S: Final = 1.0
PAGE: Final = 1_000


def look(handle: JobHandle) -> Look:
    """Return a look at a job."""
    with opened_workspace(handle.work) as workspace:
        return workspace.look(handle.job_id)


def batches(handle: JobHandle) -> list[Batch]:
    """Return a job's batches: those that need a person first, then by how far they are, the oldest first."""
    with opened_workspace(handle.work) as workspace:
        return workspace.snapshot.batches(handle.job_id)


def events(handle: JobHandle, *, newest: int | None = None, without: Collection[str] = ()) -> Iterator[LedgerEvent]:
    """Yield what happened to a job, in order.

    Args:
        newest: only so many, the newest; None: all.
        without: names of events that are passed over.
    """
    with opened_workspace(handle.work) as workspace:
        workspace.ledger.job(handle.job_id)
        if newest is not None:
            found = workspace.admin.events(handle.job_id, limit=newest, newest=True, without=without)
            yield from (one for _, one in found)
            return
        after = 0
        while page := workspace.admin.events(handle.job_id, after=after, limit=PAGE, without=without):
            yield from (one for _, one in page)
            after = page[-1][0]


def follow(
    handle: JobHandle, stop: threading.Event, *, newest: int, without: Collection[str] = ()
) -> Iterator[LedgerEvent]:
    """Yield the newest events, then each new one, until `stop` is set or the job has ended.

    Args:
        without: as of `events`.
    """
    with opened_workspace(handle.work) as workspace:
        page, after = workspace.admin.events(handle.job_id, limit=newest, newest=True, without=without), 0
        while True:
            yield from (one for _, one in page)
            after = page[-1][0] if page else after
            has_ended = workspace.look(handle.job_id).has_ended
            page = workspace.admin.events(handle.job_id, after=after, limit=PAGE, without=without)
            if not page and (has_ended or stop.wait(FOLLOW_S)):
                return
