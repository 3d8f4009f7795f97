"""Seeds in blocks, so that a failure names few and a file of tests runs in one worker."""

from __future__ import annotations

from tests.simulation.world import simulate

SEEDS_A_BLOCK = 10


def blocks(first: int, end: int) -> list[range]:
    """Return the seeds [first, end) in blocks."""
    return [range(start, min(start + SEEDS_A_BLOCK, end)) for start in range(first, end, SEEDS_A_BLOCK)]


def named(seeds: range) -> str:
    """Return a block's name."""
    return f"seeds {seeds.start}-{seeds.stop - 1}"


def run_block(seeds: range, provider: str) -> None:
    """Run the seeds; a failure bears a note that says how to replay it."""
    for seed in seeds:
        simulate(seed, provider)
