"""The pace of an account's polls: never more in a minute than are allowed, and nearly as many as that."""

from __future__ import annotations

from datetime import timedelta
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain import rate_limit
from tests.builders import NOW, after

LONG_AGO = after(-86_400)


def taken_at(per_minute_max: int, looks_s: list[float]) -> list[float]:
    """Return when turns were taken by somebody who takes all there are, each time he looks, seconds after NOW."""
    used_until, taken = LONG_AGO, list[float]()
    for at_s in looks_s:
        count = rate_limit.permits(used_until, after(at_s), per_minute_max)
        used_until = rate_limit.used(used_until, after(at_s), per_minute_max, count)
        taken += [at_s] * count
    return taken


@given(st.integers(1, 600), st.lists(st.floats(0.01, 90), min_size=1, max_size=200))
def test_no_sixty_seconds_have_more_turns_than_a_minute_may_have(per_minute_max: int, gaps_s: list[float]) -> None:
    """Whoever looks, however often or seldom."""
    taken = taken_at(per_minute_max, list(accumulate(gaps_s)))

    for first_s in set(taken):
        assert sum(first_s <= at_s < first_s + rate_limit.MINUTE_S for at_s in taken) <= per_minute_max


@pytest.mark.parametrize("per_minute_max", [1, 7, 60, 1_000])
@pytest.mark.parametrize("every_s", [0.2, 1.0, 5.0])
def test_who_looks_every_few_seconds_gets_nearly_all_turns(per_minute_max: int, every_s: float) -> None:
    """A beat looks every five seconds, a runner several times a second."""
    taken = taken_at(per_minute_max, [every_s * look for look in range(1, round(3_600 / every_s))])

    assert 0.85 * 60 * per_minute_max <= len(taken) <= 60 * per_minute_max


def test_a_pause_ends_with_one_turn_after_another() -> None:
    """What was not used during a pause is not made up for."""
    paused_until = after(600)

    assert rate_limit.permits(paused_until, after(599), 60) == 0
    assert rate_limit.permits(paused_until, after(600), 60) == 0
    assert rate_limit.permits(paused_until, after(602.5), 60) == 2


def test_turns_that_are_taken_are_gone() -> None:
    used_until = rate_limit.used(LONG_AGO, NOW, 60, rate_limit.permits(LONG_AGO, NOW, 60))

    assert rate_limit.permits(used_until, NOW, 60) == 0
    assert used_until <= NOW + timedelta(seconds=1)
