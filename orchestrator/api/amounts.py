"""Numbers as people read them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Final

CENT: Final = Decimal("0.01")
MICRO: Final = Decimal("0.000001")
MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR


def counted(count: int, one: str, more: str) -> str:
    """Return a number with its noun."""
    return f"{count:,} {one if count == 1 else more}"


def usd(amount: Decimal) -> str:
    """Return an amount: two decimals, below 1 four, below a cent six."""
    if not amount:
        return "0.00"
    if amount < MICRO:
        return f"{amount:.9f}"
    return f"{amount:,.2f}" if amount >= 1 else f"{amount:.4f}" if amount >= CENT else f"{amount:.6f}"


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
