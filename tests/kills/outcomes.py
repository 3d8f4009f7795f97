"""What a campaign of kills came to: how many trials, what did not hold, and the figures that were measured."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from orchestrator.domain.errors import OrchestratorError

TELL_EVERY: Final = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One kill, or one fault, and what became of the job."""

    name: str  # how to tell it from the others, and to do it again
    failure: str = ""
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True, kw_only=True)
class Campaign:
    """Trials of one kind."""

    name: str
    trials: int = 0
    failures: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    figures: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    is_told: bool = field(default_factory=lambda: "KILLS_TOLD" in os.environ)  # how it goes, meanwhile

    def add(self, trial: Trial) -> None:
        """Count a trial."""
        self.trials += 1
        self.counts.update(trial.counts)
        if trial.failure:
            self.failures.append(f"{trial.name}: {trial.failure}")
        if self.is_told and (trial.failure or self.trials % TELL_EVERY == 0):
            sys.stderr.write(
                f"{self.name}: {self.trials} tried, {len(self.failures)} failed; {trial.name} {trial.failure}\n"
            )

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the time that a block takes."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - begun

    def facts(self) -> dict[str, Any]:
        """Return all there is to say."""
        known = {"campaign": self.name, "trials": self.trials, "failed": len(self.failures)}
        return {**known, **self.counts, **self.figures, "seconds": round(self.seconds, 1), "failures": self.failures}

    def text(self, *, as_json: bool) -> str:
        """Return a table for people, or one JSON object."""
        facts = self.facts()
        if as_json:
            return json.dumps(facts)
        failures = facts.pop("failures")
        lines = [f"{name:<44}{value!s:>16}" for name, value in facts.items()]
        return "\n".join([*lines, *(f"FAILED {failure}" for failure in failures)])


@contextmanager
def judged(found: list[str]) -> Iterator[None]:
    """Note what does not hold within a block, instead of raising it."""
    try:
        yield
    except (AssertionError, OrchestratorError, OSError, ValueError) as error:
        said = " ".join(str(error).split())
        found.append(f"{type(error).__name__}: {said[:1500]}")
