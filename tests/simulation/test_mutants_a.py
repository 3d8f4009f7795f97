"""Negative controls: a broken protocol must be caught. Every other one; the rest is in a file of its own."""

from __future__ import annotations

import pytest

from tests.simulation.blocks import assert_caught
from tests.simulation.mutants import KILLED, Mutant


@pytest.mark.parametrize("mutant", KILLED[::2], ids=lambda mutant: f"{mutant.provider} {mutant.variant.name}")
def test_a_broken_protocol_is_caught(mutant: Mutant) -> None:
    """Were it not, the green seeds would prove nothing."""
    assert_caught(mutant)
