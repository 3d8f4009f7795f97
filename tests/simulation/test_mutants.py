"""Negative controls: a broken protocol must be caught within few seeds, and the one harmless change must not."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import OrchestratorError
from tests.simulation.mutants import MUTANTS, NO_LEASES, Variant
from tests.simulation.world import simulate

SEEDS_MAX = 40
CAUGHT = (AssertionError, OrchestratorError)


@pytest.mark.parametrize(("provider", "variant"), MUTANTS, ids=[f"{name} {v.name}" for name, v in MUTANTS])
def test_a_broken_protocol_is_caught(provider: str, variant: Variant) -> None:
    """Were it not, the green seeds would prove nothing."""
    for seed in range(SEEDS_MAX):
        try:
            simulate(seed, provider, variant=variant)
        except CAUGHT:
            return
    pytest.fail(f"{SEEDS_MAX} seeds, and nobody noticed: {variant.name}")


@pytest.mark.parametrize("provider", ["b1", "c"])
def test_without_leases_no_promise_breaks(provider: str) -> None:
    """Safety is the compare-and-set on the ledger's row; a lease only saves effort."""
    for seed in range(4):
        simulate(seed, provider, variant=NO_LEASES)
