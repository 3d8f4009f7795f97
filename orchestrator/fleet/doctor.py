"""All checks of `orchestrator doctor`: those of a run, and of a fleet's broker where one is set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.api.doctor import examine
from orchestrator.storage.location import locate

if TYPE_CHECKING:
    from orchestrator.api.job import Job
    from orchestrator.domain.checks import Check

BROKER: Final = "ORCHESTRATOR_BROKER_URL"


def doctor(job: Job | str | None = None, *, work: str | Path | None = None) -> list[Check]:
    """Check all that a run depends on: key, address, proxy, model, clock, work folder, ledger, disk, broker.

    Creates and uploads nothing. A check that fails does not hide the others.

    Args:
        job: a Job as it would be run, or the id of one in the work folder; without it, every provider that has a key.

    Returns what was looked at, in the order of `orchestrator doctor`: each with a level ("ok", "warning", "error").
    """
    return list(checks(job, work))


def checks(job: Job | str | None, work: str | Path | None) -> Iterator[Check]:
    """Yield the checks one by one: some wait for a server."""
    yield from examine(job, None if work is None else locate(work), os.environ)
    if BROKER in os.environ:
        from orchestrator.fleet.checks import check_broker  # it needs the broker's client

        yield check_broker(os.environ[BROKER])
