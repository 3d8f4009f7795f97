"""The life of a chunk: which moves there are, what each does to the fields, and what no move may do."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Final, get_args

import pytest

from orchestrator.domain import lifecycle
from orchestrator.domain.errors import IllegalTransition
from orchestrator.domain.model import (
    HAS_BATCH,
    TERMINAL,
    AttemptToken,
    BatchId,
    Chunk,
    ChunkState,
    FileId,
    Outcome,
    Tally,
)
from tests.builders import NOW, a_chunk, after

TALLY: Final = Tally(succeeded=9, failed=1, lines=10)
EVENTS: Final[dict[str, lifecycle.Event]] = {
    "uploaded": lifecycle.InputUploaded(AttemptToken("new token"), FileId("new file")),
    "begun": lifecycle.SubmissionBegun(AttemptToken("new token"), NOW, "new mark"),
    "created": lifecycle.BatchCreated(BatchId("new batch")),
    "refused": lifecycle.SubmissionRefused("429", "busy"),
    "input kept": lifecycle.InputKept("400", "the file is pending", 3),
    "input dropped": lifecycle.InputDropped(),
    "too large": lifecycle.FoundTooLarge("413"),
    "beyond budget": lifecycle.BeyondBudget(),
    "rows refused": lifecycle.RowsRefused("invalid_type", "line 2", (1, 5)),
    "lost": lifecycle.AnswerLost("no answer"),
    "absent": lifecycle.ProvedAbsent("500"),
    "unresolved": lifecycle.BecameUnresolved("nobody can tell", "why"),
    "reopened": lifecycle.Reopened(),
    "fenced": lifecycle.Fenced(NOW),
    "ended": lifecycle.BatchEnded(Outcome.EXPIRED, "where", "24 hours are over"),
    "rejected": lifecycle.BatchRejected("the queue is full"),
    "collected": lifecycle.ResultsCollected("parts/c.parquet", TALLY),
    "copied": lifecycle.AnswersCopied("parts/c.reused.parquet", TALLY),
    "given up results": lifecycle.ResultsGivenUp(BatchId("batch-1")),
    "divided": lifecycle.Divided(),
    "cancelled unsent": lifecycle.CancelledUnsent(),
    "gave up": lifecycle.GaveUp("400", "no such model"),
}
LEGAL: Final = {  # by hand, not read from the code
    ("planned", "uploaded"): "uploaded",
    ("planned", "begun"): "submitting",
    ("planned", "too large"): "splitting",
    ("planned", "beyond budget"): "splitting",
    ("planned", "rows refused"): "splitting",
    ("planned", "cancelled unsent"): "cancelled",
    ("planned", "gave up"): "failed",
    ("uploaded", "begun"): "submitting",
    ("uploaded", "input dropped"): "planned",
    ("uploaded", "beyond budget"): "splitting",
    ("uploaded", "cancelled unsent"): "cancelled",
    ("submitting", "created"): "submitted",
    ("submitting", "refused"): "planned",
    ("submitting", "input kept"): "uploaded",
    ("submitting", "too large"): "splitting",
    ("submitting", "rows refused"): "splitting",
    ("submitting", "lost"): "ambiguous",
    ("submitting", "gave up"): "failed",
    ("ambiguous", "created"): "submitted",
    ("ambiguous", "fenced"): "ambiguous",
    ("ambiguous", "absent"): "planned",
    ("ambiguous", "unresolved"): "unresolved",
    ("unresolved", "created"): "submitted",
    ("unresolved", "absent"): "planned",
    ("unresolved", "reopened"): "ambiguous",
    ("unresolved", "given up results"): "ended",
    ("submitted", "ended"): "ended",
    ("submitted", "rejected"): "planned",
    ("submitted", "too large"): "splitting",
    ("submitted", "rows refused"): "splitting",
    ("submitted", "gave up"): "failed",
    ("submitted", "unresolved"): "unresolved",
    ("ended", "collected"): "collected",
    ("ended", "unresolved"): "unresolved",
    ("duplicate", "copied"): "reused",
    ("splitting", "divided"): "split",
    ("splitting", "cancelled unsent"): "cancelled",
    ("splitting", "gave up"): "failed",
}


def a_seasoned_chunk(state: str) -> Chunk:
    """Return a chunk with something in every field that an event could forget or keep."""
    return a_chunk(
        state=state,
        token=AttemptToken("old token"),
        file_id=FileId("old file"),
        sent_at=after(-100),
        fenced_at=after(-50),
        failing_since=after(-75),
        attempt=2,
        tries=4,
        error_code="old code",
        error="old error",
        cancel_requested=True,
        version=7,
    )


def changed(before: Chunk, now: Chunk) -> dict[str, Any]:
    """Return the fields that differ, with their new values."""
    names = [f.name for f in fields(Chunk)]
    return {name: getattr(now, name) for name in names if getattr(now, name) != getattr(before, name)}


@pytest.mark.parametrize("state", [state.value for state in ChunkState])
def test_only_the_legal_moves_exist(state: str) -> None:
    """Every pair of state and event: a few move the chunk, all others are refused."""
    chunk = a_chunk(state=state)

    for event in EVENTS:
        if (state, event) in LEGAL:
            assert lifecycle.advance(chunk, EVENTS[event]).state == LEGAL[state, event], event
        else:
            with pytest.raises(IllegalTransition, match=chunk.id):
                lifecycle.advance(chunk, EVENTS[event])


def test_the_tests_know_every_event() -> None:
    assert {type(event) for event in EVENTS.values()} == set(get_args(lifecycle.Event))


@pytest.mark.parametrize(
    ("state", "event", "expected"),
    [
        (
            "planned",
            "uploaded",
            {"state": "uploaded", "token": "new token", "file_id": "new file", "sent_at": None},
        ),
        (
            "uploaded",
            "begun",
            {"state": "submitting", "token": "new token", "sent_at": NOW, "attempt": 3, "fenced_at": None}
            | {"key_mark": "new mark"}
            | {"error_code": "", "error": ""},
        ),
        (
            "submitting",
            "created",
            {"state": "submitted", "batch_id": "new batch", "error_code": "", "error": "", "failing_since": None},
        ),
        (
            "submitting",
            "refused",
            {"state": "planned", "file_id": None, "error_code": "429", "error": "busy"},
        ),
        (
            "submitting",
            "input kept",
            {"state": "uploaded", "error_code": "400", "error": "the file is pending", "setbacks": 3},
        ),
        ("uploaded", "input dropped", {"state": "planned", "file_id": None}),
        ("planned", "too large", {"state": "splitting", "file_id": None, "error": "413"}),
        ("submitting", "too large", {"state": "splitting", "file_id": None, "error": "413"}),
        ("submitting", "lost", {"state": "ambiguous", "error_code": "", "error": "no answer"}),
        ("ambiguous", "fenced", {"fenced_at": NOW}),
        ("ambiguous", "absent", {"state": "planned", "file_id": None, "error_code": "", "error": "500"}),
        ("ambiguous", "unresolved", {"state": "unresolved", "error_code": "why", "error": "nobody can tell"}),
        ("unresolved", "reopened", {"state": "ambiguous", "error_code": "", "error": ""}),
        ("unresolved", "absent", {"state": "planned", "file_id": None, "error_code": "", "error": "500"}),
        (
            "submitted",
            "ended",
            {"state": "ended", "outcome": "expired", "results": "where", "error": "24 hours are over"}
            | {"failing_since": None},
        ),
        (
            "submitted",
            "rejected",
            {"state": "planned", "batch_id": None, "file_id": None, "error": "the queue is full"},
        ),
        (
            "submitted",
            "unresolved",
            {"state": "unresolved", "batch_id": None, "file_id": None, "error_code": "why", "error": "nobody can tell"},
        ),
        ("ended", "collected", {"state": "collected", "part": "parts/c.parquet", "tally": TALLY}),
        ("splitting", "divided", {"state": "split"}),
        (
            "splitting",
            "gave up",
            {"state": "failed", "error_code": "400", "error": "no such model", "tally": Tally(failed=10)},
        ),
        (
            "splitting",
            "cancelled unsent",
            {"state": "cancelled", "error_code": "cancelled", "error": "the job was cancelled"}
            | {"tally": Tally(failed=10)},
        ),
    ],
)
def test_an_event_changes_its_own_fields_and_no_others(state: str, event: str, expected: dict[str, Any]) -> None:
    """A change of state also starts the count of failures anew; nothing but the ledger raises the version."""
    before = a_seasoned_chunk(state)

    now = lifecycle.advance(before, EVENTS[event])

    assert changed(before, now) == expected | ({"tries": 0} if "state" in expected else {})


@pytest.mark.parametrize(("state", "event"), LEGAL)
def test_a_wish_to_cancel_survives_every_move(state: str, event: str) -> None:
    assert lifecycle.advance(a_seasoned_chunk(state), EVENTS[event]).cancel_requested


@pytest.mark.parametrize(("state", "event"), LEGAL)
def test_a_chunk_has_a_batch_where_its_state_says_so_and_nowhere_else(state: str, event: str) -> None:
    now = lifecycle.advance(a_seasoned_chunk(state), EVENTS[event])

    assert (now.batch_id is not None) == (now.state in {"submitted", "ended", "collected"})


@pytest.mark.parametrize("state", list(ChunkState))
def test_a_chunk_that_lies_about_its_batch_cannot_be_made(state: ChunkState) -> None:
    wrong = None if state in HAS_BATCH else BatchId("batch-1")

    with pytest.raises(IllegalTransition):
        replace(a_chunk(state=state), batch_id=wrong)


def test_states_with_a_batch_and_states_of_rest_are_these() -> None:
    assert {state.value for state in HAS_BATCH} == {"submitted", "ended", "collected"}
    assert {state.value for state in TERMINAL} == {"collected", "reused", "split", "cancelled", "failed"}


def test_a_create_under_way_can_be_sent_again_only_when_it_is_known_not_to_have_happened() -> None:
    """Rule 3: of all events only a refusal takes SUBMITTING back; from doubt it takes a proof."""
    before = {"planned", "uploaded"}
    ways = {(state, event) for (state, event), end in LEGAL.items() if end in before and state not in before}

    assert ways == {
        ("submitting", "refused"),
        ("submitting", "input kept"),
        ("ambiguous", "absent"),
        ("unresolved", "absent"),
        ("submitted", "rejected"),
    }


@pytest.mark.parametrize("state", ["submitting", "ambiguous", "unresolved"])
def test_a_chunk_that_may_have_a_batch_is_never_begun_again(state: str) -> None:
    """Promise 2: there is no second create while a first one may have succeeded."""
    with pytest.raises(IllegalTransition):
        lifecycle.advance(a_chunk(state=state), EVENTS["begun"])


def test_a_chunk_is_known_by_the_last_part_of_its_id() -> None:
    assert a_chunk("r00007").name == "r00007"


@pytest.mark.parametrize(("since_s", "kept_s"), [(None, 0), (-500, -500), (500, 0)])
def test_since_when_it_fails_is_kept_unless_it_is_still_to_come(since_s: float | None, kept_s: float) -> None:
    """A clock that was ahead would make the waits, which grow with that time, short for as long."""
    before = a_chunk(failing_since=None if since_s is None else after(since_s))

    assert lifecycle.failing(before, "no", now=NOW).failing_since == after(kept_s)
