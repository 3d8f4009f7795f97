"""Chance that can be read back: every fault that happens is numbered, and a run can be told which of them to repeat.

Rule 1: a fault is the n-th chance of its kind. A run that is given the faults of another, all of them, is that run.
Rule 2: whether a fault happens is drawn here and nowhere else; what it looks like is drawn from the fault's own name,
        so that one fault more or less changes no other.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import NamedTuple


class Fault(NamedTuple):
    """The `number`-th chance of this kind, taken."""

    kind: str
    number: int

    def __str__(self) -> str:
        """Return it as it is written on a command line."""
        return f"{self.kind}:{self.number}"


def fault_of(text: str) -> Fault:
    """Return the fault that was written so."""
    kind, _, number = text.partition(":")
    return Fault(kind, int(number))


class Dice:
    """Faults by chance, or exactly those of a list."""

    def __init__(self, seed: str, *, only: Collection[Fault] | None = None) -> None:
        self._seed = seed
        self._chance = random.Random(f"dice/{seed}")
        self._counts: dict[str, int] = {}
        self._only = None if only is None else frozenset(only)
        self._last = Fault("", 0)
        self.is_calm = False  # from now on nothing goes wrong
        self.fired: list[Fault] = []

    def fires(self, kind: str, rate: float) -> bool:
        """Say whether a fault of this kind happens now."""
        if self.is_calm:
            return False
        number = self._counts[kind] = self._counts.get(kind, 0) + 1
        fires = self._chance.random() < rate if self._only is None else (kind, number) in self._only
        if fires:
            self._last = Fault(kind, number)
            self.fired.append(self._last)
        return fires

    def shape(self) -> random.Random:
        """Return the chance from which the fault that happened last takes its shape."""
        return random.Random(f"{self._seed}/{self._last}")
