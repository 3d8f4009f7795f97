"""Crashes, pauses and faults against a provider of class B1, which can be asked and fenced."""

from __future__ import annotations

import pytest

from tests.simulation.blocks import SEEDS, blocks, named, run_block


@pytest.mark.parametrize("seeds", blocks(0, SEEDS), ids=named)
def test_every_row_is_paid_for_once_and_accounted_for_once(seeds: range) -> None:
    """Whatever dies, sleeps or lies meanwhile; the oracle names the promise that broke."""
    run_block(seeds, "b1")
