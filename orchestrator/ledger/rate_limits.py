"""The used permits of each account's polls and creates: written by claims, and by a 429 with Retry-After.

Rule 1: it is stored in `meta`, one row for each account and kind of call that ever had a limit. No guarantee depends
        on it: if it is lost, a few calls too many are made.
Rule 2: on PostgreSQL its row is locked after the account's and before the job's (see `locks`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final

import sqlalchemy as sa

from orchestrator.domain import rate_limit
from orchestrator.domain.model import ACTIVE_JOBS
from orchestrator.domain.policy import Policy
from orchestrator.ledger.db import rows
from orchestrator.ledger.db.locks import add_new, has_row_locks
from orchestrator.ledger.db.schema import EPOCH, jobs, meta

_MICROSECOND: Final = timedelta(microseconds=1)
_POLICIES: Final = (
    sa.select(jobs.c.account, jobs.c.policy).where(jobs.c.state.in_([state.value for state in sorted(ACTIVE_JOBS)]))
).distinct()
_WRITTEN: Final = sa.select(meta.c.key, meta.c.value).where(meta.c.key.in_(sa.bindparam("keys", expanding=True)))
_KNOWN: Final = sa.select(meta.c.value).where(meta.c.key == sa.bindparam("mine"))


class Call(StrEnum):
    """A kind of call with a limit per minute."""

    POLL = "polls"
    CREATE = "creates"


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """An account's calls of one kind: until when its permits are used, and the limit per minute (None: no limit)."""

    used_until: datetime
    per_minute_max: int | None = None

    def permits(self, now: datetime, limit: int) -> int:
        """Return how many calls may be made now, up to `limit`."""
        if self.per_minute_max is None:
            return 0 if self.used_until > now else limit
        return min(limit, rate_limit.permits(self.used_until, now, self.per_minute_max))

    def next_at(self, now: datetime) -> datetime | None:
        """Return when the next call may be made; None: now."""
        if self.permits(now, 1):
            return None
        limit = self.per_minute_max
        return self.used_until if limit is None else rate_limit.used(self.used_until, now, limit, 1)


class RateLimits:
    """The rate limits of all accounts with a job, for calls of one kind; rows with a limit are locked."""

    def __init__(self, tx: sa.Connection, call: Call, now: datetime) -> None:
        self._tx, self._call, self._now = tx, call, now
        self._of = rate_limits_of(tx, call)
        limited = [account for account, known in self._of.items() if known.per_minute_max is not None]
        if limited:
            lock_rate_limits(tx, call, limited)
            if has_row_locks(tx):  # another transaction may have used permits before the lock
                self._of = rate_limits_of(tx, call)

    def permits(self, limit: int) -> dict[str, int]:
        """Return how many calls each account may make now, up to `limit`."""
        return {account: known.permits(self._now, limit) for account, known in self._of.items()}

    def take(self, account: str, count: int) -> None:
        """Use this many permits of an account."""
        known = self._of[account]
        if count and known.per_minute_max is not None:
            use_until(
                self._tx, self._call, account, rate_limit.used(known.used_until, self._now, known.per_minute_max, count)
            )


def lock_rate_limits(tx: sa.Connection, call: Call, accounts: Collection[str]) -> None:
    """Insert the accounts' rows where missing, and lock them until the transaction ends."""
    keys = [_key(call, account) for account in sorted(accounts)]
    for key in keys:
        add_new(tx, meta, {"key": key, "value": "0"})
    if has_row_locks(tx) and keys:
        tx.execute(sa.select(meta.c.key).where(meta.c.key.in_(keys)).order_by(meta.c.key).with_for_update())


def use_until(tx: sa.Connection, call: Call, account: str, used_until: datetime) -> None:
    """Write the time up to which an account's permits are used, unless a later one is stored; its row is locked."""
    key = _key(call, account)
    if _moment(tx.execute(_KNOWN, {"mine": key}).scalar_one()) < used_until:
        value = str((used_until - EPOCH) // _MICROSECOND)
        tx.execute(sa.update(meta).where(meta.c.key == key).values(value=value))


def rate_limits_of(tx: sa.Connection, call: Call) -> dict[str, RateLimit]:
    """Return the rate limits of the accounts of jobs that have not ended; of several limits the lowest counts."""
    found: dict[str, RateLimit] = {}
    for account, policy in tx.execute(_POLICIES):
        known = found.get(account) or RateLimit(used_until=EPOCH)
        limits = [limit for limit in (known.per_minute_max, _limit(policy, call)) if limit is not None]
        found[account] = replace(known, per_minute_max=min(limits, default=None))
    of_key = {_key(call, account): account for account in found}
    for key, value in tx.execute(_WRITTEN, {"keys": list(of_key)}):
        found[of_key[key]] = replace(found[of_key[key]], used_until=_moment(value))
    return found


def _key(call: Call, account: str) -> str:
    return f"{call.value}/{account}"


def _moment(value: str) -> datetime:
    return EPOCH + int(value) * _MICROSECOND


def _limit(policy: str, call: Call) -> int | None:
    found = _policy(policy)
    return found.polls_per_minute_max if call is Call.POLL else found.creates_per_minute_max


@lru_cache(maxsize=256)  # each claim reads the policy, which seldom changes
def _policy(text: str) -> Policy:
    return rows.policy_of(text)
