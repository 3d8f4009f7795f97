"""When to try again, and when to stop."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain import errors, retry
from orchestrator.domain.lifecycle import FoundTooLarge, GaveUp, SubmissionRefused
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


def after(error: errors.ProviderError, **facts: Any) -> retry.AfterRefusal:
    known: dict[str, Any] = {"tries": 1, "request_count": 10, "ever_created": True, "draw": 0.5}
    return retry.after_refusal(error, **(known | facts))


@pytest.mark.parametrize(
    ("error", "delay_s"),
    [
        (errors.RateLimited("busy", status=429), 1.5),
        (errors.RateLimited("busy", status=429, retry_after_s=60), 60.0),
        (errors.Unavailable("down", status=503), 1.5),
        (errors.TransientError("odd", status=418), 1.5),
    ],
)
def test_a_passing_trouble_is_tried_again_later(error: errors.ProviderError, delay_s: float) -> None:
    assert after(error) == retry.AfterRefusal(event=SubmissionRefused(str(error.status), str(error)), delay_s=delay_s)


def test_a_refused_connection_has_no_status_and_is_tried_again() -> None:
    assert after(errors.Unavailable("no route")).event == SubmissionRefused("refused", "no route")


@pytest.mark.parametrize("status", [401, 402, 403])
@pytest.mark.parametrize("ever_created", [True, False])
def test_a_refused_credential_pauses_the_account_and_burns_no_chunk(status: int, *, ever_created: bool) -> None:
    error = errors.NotAuthorized("out of credits", status=status)

    found = after(error, ever_created=ever_created)

    assert found == retry.AfterRefusal(event=SubmissionRefused(str(status), "out of credits"), pauses_account=True)


def test_a_batch_that_is_too_large_is_cut_in_two_and_a_single_request_is_given_up() -> None:
    error = errors.TooLarge("too big", status=413)

    assert after(error, request_count=2).event == FoundTooLarge("too big")
    assert after(error, request_count=1).event == GaveUp("413", "too big")


def test_a_bad_request_on_the_very_first_batch_stops_the_job_and_later_costs_the_chunk_alone() -> None:
    error = errors.BadRequest("no such model", status=400)

    assert after(error, ever_created=False) == retry.AfterRefusal(
        event=SubmissionRefused("400", "no such model"),
        stops_job="the provider refused the first batch: no such model",
    )
    assert after(error, ever_created=True) == retry.AfterRefusal(event=GaveUp("400", "no such model"))


@pytest.mark.parametrize("status", [404, 405, 410])
def test_where_nothing_takes_batches_the_job_stops_however_many_were_taken_before_and_no_row_is_given_up(
    status: int,
) -> None:
    """An address, a model or an account that is no longer what it was is the same for all chunks."""
    found = after(errors.BadRequest("not here", status=status), ever_created=True)

    assert found.event == SubmissionRefused(str(status), "not here")
    assert "not here" in found.stops_job
    assert "no row is at fault" in found.stops_job


@pytest.mark.parametrize("status", [200, 302, 307, 404])
def test_an_answer_of_another_server_stops_the_job_and_costs_no_row(status: int) -> None:
    """A web page in place of an answer, a redirect: base_url is wrong, or something stands before the provider."""
    found = after(errors.Misplaced("POST https://x.example/files was answered with a web page", status=status))

    assert isinstance(found.event, SubmissionRefused)
    assert "https://x.example/files" in found.stops_job


def test_an_upload_that_is_taken_but_not_as_it_was_sent_stops_the_job_after_a_few_tries() -> None:
    """A provider that keeps another number of bytes will do so for ever; each try sends the whole file again."""
    error = errors.UploadUnusable("it has 5 bytes, and 28 were sent")

    assert [bool(after(error, tries=tries).stops_job) for tries in (1, 2, 3, 4, 5)] == [False, False, False, True, True]
    assert after(error, tries=3) == retry.AfterRefusal(event=SubmissionRefused("refused", str(error)), delay_s=4.5)
    assert after(error, tries=4).event == SubmissionRefused("refused", str(error))
    assert "it has 5 bytes" in after(error, tries=4).stops_job


@pytest.mark.parametrize("error", [errors.Gone("gone", status=410), errors.PermanentError("never", status=451)])
def test_what_will_never_succeed_is_given_up(error: errors.ProviderError) -> None:
    assert after(error).event == GaveUp(str(error.status), str(error))
