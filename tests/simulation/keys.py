"""Which key a worker that begins a step has: as a rule the right one, for a while somebody else's, or a new one.

Rule: its dice are its own, so that seeds without such a while are what they were.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Final

from orchestrator.domain.model import Step
from tests.fakes.batches import HOME
from tests.fakes.clock import VirtualClock
from tests.fakes.credentials import OTHER, ROTATED
from tests.fakes.dice import Dice, Fault

KIND: Final = "other_key"
ELSEWHERE: Final = 0.05  # times as often with steps that look nothing up


class Keys:
    """The keys that are put into a world's workers."""

    def __init__(self, name: str, rate: float, clock: VirtualClock, *, only: Collection[Fault] | None) -> None:
        self.dice = Dice(f"keys/{name}", only=only)
        self._chance = random.Random(f"keys at the end/{name}")
        self._rate = rate
        self._clock = clock
        self._key, self._until_s = HOME, 0.0
        self._used = {HOME}

    def present(self, step: Step) -> str:
        """Return the key of a worker that begins this step now; a key is swapped above all where a create is in doubt.

        Once nothing goes wrong any more, some workers have one key and some another: what was sent with each must come
        to its end.
        """
        if self.dice.is_calm:
            return self._chance.choice(sorted(self._used)) if len(self._used) > 1 else HOME
        if self._clock.elapsed_s >= self._until_s:
            self._key = HOME
            if self.dice.fires(KIND, self._rate if step is Step.RECOVER else self._rate * ELSEWHERE):
                shape = self.dice.shape()
                self._key = shape.choice((OTHER, OTHER, ROTATED))
                self._until_s = self._clock.elapsed_s + 10 ** shape.uniform(2.0, 3.7)
                self._used.add(self._key)
        return self._key
