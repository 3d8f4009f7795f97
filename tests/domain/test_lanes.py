"""Which step runs in which lane: by hand, because a fleet's queues and its sizes hang on it."""

from __future__ import annotations

from itertools import combinations

import pytest

from orchestrator.domain.lanes import HEAVY, LANE_OF, Lane, steps_of
from orchestrator.domain.model import Step

STEPS = {
    Lane.CONTROL: {"review", "poll", "cancel", "recover"},
    Lane.TRANSFER: {"submit"},
    Lane.PLAN: {"plan", "retry", "split"},
    Lane.COLLECT: {"collect", "finish", "seal"},
}


def test_every_step_has_its_lane() -> None:
    """A step without one would never be handed to a fleet."""
    assert set(LANE_OF) == set(Step)
    assert {lane: {step.value for step in steps_of(lane)} for lane in Lane} == STEPS


@pytest.mark.parametrize("lanes", [*combinations(Lane, 2), tuple(Lane), ()])
def test_the_steps_of_several_lanes_are_those_of_each(lanes: tuple[Lane, ...]) -> None:
    assert steps_of(*lanes) == set().union(*(STEPS[lane] for lane in lanes))


def test_what_holds_rows_in_memory_is_heavy() -> None:
    assert {lane.value for lane in HEAVY} == {"plan", "collect"}
