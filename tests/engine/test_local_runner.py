"""The local runner: which threads do which steps."""

from __future__ import annotations

from orchestrator.domain.model import Step
from orchestrator.engine.local_runner import LOOKING, STEPS_OF


def test_each_step_has_threads_and_none_has_them_twice() -> None:
    """A step without threads would wait for ever; one with two kinds of them would be handed out beyond its number."""
    pools = [step for steps in STEPS_OF for step in steps]

    assert sorted(pools) == sorted(Step)


def test_looking_for_lost_creates_takes_no_thread_from_the_batches_under_way() -> None:
    """A list of many pages is read for minutes; polls go on meanwhile."""
    [pool] = [steps for steps in STEPS_OF if Step.RECOVER in steps]

    assert pool == LOOKING == {Step.RECOVER}
