"""What follows a refused create or upload, or a batch that was rejected before any of its requests ran."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.domain import errors, refusal
from orchestrator.domain.batch import BatchStatus
from orchestrator.domain.changes import AccountPaused, JobMoved
from orchestrator.domain.faults import Fault
from orchestrator.domain.lifecycle import FoundTooLarge, GaveUp, RowsRefused, SubmissionRefused
from orchestrator.domain.model import BatchId, JobState, Outcome
from orchestrator.domain.reconcile import Answer
from orchestrator.domain.refusal import AfterRefusal, History, Refusal
from tests.builders import ACCOUNT, NOW, a_chunk, a_job


def after(refused: errors.ProviderError | Refusal, *, tries: int = 1, **facts: Any) -> AfterRefusal:
    """Decide about a chunk of ten requests; `facts` are fields of the chunk and of the history."""
    if isinstance(refused, errors.ProviderError):
        refused = Refusal.of_error(refused)
    known = {name: facts.pop(name) for name in ("ever_created", "split_count", "others_in_flight") if name in facts}
    chunk = a_chunk(**({"request_count": 10, "row_end": 10} | facts))
    return refusal.after_refusal(refused, chunk=chunk, history=History(**known), tries=tries, draw=0.5)


def a_refusal(fault: Fault, **fields: Any) -> Refusal:
    return Refusal(**{"fault": fault, "code": "400", "error": "no", **fields})


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
    assert after(error) == AfterRefusal(event=SubmissionRefused(str(error.status), str(error)), delay_s=delay_s)


def test_a_refused_connection_has_no_status_and_is_tried_again() -> None:
    assert after(errors.Unavailable("no route")).event == SubmissionRefused("refused", "no route")


@pytest.mark.parametrize("status", [401, 402, 403, 429, 400])
@pytest.mark.parametrize("ever_created", [True, False])
def test_a_refused_account_is_paused_and_no_row_is_given_up(status: int, *, ever_created: bool) -> None:
    error = errors.NotAuthorized("out of credits", status=status)

    found = after(error, ever_created=ever_created)

    assert found == AfterRefusal(event=SubmissionRefused(str(status), "out of credits"), pauses_account=True)


@pytest.mark.parametrize(
    ("error", "status", "needs_person", "way_out"),
    [
        ("HTTP 400: insufficient_quota", 400, False, "Next: add credit, or raise the limit, at the provider; it goes"),
        ("HTTP 402", 402, False, "Next: add credit, or raise the limit, at the provider; it goes on by itself"),
        ("HTTP 400: quotaExceeded", 400, False, "Next: delete old files at the provider"),
        ("HTTP 401: no such key", 401, True, "Next: check the API key, its project and its permissions; then run"),
    ],
)
def test_a_paused_account_says_the_way_out(error: str, status: int, needs_person: bool, way_out: str) -> None:
    """Only another key needs a person here; credit is added elsewhere, and the job goes on."""
    found = refusal.account_paused(ACCOUNT, error, status, now=NOW)

    assert (found.until, found.needs_person) == (NOW + timedelta(seconds=300), needs_person)
    assert f"{error}. {way_out}" in found.reason


def test_a_batch_that_is_too_large_is_cut_in_two_and_a_single_request_is_given_up() -> None:
    error = errors.TooLarge("too big", status=413)

    assert after(error, request_count=2).event == FoundTooLarge("too big")
    assert after(error, request_count=1).event == GaveUp("413", "too big")


@pytest.mark.parametrize("request_count", [1, 10])
def test_a_bad_request_on_the_very_first_batch_stops_the_job_and_gives_no_row_up(request_count: int) -> None:
    found = after(errors.BadRequest("no such thing", status=400), ever_created=False, request_count=request_count)

    assert found.event == SubmissionRefused("400", "no such thing", setbacks=1)
    assert "the provider refused the first batch: no such thing" in found.stops_job


def test_a_first_batch_that_is_refused_again_after_a_person_ran_the_job_again_is_halved() -> None:
    error = errors.BadRequest("no", status=400)

    assert after(error, ever_created=False, setbacks=1).event == RowsRefused("400", "no")
    assert after(error, ever_created=False, setbacks=1, request_count=1).event == GaveUp("400", "no")


def test_a_later_batch_that_is_refused_without_a_place_is_halved_until_the_request_is_found() -> None:
    error = errors.BadRequest("no", status=400)

    assert after(error) == AfterRefusal(event=RowsRefused("400", "no"))
    assert after(error, request_count=1) == AfterRefusal(event=GaveUp("400", "no"))


@pytest.mark.parametrize("ever_created", [True, False])
@pytest.mark.parametrize(
    ("places", "cut"),
    [((3,), (3,)), ((3, 3, 1), (1, 3)), ((9,), (9,)), ((10, 3), (3,)), ((-1, 0), (0,))],
)
def test_requests_that_are_named_are_cut_out(places: tuple[int, ...], cut: tuple[int, ...], ever_created: bool) -> None:
    """Places that the chunk does not have are nobody's."""
    found = after(a_refusal(Fault.ROW, places=places), ever_created=ever_created)

    assert found.event == RowsRefused("400", "no", cut)


def test_a_place_that_the_chunk_does_not_have_is_no_place() -> None:
    assert after(a_refusal(Fault.ROW, places=(10,))).event == RowsRefused("400", "no")


def test_a_chunk_of_which_all_requests_are_named_is_given_up_once_a_batch_of_the_job_was_accepted() -> None:
    every = a_refusal(Fault.ROW, places=tuple(range(10)))

    assert after(every).event == GaveUp("400", "no")
    assert after(every, ever_created=False).stops_job


@pytest.mark.parametrize(
    ("split_count", "ever_created", "stops"),
    [
        (0, True, False),
        (255, True, False),
        (256, True, True),
        (257, True, False),
        (512, True, True),
        (7, False, False),
        (8, False, True),
        (9, False, False),
    ],
)
def test_refused_requests_are_looked_for_in_a_bounded_number_of_creates(
    split_count: int, *, ever_created: bool, stops: bool
) -> None:
    """After each 256 chunks that were cut, and each 8 before anything was accepted, a person looks; then it goes on."""
    named = a_refusal(Fault.ROW, places=(3,))

    found = after(named, split_count=split_count, ever_created=ever_created)
    assert bool(found.stops_job) is stops
    assert isinstance(found.event, SubmissionRefused if stops else RowsRefused)
    assert after(named, split_count=split_count, ever_created=ever_created, setbacks=1).stops_job == ""


def test_a_chunk_that_was_cut_by_places_very_often_is_halved_from_then_on() -> None:
    """The name of a chunk grows with each cut, and it is the name of a file."""
    deep = a_chunk("c00000-00000" + "a" * 32, request_count=10, row_end=10)

    found = refusal.after_refusal(a_refusal(Fault.ROW, places=(3,)), chunk=deep, history=History(), tries=1, draw=0.5)

    assert found.event == RowsRefused("400", "no", ())


@pytest.mark.parametrize(
    "error",
    [
        errors.BadRequest("model_not_found", status=400, fault=Fault.JOB),
        errors.BadRequest("not here", status=404),
        errors.BadRequest("not here", status=405),
        errors.BadRequest("not here", status=410),
        errors.Misplaced("POST https://x.example/files was answered with a web page", status=200),
        errors.Misplaced("a redirect", status=307),
    ],
)
def test_what_is_the_jobs_fault_stops_it_however_much_was_accepted_before(error: errors.ProviderError) -> None:
    """A model, an address: the same for all chunks. No row is given up."""
    found = after(error)

    assert isinstance(found.event, SubmissionRefused)
    assert str(error) in found.stops_job
    assert "No row has failed" in found.stops_job
    assert "base_url" in found.stops_job


def test_an_upload_that_is_taken_but_not_as_it_was_sent_stops_the_job_after_a_few_tries() -> None:
    """A provider that keeps another number of bytes will do so for ever; each try sends the whole file again."""
    error = errors.UploadUnusable("it has 5 bytes, and 28 were sent")

    assert [bool(after(error, tries=tries).stops_job) for tries in (1, 2, 3, 4, 5)] == [False, False, False, True, True]
    assert after(error, tries=3) == AfterRefusal(event=SubmissionRefused("refused", str(error)), delay_s=4.5)
    assert "it has 5 bytes" in after(error, tries=4).stops_job


@pytest.mark.parametrize(
    ("setbacks", "delay_s"), [(0, 1.5), (1, 3.0), (2, 6.0), (10, 1536.0), (11, 2700.0), (34, 2700.0)]
)
def test_a_failure_of_the_platform_is_waited_out_for_ever_longer_up_to_an_hour(setbacks: int, delay_s: float) -> None:
    found = after(a_refusal(Fault.PLATFORM), setbacks=setbacks)

    assert found == AfterRefusal(event=SubmissionRefused("400", "no", setbacks + 1), delay_s=delay_s)


def test_a_failure_of_the_platform_that_lasts_a_day_needs_a_person_and_costs_no_row() -> None:
    found = after(a_refusal(Fault.PLATFORM), setbacks=35)

    assert found.event == SubmissionRefused("400", "no", 36)
    assert "36 times, for about a day, and no row is at fault: no" in found.stops_job
    assert sum(refusal.setback_s(number, draw=0.5) for number in range(1, 36)) == pytest.approx(70_000, rel=0.2)


def test_a_full_queue_is_waited_for_and_says_how_many_batches_it_takes() -> None:
    full = a_refusal(Fault.QUEUE, retry_after_s=60.0)

    assert after(full, others_in_flight=5) == AfterRefusal(
        event=SubmissionRefused("400", "no"), delay_s=60.0, in_flight_max=5
    )


def test_a_chunk_that_an_empty_queue_does_not_take_is_halved_after_a_few_tries() -> None:
    full = a_refusal(Fault.QUEUE)

    assert after(full).event == SubmissionRefused("400", "no", setbacks=1)
    assert after(full, setbacks=2).event == FoundTooLarge("no")
    assert after(full, setbacks=2, others_in_flight=1).event == SubmissionRefused("400", "no")
    assert after(full, setbacks=2, request_count=1).event == SubmissionRefused("400", "no", setbacks=3)
    assert after(full, setbacks=35, request_count=1).stops_job


@pytest.mark.parametrize(("tokens_in", "is_cut"), [(2_000_000, False), (2_000_001, True)])
def test_a_chunk_above_the_limit_that_the_provider_names_is_halved_at_once(tokens_in: int, *, is_cut: bool) -> None:
    full = a_refusal(Fault.QUEUE, tokens_max=2_000_000)

    found = after(full, tokens_in=tokens_in, others_in_flight=3)

    assert isinstance(found.event, FoundTooLarge) is is_cut


def test_a_batch_that_was_rejected_is_judged_like_a_create_that_was_refused() -> None:
    status = BatchStatus(
        outcome=Outcome.FAILED, rejected=Fault.ROW, error="line 4: bad", error_code="invalid_type", places=(3,)
    )

    assert after(Refusal.of_status(status)).event == RowsRefused("invalid_type", "line 4: bad", (3,))


def test_a_batch_that_failed_without_a_word_says_at_least_that() -> None:
    found = Refusal.of_status(BatchStatus(outcome=Outcome.FAILED, rejected=Fault.PLATFORM))

    assert (found.code, found.fault) == ("batch_failed", Fault.PLATFORM)
    assert "before any of its requests ran" in found.error


def rows_refused(fault: Fault, **fields: Any) -> list[Any]:
    answer = Answer(
        succeeded=False, fault=fault, error_code="insufficient_quota", error_message="You exceeded your row"
    )
    chunk = a_chunk(state="collected", batch_id=BatchId("b-1"), **fields)
    return refusal.after_refused_rows(a_job(), chunk, answer, batch_id=chunk.batch_id, now=NOW)


def test_rows_that_the_account_could_not_pay_for_pause_it_with_the_code_and_no_word_of_a_row() -> None:
    [paused] = rows_refused(Fault.ACCOUNT, setbacks=1)

    assert isinstance(paused, AccountPaused)
    assert paused.reason.startswith("rows of batch b-1 were refused: insufficient_quota. Next: add credit")
    assert "your row" not in paused.reason


def test_rows_that_the_account_cannot_pay_for_in_a_day_need_a_person() -> None:
    _, stopped = rows_refused(Fault.ACCOUNT, setbacks=36)

    assert isinstance(stopped, JobMoved)
    assert stopped.after == replace(stopped.before, state=JobState.STOPPED, reason=stopped.after.reason)


def test_rows_that_all_fail_for_the_jobs_sake_stop_it() -> None:
    [stopped] = rows_refused(Fault.JOB)

    assert isinstance(stopped, JobMoved)
    assert stopped.after.state is JobState.STOPPED
    assert "No row has failed" in stopped.after.reason
