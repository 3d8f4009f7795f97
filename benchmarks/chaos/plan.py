"""What goes wrong in a run, and when: drawn from a seed, the same for the same seed.

Rule: an event waits for a share of the job's chunks, not for a time, so that it lands in the middle of the work on a
fast machine and on a slow one.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Kind(StrEnum):
    """What can go wrong."""

    KILL_WORKER = "kill worker"
    KILL_BEAT = "kill beat"
    KILL_BROKER = "kill broker"
    FLUSH = "flush"
    FREEZE_WORKER = "freeze worker"
    BLACK_HOLE = "black hole"
    KILL_DATABASE = "kill database"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that goes wrong, once."""

    kind: Kind
    at_share: float  # of the chunks that are collected; where creates are what is hit, of those that are sent
    host: int  # 0 or 1: whose worker, beat or connection
    lasts_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """How often a kind comes in one run, and how long it lasts."""

    count: int
    s_min: float = 0.0
    s_max: float = 0.0


FULL: Final[Mapping[Kind, Trouble]] = MappingProxyType(
    {
        Kind.KILL_WORKER: Trouble(count=4, s_max=2.0),
        Kind.KILL_BEAT: Trouble(count=1, s_max=5.0),
        Kind.KILL_BROKER: Trouble(count=2, s_max=3.0),
        Kind.FLUSH: Trouble(count=2),
        # Longer than a create may last and than a lease: others take over, and then it wakes up.
        Kind.FREEZE_WORKER: Trouble(count=1, s_min=20.0, s_max=20.0),
        Kind.BLACK_HOLE: Trouble(count=1, s_min=5.0, s_max=10.0),
    }
)
DATABASE: Final = Trouble(count=2, s_max=2.0)
SHORT: Final[Mapping[Kind, Trouble]] = MappingProxyType(
    {
        Kind.KILL_WORKER: Trouble(count=1, s_max=0.5),
        Kind.KILL_BROKER: Trouble(count=1, s_max=0.5),
    }
)
SHARES: Final = (0.02, 0.85)


def draw_plan(seed: int, troubles: Mapping[Kind, Trouble] = FULL) -> list[Event]:
    """Return the events of a seed, in order."""
    chance = random.Random(seed)
    events = [
        Event(
            kind=kind,
            at_share=chance.uniform(*SHARES),
            host=chance.randrange(2),
            lasts_s=chance.uniform(trouble.s_min, trouble.s_max),
        )
        for kind, trouble in sorted(troubles.items())
        for _ in range(trouble.count)
    ]
    return sorted(events, key=lambda event: event.at_share)
