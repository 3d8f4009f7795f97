"""Negative controls: a broken protocol must be caught, the one harmless change must not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from tests.simulation.mutants import KILLED, NO_LEASES, Mutant
from tests.simulation.plan import Scenario
from tests.simulation.shrink import CAUGHT
from tests.simulation.variant import Variant
from tests.simulation.world import simulate

pytestmark = pytest.mark.slow
FAIR_SEEDS: Final = 2
SEEDS: Final = 60  # of a mutant; `python -m tests.simulation mutants` tries 500


@pytest.mark.parametrize("mutant", KILLED, ids=lambda mutant: f"{mutant.provider} {mutant.variant.name}")
def test_a_broken_protocol_is_caught(mutant: Mutant) -> None:
    """Were it not, the green seeds would prove nothing. The seed that caught it the last time is tried first."""
    assert mutant.seed is not None
    for seed in (mutant.seed, *range(SEEDS)):
        try:
            simulate(seed, mutant.provider, variant=mutant.variant)
        except CAUGHT:
            return
    pytest.fail(f"{SEEDS} seeds, and none caught it: {mutant.variant.name}")


@pytest.mark.parametrize("provider", ["a1", "b1", "b1-settle", "c"])
def test_without_leases_no_promise_breaks(provider: str) -> None:
    """Safety is the compare-and-set on the ledger's row; a lease only saves effort."""
    for seed in range(2):
        simulate(seed, provider, variant=NO_LEASES)


@pytest.mark.parametrize(
    ("provider", "weather"),
    sorted({(mutant.provider, mutant.variant.weather) for mutant in KILLED}, key=str),
    ids=lambda part: part if isinstance(part, str) else part.__name__,
)
def test_every_weather_is_fair(provider: str, weather: Callable[[Scenario], Scenario]) -> None:
    """What breaks under a weather is the mutant's doing: production holds under it."""
    for seed in range(FAIR_SEEDS):
        simulate(seed, provider, variant=Variant(name="production", weather=weather))
