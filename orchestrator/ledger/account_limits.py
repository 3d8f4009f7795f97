"""What the ledger learns of an account from refusals: its pauses, and how many batches fit its queue.

Rule: the account's row is locked by the caller (see `locks`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.domain.changes import AccountPaused, AccountProved
from orchestrator.domain.model import ChunkState
from orchestrator.ledger.db.schema import accounts, chunks

A, C = accounts.c, chunks.c
_SENDING: Final = (ChunkState.PLANNED, ChunkState.UPLOADED, ChunkState.SUBMITTING)
PAUSE_MAX: Final = timedelta(hours=1)
FORGOTTEN_AFTER: Final = timedelta(hours=2)  # a pause that ended so long ago makes the next one no longer
GROWS_EVERY: Final = timedelta(minutes=10)  # one more batch is tried, once a queue was full


def pause(tx: sa.Connection, change: AccountPaused, now: datetime) -> bool:
    """Pause creates on this account; twice as long as the last time, where that was a short while ago.

    Returns whether a pause has begun: of several refusals at once the first begins it.
    """
    known = tx.execute(sa.select(A.paused_until, A.pause_count).where(A.name == change.account)).one()
    until, count = change.until, known.pause_count
    begins = bool(known.paused_until <= now)
    if begins:  # several creates may be refused at once: that is one pause
        count = count + 1 if known.paused_until > now - FORGOTTEN_AFTER else 1
        until = now + min(PAUSE_MAX, (change.until - now) * 2 ** min(count - 1, 8))
    values: dict[str, Any] = {"paused_until": until, "pause_count": count, "pause_reason": change.reason}
    values |= {"needs_person": change.needs_person, "is_probing": True}
    tx.execute(sa.update(accounts).where(A.name == change.account).values(**values))
    return begins


def is_probing(tx: sa.Connection, account: str) -> bool:
    """Return whether no create has succeeded since the account's last pause: then one step at a time may be tried."""
    return bool(tx.execute(sa.select(A.is_probing).where(A.name == account)).scalar())


def probes(tx: sa.Connection, account: str, now: datetime) -> int:
    """Return how many steps that send may be handed out while an account is probed: none beside one under way."""
    busy = (C.account == account, C.state.in_(_SENDING), C.lease_until > now)
    return int(tx.execute(sa.select(C.id).where(*busy).limit(1)).first() is None)


def proved(tx: sa.Connection, change: AccountProved) -> None:
    """End the probing of an account, by a create that was sent after its last pause."""
    ended = (A.name == change.account, A.is_probing, A.paused_until <= change.sent_at)
    tx.execute(sa.update(accounts).where(*ended).values(is_probing=False))


def learn(tx: sa.Connection, account: str, in_flight_max: int, now: datetime) -> None:
    """Record that the account's queue is full with so many batches."""
    learned = capacity(tx, account, now)
    lowest = in_flight_max if learned is None else min(in_flight_max, learned)
    values = {"in_flight_max": max(1, lowest), "learned_at": now}
    tx.execute(sa.update(accounts).where(A.name == account).values(**values))


def capacity(tx: sa.Connection, account: str, now: datetime) -> int | None:
    """Return how many batches the account's queue takes at present, by what was learned; None: no limit is known."""
    known = tx.execute(sa.select(A.in_flight_max, A.learned_at).where(A.name == account)).one_or_none()
    if known is None or known.in_flight_max is None:
        return None
    grown: int = max(0, (now - known.learned_at) // GROWS_EVERY)
    return int(known.in_flight_max) + grown


def pause_words(row: sa.RowMapping) -> str:
    """Return why a paused account may not send, and until when, where it goes on by itself."""
    until = (
        ""
        if row["needs_person"]
        else f" (next try: {row['paused_until']:%Y-%m-%d %H:%M} UTC, or when you run it again)"
    )
    return f"{row['pause_reason']}{until}"
