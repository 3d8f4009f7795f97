"""Crashes, pauses and faults, drawn by seeds, against every class of provider (tests/fakes/classes.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from tests.fakes.classes import CLASSES
from tests.simulation.plan import Scenario
from tests.simulation.variant import Variant
from tests.simulation.weather import answers_are_no_use, pauses_are_many, rows_are_chosen, rows_repeat
from tests.simulation.world import simulate
from tests.tiers import sampled

QUICK_SEEDS: Final = 2  # of each class, in `make test`
SEEDS: Final = 8  # in all tiers; `python -m tests.simulation run` takes as many as it is given
SEEDS_A_BLOCK: Final = 10
BLOCKS: Final = [
    range(QUICK_SEEDS),
    *(
        pytest.param(range(first, min(first + SEEDS_A_BLOCK, SEEDS)), marks=pytest.mark.slow)
        for first in range(QUICK_SEEDS, SEEDS, SEEDS_A_BLOCK)
    ),
]


@pytest.mark.parametrize("seeds", BLOCKS, ids=str)
@pytest.mark.parametrize("provider", sampled(CLASSES, quick=set(CLASSES) - {"b1-settle"}))
def test_every_row_is_paid_for_once_and_accounted_for_once(provider: str, seeds: range) -> None:
    """Whatever crashes, sleeps or answers wrongly; the failure names the promise that broke and how to replay it."""
    for seed in seeds:
        simulate(seed, provider)


@pytest.mark.parametrize("provider", sampled(["a1", "c"], quick={"c"}))
def test_a_paused_job_begins_no_create_and_comes_to_its_end_all_the_same(provider: str) -> None:
    simulate(0, provider, variant=Variant(name="paused", weather=pauses_are_many))


def with_follower(plan: Scenario) -> Scenario:
    """A second job of the first one's rows comes after it, still in rough weather; it is not cancelled."""
    # With changed requests it would not be known which answers are to the planned ones.
    jobs = tuple(replace(job, chooses=False) for job in plan.jobs)
    job = replace(jobs[0], number=len(jobs), follows=True, cancel_at_s=None, retries=0)
    return replace(plan, jobs=(*jobs, job), faults_until_s=plan.faults_until_s * 4)


@pytest.mark.slow
@pytest.mark.parametrize("provider", ["a1", "b1", "c"])
def test_equal_requests_are_sent_once_and_answer_all_their_rows(provider: str) -> None:
    """Whatever crashes: one of them is sent, and the others come to what it came to."""
    for seed in range(5):
        simulate(seed, provider, variant=Variant(name="repeating", weather=rows_repeat))


@pytest.mark.slow
@pytest.mark.parametrize("weather", [answers_are_no_use, rows_are_chosen], ids=lambda weather: weather.__name__)
@pytest.mark.parametrize("provider", ["a1", "b1", "c"])
def test_answers_that_are_no_use_and_chosen_rows_are_bought_again_as_often_as_is_allowed(
    provider: str, weather: Callable[[Scenario], Scenario]
) -> None:
    """By the program once, with another request; by a person's wish once more; and no other row with them."""
    for seed in range(4):
        simulate(seed, provider, variant=Variant(name="resends", weather=weather))


@pytest.mark.slow
@pytest.mark.parametrize("provider", ["a1", "c"])
def test_what_an_earlier_job_has_an_answer_to_is_never_sent_again(provider: str) -> None:
    """Whatever crashes while the answers are copied."""
    for seed in range(5):
        simulate(seed, provider, variant=Variant(name="followed", weather=with_follower))
