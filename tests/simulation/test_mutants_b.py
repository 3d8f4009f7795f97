"""Negative controls: a broken protocol must be caught, the one harmless change must not. From the second on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from tests.simulation.blocks import assert_caught
from tests.simulation.mutants import KILLED, NO_LEASES, Mutant
from tests.simulation.plan import Scenario
from tests.simulation.variant import Variant
from tests.simulation.world import simulate

FAIR_SEEDS: Final = 4


@pytest.mark.parametrize("mutant", KILLED[1::2], ids=lambda mutant: f"{mutant.provider} {mutant.variant.name}")
def test_a_broken_protocol_is_caught(mutant: Mutant) -> None:
    """Were it not, the green seeds would prove nothing."""
    assert_caught(mutant)


@pytest.mark.parametrize("provider", ["a1", "b1", "b1-settle", "c"])
def test_without_leases_no_promise_breaks(provider: str) -> None:
    """Safety is the compare-and-set on the ledger's row; a lease only saves effort."""
    for seed in range(4):
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


def test_there_are_many_ways_to_break_it() -> None:
    """Twenty-five at least, and no two of one name."""
    names = {mutant.variant.name for mutant in KILLED}

    assert len(names) == len(KILLED) >= 25
