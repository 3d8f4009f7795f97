"""Seeds in blocks, so that a failure names few and a file of tests runs in one worker."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import Mutant
from tests.simulation.shrink import CAUGHT
from tests.simulation.world import simulate

SEEDS = 200  # of each class, in a CI; `python -m tests.simulation run` takes as many as it is given
SEEDS_A_BLOCK = 10
SEEDS_OF_A_MUTANT = 60  # `python -m tests.simulation mutants` tries 500


def blocks(first: int, end: int) -> list[range]:
    """Return the seeds [first, end) in blocks."""
    return [range(start, min(start + SEEDS_A_BLOCK, end)) for start in range(first, end, SEEDS_A_BLOCK)]


def named(seeds: range) -> str:
    """Return a block's name."""
    return f"seeds {seeds.start}-{seeds.stop - 1}"


def run_block(seeds: range, provider: str) -> None:
    """Run the seeds; a failure bears notes that say how to replay and how to shrink it."""
    for seed in seeds:
        simulate(seed, provider)


def assert_caught(mutant: Mutant) -> None:
    """Fail where none of the seeds breaks a broken protocol; the one that did the last time is tried first."""
    assert mutant.seed is not None
    for seed in (mutant.seed, *range(SEEDS_OF_A_MUTANT)):
        try:
            simulate(seed, mutant.provider, variant=mutant.variant)
        except CAUGHT:
            return
    pytest.fail(f"{SEEDS_OF_A_MUTANT} seeds, and nobody noticed: {mutant.variant.name}")
