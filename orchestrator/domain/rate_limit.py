"""Rate limits: an account gets permits for a kind of call at a steady rate, within a limit per minute.

Rule: in any sixty seconds there are at most as many permits as the limit allows. Unused permits expire after a few
seconds, so that a caller that looks every few seconds still gets all of them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

MINUTE_S: Final = 60.0
KEPT_S: Final = 6.0  # how long unused permits are kept: a little longer than the time between two ticks of a beat


def permits(used_until: datetime, now: datetime, per_minute_max: int) -> int:
    """Return how many permits are available now, given the time up to which permits are used."""
    free = now - _counted_from(used_until, now, per_minute_max)
    return max(0, free // _spacing(per_minute_max))


def used(used_until: datetime, now: datetime, per_minute_max: int, taken: int) -> datetime:
    """Return the time up to which permits are used once `taken` more have been taken."""
    return _counted_from(used_until, now, per_minute_max) + taken * _spacing(per_minute_max)


def _spacing(per_minute_max: int) -> timedelta:
    # Kept permits may be used together with those of a whole minute: both must fit into the minute's limit.
    return timedelta(seconds=(MINUTE_S + KEPT_S) / per_minute_max)


def _counted_from(used_until: datetime, now: datetime, per_minute_max: int) -> datetime:
    kept = max(timedelta(seconds=KEPT_S), _spacing(per_minute_max))
    return max(used_until, now - kept)
