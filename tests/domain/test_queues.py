"""Which step runs in which queue."""

from __future__ import annotations

from orchestrator.domain.model import Step
from orchestrator.domain.queues import QUEUE_OF, Queue, steps_of


def test_every_step_has_its_queue() -> None:
    """A step without one would never be handed to a fleet."""
    assert set(QUEUE_OF) == set(Step)
    assert steps_of(*Queue) == set(Step)
