"""A seed decides everything: without that, no failure could be replayed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.simulation.world import simulate


@pytest.mark.parametrize(("provider", "seed"), [("b1", 3), ("b1", 11), ("c", 7), ("c", 14)])
def test_the_same_seed_gives_the_same_trace(provider: str, seed: int) -> None:
    """Every call, crash, pause and answer, in the same order, at the same virtual time."""
    assert simulate(seed, provider).digest == simulate(seed, provider).digest


def test_another_process_with_another_hash_seed_gives_the_same_trace() -> None:
    """The order of sets and the hashes of texts differ between processes; nothing may hang on them."""
    code = "from tests.simulation.world import simulate; print(simulate(8, 'c').digest)"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": str(n)}, capture_output=True, text=True, check=True
        ).stdout
        for n in (1, 2)
    }

    assert len(digests) == 1
