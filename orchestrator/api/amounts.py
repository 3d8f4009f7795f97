"""Numbers and times as people read them; amounts of money: `orchestrator.domain.money`."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR


def counted(count: int, one: str, more: str) -> str:
    """Return a number with its noun."""
    return f"{count:,} {one if count == 1 else more}"


def span(time: timedelta) -> str:
    """Return a time as people say it: 0:52, 14 min, 11 h 12, 3 d 4 h."""
    seconds = max(0, int(time.total_seconds()))
    if seconds < 10 * MINUTE:
        return f"{seconds // MINUTE}:{seconds % MINUTE:02d}"
    if seconds < HOUR:
        return f"{seconds // MINUTE} min"
    if seconds < 2 * DAY:
        return f"{seconds // HOUR} h {seconds % HOUR // MINUTE:02d}"
    return f"{seconds // DAY} d {seconds % DAY // HOUR} h"
