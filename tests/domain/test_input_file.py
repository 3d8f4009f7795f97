"""What a refused create means for its input file: whether the next create is sent with the same one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain import input_file
from orchestrator.domain.faults import Fault
from orchestrator.domain.input_file import InputState
from orchestrator.domain.refusal import Refusal
from tests.builders import NOW, a_chunk


def a_refusal(fault: str, *, names_no_file: bool = False, places: tuple[int, ...] = ()) -> Refusal:
    return Refusal(fault=Fault(fault), code="400", error="HTTP 400", names_no_file=names_no_file, places=places)


def judged(fault: str, state: str, *, names_no_file: bool = False, failing_s: float | None = None) -> tuple[str, str]:
    chunk = a_chunk(failing_since=None if failing_s is None else NOW - timedelta(seconds=failing_s))
    found = input_file.judged(a_refusal(fault, names_no_file=names_no_file), InputState(state), chunk, now=NOW)
    return found.fault.value, found.error


@pytest.mark.parametrize(
    ("fault", "places", "is_asked"),
    [
        *(("row", (), True), ("job", (), True), ("platform", (), True)),
        *(("row", (3,), False), ("account", (), False), ("queue", (), False), ("size", (), False)),
        ("transient", (), False),
    ],
)
def test_the_file_is_asked_about_where_it_may_be_the_cause(
    fault: str, places: tuple[int, ...], *, is_asked: bool
) -> None:
    assert input_file.may_be_input(a_refusal(fault, places=places)) is is_asked


@pytest.mark.parametrize("fault", ["row", "job", "platform"])
def test_a_file_in_work_is_nobodys_fault_whatever_the_words(fault: str) -> None:
    assert judged(fault, "pending") == ("platform", "the provider is still processing the uploaded file (HTTP 400)")


@pytest.mark.parametrize("fault", ["row", "job", "platform"])
def test_a_file_that_could_not_be_processed_stops_the_job_after_a_few(fault: str) -> None:
    found = input_file.judged(a_refusal(fault), InputState.BROKEN, a_chunk(), now=NOW)

    assert (found.fault, found.tries_max) == (Fault.PLATFORM, 4)
    assert found.error == "the provider could not process the uploaded file (HTTP 400)"


@pytest.mark.parametrize(
    ("state", "names_no_file", "what"),
    [
        ("unknown", True, "the provider does not find the uploaded file"),
        ("missing", False, "the provider does not find the uploaded file"),
        ("unknown", False, "the provider cannot use the uploaded file yet"),
        ("ready", False, "the provider cannot use the uploaded file yet"),
    ],
)
def test_a_refusal_of_the_platform_says_what_is_wrong_with_the_file(
    state: str, what: str, *, names_no_file: bool
) -> None:
    assert judged("platform", state, names_no_file=names_no_file) == ("platform", f"{what} (HTTP 400)")


@pytest.mark.parametrize(("failing_s", "fault"), [(None, "transient"), (59, "transient"), (60, "row")])
def test_uploaded_means_not_processed_for_a_minute(failing_s: float | None, fault: str) -> None:
    """Some providers have no other word: after that the refusal counts as it is."""
    assert judged("row", "stored", failing_s=failing_s) == (fault, "HTTP 400")


@pytest.mark.parametrize(
    ("fault", "state"), [("row", "ready"), ("row", "unknown"), ("row", "missing"), ("job", "stored")]
)
def test_a_file_that_says_nothing_leaves_the_refusal_as_it_is(fault: str, state: str) -> None:
    """A 404 may come from a server that has no such route."""
    assert judged(fault, state) == (fault, "HTTP 400")


@pytest.mark.parametrize(
    ("fault", "state", "names_no_file", "setbacks", "serves"),
    [
        ("platform", "pending", False, 10, True),
        ("platform", "unknown", False, 10, True),  # not ready is not missing
        ("platform", "ready", True, 20, True),  # the file is there: the batches do not see it yet
        ("platform", "unknown", True, 9, True),
        ("platform", "unknown", True, 10, False),
        ("platform", "missing", False, 9, True),
        ("platform", "missing", False, 20, False),
        ("platform", "broken", False, 1, False),
        ("account", "unknown", True, 10, True),
        ("transient", "stored", False, 0, True),
    ],
)
def test_only_a_file_that_is_broken_or_gone_for_long_is_uploaded_again(
    fault: str, state: str, setbacks: int, *, names_no_file: bool, serves: bool
) -> None:
    refusal = a_refusal(fault, names_no_file=names_no_file)

    assert input_file.serves_again(refusal, InputState(state), setbacks=setbacks) is serves
