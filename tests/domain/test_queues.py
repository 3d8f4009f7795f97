"""Which step runs in which queue: by hand, because a fleet's queues and its sizes hang on it."""

from __future__ import annotations

from itertools import combinations

import pytest

from orchestrator.domain.model import Step
from orchestrator.domain.queues import HEAVY, QUEUE_OF, Queue, steps_of

STEPS = {
    Queue.CONTROL: {"review", "poll", "cancel", "recover"},
    Queue.TRANSFER: {"submit"},
    Queue.PLAN: {"plan", "retry", "split"},
    Queue.COLLECT: {"collect", "finish", "seal"},
}


def test_every_step_has_its_queue() -> None:
    """A step without one would never be handed to a fleet."""
    assert set(QUEUE_OF) == set(Step)
    assert {queue: {step.value for step in steps_of(queue)} for queue in Queue} == STEPS


@pytest.mark.parametrize("queues", [*combinations(Queue, 2), tuple(Queue), ()])
def test_the_steps_of_several_queues_are_those_of_each(queues: tuple[Queue, ...]) -> None:
    assert steps_of(*queues) == set().union(*(STEPS[queue] for queue in queues))


def test_what_holds_rows_in_memory_is_heavy() -> None:
    assert {queue.value for queue in HEAVY} == {"plan", "collect"}
