"""The ledger's clock: due times and leases are compared with the database's time, not with this machine's.

Rule 1: all programs at one ledger use its database's time: they measure it from time to time, and extrapolate by a
        monotonic clock.
Rule 2: the error of a measurement is at most half its round trip; of several the quickest is kept.
Rule 3: while the database cannot be reached, the last measurement is used.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.domain.errors import LedgerError
from orchestrator.ledger.db.database import Database

REFRESH_S: Final = 30.0
RETRY_S: Final = 5.0  # after a measurement that failed
QUICK_S: Final = 0.05  # a shorter round trip needs no second try
TRIES_MAX: Final = 3
# It counts the time while the machine sleeps, which CLOCK_MONOTONIC does not; macOS has only the latter.
_STEADY: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_TIME: Final[sa.Select[Any]] = sa.select(sa.literal_column("clock_timestamp()"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The database's time when the monotonic clock read `steady_s`, correct to within `error_s`."""

    at: datetime
    steady_s: float
    error_s: float


class LedgerClock:
    """The `Clock` of one ledger; safe to use from many threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._refreshing = threading.Lock()
        self._reading: Reading | None = None
        self._stale_at_s = 0.0

    def now(self) -> datetime:
        """Return the time. Raises LedgerError where the database could not be asked even once."""
        if not self._database.is_shared:
            return datetime.now(UTC)
        reading = self._reading
        if reading is None:
            with self._refreshing:
                reading = self._reading or self._refresh()
        elif time.clock_gettime(_STEADY) >= self._stale_at_s and self._refreshing.acquire(blocking=False):
            try:
                reading = self._refresh()
            except LedgerError:
                self._stale_at_s = time.clock_gettime(_STEADY) + RETRY_S
            finally:
                self._refreshing.release()
        return reading.at + timedelta(seconds=time.clock_gettime(_STEADY) - reading.steady_s)

    def draw(self) -> float:
        """Return a uniform number in [0, 1)."""
        return random.random()  # noqa: S311 - jitter, not a secret

    def token(self) -> str:
        """Return 32 random hexadecimal digits."""
        return secrets.token_hex(16)

    def _refresh(self) -> Reading:
        self._reading = measure(self._database)
        self._stale_at_s = self._reading.steady_s + REFRESH_S
        return self._reading


def measure(database: Database) -> Reading:
    """Ask a PostgreSQL ledger for its time. Raises LedgerError."""
    best: Reading | None = None
    with database.read() as connection:
        connection.execute(_TIME)  # connect and begin first: neither is part of the round trip
        for _ in range(TRIES_MAX):
            begun_s = time.clock_gettime(_STEADY)
            answer: datetime = connection.execute(_TIME).scalar_one()
            error_s = (time.clock_gettime(_STEADY) - begun_s) / 2
            if best is None or error_s < best.error_s:
                best = Reading(at=answer.astimezone(UTC), steady_s=begun_s + error_s, error_s=error_s)
            if best.error_s < QUICK_S:
                break
    if best is None:
        raise LedgerError("the ledger's time was not measured")
    return best


def clock_skew_s(database: Database) -> float:
    """Return how far this machine's clock is ahead of the ledger's, seconds; 0 where they are the same clock."""
    if not database.is_shared:
        return 0.0
    reading = measure(database)
    passed_s = time.clock_gettime(_STEADY) - reading.steady_s
    return (datetime.now(UTC) - reading.at).total_seconds() - passed_s
