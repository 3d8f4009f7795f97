"""From a failing seed to the few faults that matter: runs it again with fewer and fewer of them.

Source: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002 (ddmin).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.domain.errors import OrchestratorError
from tests.fakes.dice import Fault
from tests.simulation.variant import PRODUCTION, Variant
from tests.simulation.world import simulate

CAUGHT: Final = (AssertionError, OrchestratorError)
RUNS_MAX: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrunk:
    """What is left of a failure."""

    provider: str
    seed: int
    faults: tuple[Fault, ...]
    was: int  # faults before
    runs: int
    words: str

    @property
    def command(self) -> str:
        """The command that replays it."""
        faults = ",".join(map(str, self.faults))
        return f"python -m tests.simulation replay {self.provider} {self.seed} --faults '{faults}'"


def failure(
    seed: int, provider: str, *, variant: Variant = PRODUCTION, only: Sequence[Fault] | None = None
) -> tuple[str, list[Fault]] | None:
    """Run a seed; return what broke and the faults that had happened by then, or None where nothing broke."""
    try:
        simulate(seed, provider, variant=variant, only=only)
    except CAUGHT as error:
        return f"{type(error).__name__}: {error}", list(getattr(error, "faults", ()))
    return None


def shrink(seed: int, provider: str, *, variant: Variant = PRODUCTION, runs_max: int = RUNS_MAX) -> Shrunk | None:
    """Return the fewest faults found with which the seed still fails, in any way; None where it does not fail."""
    found = failure(seed, provider, variant=variant)
    if found is None:
        return None
    runs, words = 1, found[0]

    def fails(faults: Sequence[Fault]) -> bool:
        nonlocal runs, words
        runs += 1
        again = failure(seed, provider, variant=variant, only=faults) if runs <= runs_max else None
        if again is not None:
            words = again[0]
        return again is not None

    faults = fewest(found[1], fails)
    return Shrunk(provider=provider, seed=seed, faults=tuple(faults), was=len(found[1]), runs=runs, words=words)


def fewest(faults: list[Fault], fails: Callable[[Sequence[Fault]], bool]) -> list[Fault]:
    """Return a subset of `faults` that still fails, and from which no single one can be left out."""
    if fails([]):
        return []
    pieces = 2
    while len(faults) >= 2:
        size = -(-len(faults) // pieces)
        for start in range(0, len(faults), size):
            rest = faults[:start] + faults[start + size :]
            if fails(rest):
                faults, pieces = rest, max(2, pieces - 1)
                break
        else:
            if size == 1:
                break
            pieces = min(len(faults), 2 * pieces)
    return faults
