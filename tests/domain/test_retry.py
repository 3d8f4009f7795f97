"""When to try again, and when to stop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain import retry
from orchestrator.domain.policy import Policy

DRAWS = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 10_000), DRAWS)
def test_a_delay_is_between_half_a_second_and_five_minutes_and_a_half_second(tries: int, draw: float) -> None:
    assert 0.5 <= retry.backoff_s(tries, draw=draw) <= 300.5


@pytest.mark.parametrize(
    ("tries", "draw", "floor_s", "delay_s"),
    [
        (1, 0.0, None, 0.5),
        (1, 0.5, None, 1.5),
        (2, 0.5, None, 2.5),
        (5, 0.5, None, 16.5),
        (8, 0.5, None, 128.5),
        (9, 0.5, None, 150.5),  # the ceiling is reached
        (5_000, 0.5, None, 150.5),
        (1, 0.5, 60.0, 60.0),
        (9, 0.5, 60.0, 150.5),
        (1, 0.5, -60.0, 1.5),
    ],
)
def test_a_delay_doubles_and_is_never_below_what_the_provider_asked_for(
    tries: int, draw: float, floor_s: float | None, delay_s: float
) -> None:
    assert retry.backoff_s(tries, draw=draw, floor_s=floor_s) == delay_s


@pytest.mark.parametrize(
    ("age_s", "draw", "interval_s"),
    [
        (0, 0.5, 15.0),
        (300, 0.5, 15.0),
        (1_000, 0.5, 50.0),
        (6_000, 0.5, 300.0),
        (86_400, 0.5, 300.0),
        (1_000, 0.0, 47.5),
    ],
)
def test_a_batch_is_left_alone_for_a_twentieth_of_its_age_within_bounds(
    age_s: float, draw: float, interval_s: float
) -> None:
    assert retry.poll_s(age_s, Policy(), draw=draw) == pytest.approx(interval_s)


@given(st.floats(0, 1e7), DRAWS)
def test_the_interval_keeps_to_the_policys_bounds_give_or_take_a_twentieth(age_s: float, draw: float) -> None:
    policy = Policy(poll_s_min=2, poll_s_max=20)

    assert 1.9 <= retry.poll_s(age_s, policy, draw=draw) <= 21
