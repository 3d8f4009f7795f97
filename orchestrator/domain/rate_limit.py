"""How many calls of a kind an account may make now: turns that come at a steady pace, and no minute has too many.

Rule: in any sixty seconds there are at most so many turns as are allowed in a minute. Turns that nobody took are lost
but for those of the last few seconds, so that who looks only now and then still gets all of them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

MINUTE_S: Final = 60.0
KEPT_S: Final = 6.0  # a little longer than a beat takes from look to look


def permits(used_until: datetime, now: datetime, per_minute_max: int) -> int:
    """Return how many turns there are now, given until when they have been used up."""
    free = now - _counted_from(used_until, now, per_minute_max)
    return max(0, free // _spacing(per_minute_max))


def used(used_until: datetime, now: datetime, per_minute_max: int, taken: int) -> datetime:
    """Return until when turns are used up once so many more have been taken."""
    return _counted_from(used_until, now, per_minute_max) + taken * _spacing(per_minute_max)


def _spacing(per_minute_max: int) -> timedelta:
    # What was kept may be used together with a whole minute's: both must fit into the minute.
    return timedelta(seconds=(MINUTE_S + KEPT_S) / per_minute_max)


def _counted_from(used_until: datetime, now: datetime, per_minute_max: int) -> datetime:
    kept = max(timedelta(seconds=KEPT_S), _spacing(per_minute_max))
    return max(used_until, now - kept)
