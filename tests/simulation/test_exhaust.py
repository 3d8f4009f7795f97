"""Crashes at every point, one and two of them, of two workers on one chunk: a share of all of them."""

from __future__ import annotations

import pytest

from tests.simulation.exhaust import LISTS_AT_ONCE, OUTCOMES, POINTS_MAX, points_of, run_schedules, schedules
from tests.simulation.mutants import MUTANTS

pytestmark = pytest.mark.slow
SINGLES_APART = 5
PAIRS_APART = 101
LOSSES_APART = 9
SINGLES = [(), *((point,) for point in range(1, POINTS_MAX + 1, SINGLES_APART))]
PAIRS = [points for points in schedules(POINTS_MAX, pairs=True) if len(points) == 2][::PAIRS_APART]


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("provider", ["a1", "b1"])
def test_no_crash_makes_a_second_batch(provider: str, outcome: str) -> None:
    """Wherever one or both of two workers on the same chunk die, and whatever becomes of the create."""
    assert run_schedules(provider, outcome, [*SINGLES, *PAIRS]).failed == []


def test_a_protocol_that_lists_at_once_makes_second_batches() -> None:
    """The negative control: were nothing found here, the green schedules would prove nothing."""
    tally = run_schedules("b1", "late", SINGLES[:6], variant=LISTS_AT_ONCE)

    assert len(tally.failed) == tally.schedules == 6


def test_no_loss_of_power_leaves_a_dataset_that_is_not_whole() -> None:
    """From the plan to the seal: what says that it is done can be read, and the job ends as if nothing had been."""
    losses = [(point,) for point in range(1, points_of("b1", "made") + 1, LOSSES_APART)]

    assert run_schedules("b1", "made", losses, whole=True).failed == []


def test_a_disk_that_syncs_nothing_is_found_out() -> None:
    """The negative control of the losses of power."""
    [torn] = [mutant.variant for mutant in MUTANTS if mutant.variant.name == "nothing is synced"]
    losses = [(point,) for point in range(1, points_of("b1", "made") + 1, LOSSES_APART)]

    assert any(run_schedules("b1", "made", [loss], variant=torn, whole=True).failed for loss in losses)
