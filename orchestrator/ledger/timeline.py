"""Reads what has happened to a job."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from orchestrator.domain.model import JobId
from orchestrator.domain.timeline import LedgerEvent
from orchestrator.ledger.db import rows
from orchestrator.ledger.db.schema import events as table

E = table.c


def events(
    connection: sa.Connection,
    job_id: JobId,
    *,
    after: int = 0,
    before: int | None = None,
    limit: int = 1_000,
    newest: bool = False,
    without: Collection[str] = (),
) -> Sequence[tuple[int, LedgerEvent]]:
    """Return events of a job between two numbers of events, in order: the first ones there, or the newest.

    Args:
        without: names of events that are passed over.
    """
    query = sa.select(table).where(E.job_id == job_id, E.id > after)
    if before is not None:
        query = query.where(E.id < before)
    if without:
        query = query.where(E.name.not_in(without))
    found = connection.execute(query.order_by(E.id.desc() if newest else E.id).limit(limit)).mappings().all()
    return [(row["id"], rows.event_of(row)) for row in (reversed(found) if newest else found)]
