"""A seed decides everything: without that, no failure could be replayed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.fakes.classes import CLASSES
from tests.simulation.campaign import unlike_itself
from tests.simulation.world import simulate
from tests.tiers import sampled

SEEDS = 2  # `python -m tests.simulation determinism`: 200


@pytest.mark.parametrize("provider", sampled(CLASSES, quick={"b1"}))
def test_the_same_seed_gives_the_same_trace(provider: str) -> None:
    """Every call, crash, pause and answer, in the same order, at the same virtual time."""
    assert unlike_itself(provider, range(SEEDS)) == []


@pytest.mark.slow
def test_another_process_with_another_hash_seed_gives_the_same_trace() -> None:
    """The order of sets and the hashes of texts differ between processes; nothing may hang on them."""
    code = "from tests.simulation.world import simulate; print(*(simulate(8, name).digest for name in ('b1', 'c')))"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": str(n)}, capture_output=True, text=True, check=True
        ).stdout
        for n in (1, 2)
    }

    assert len(digests) == 1


@pytest.mark.slow
def test_the_faults_of_a_run_are_that_run() -> None:
    """Whoever repeats exactly the faults that chance had chosen gets the same trace: so failures can be shrunk."""
    by_chance = simulate(3, "b1")

    assert simulate(3, "b1", only=by_chance.faults).digest == by_chance.digest
