"""What a value is where nobody says otherwise, and the words that stand in ledgers and files: all written out by hand.

A default that drifts changes what a job does without a line in its file; a word that drifts makes older ledgers
unreadable.
"""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields, is_dataclass
from decimal import Decimal
from enum import StrEnum
from types import ModuleType
from typing import Any, Final

import pytest

from orchestrator.domain import (
    batch,
    changes,
    dataset,
    lifecycle,
    model,
    money,
    packing,
    policy,
    progress,
    queues,
    reconcile,
    recovery,
    retry,
    snapshot,
    workers,
)
from orchestrator.domain.model import ChunkState, JobState, Outcome, Step
from orchestrator.domain.policy import NullPolicy, OnAmbiguous
from orchestrator.domain.recovery import Recovery

MODULES: Final = (
    *(batch, snapshot, changes, dataset, queues, lifecycle, workers, model, packing),
    *(policy, reconcile, recovery, retry, progress),
)
NO_USD: Final = Decimal(0)
DEFAULTS: Final[dict[type, dict[str, Any]]] = {
    batch.Traits: {
        "takes_files": False,
        "settle_s": 120.0,
        "lag_s": 0.0,
        "late_s": 3_600.0,
        "key_s": 0.0,
        "window_s": 86_400.0,
        "key_mark": "",
        "line_open": b'{"custom_id":"',
        "line_body": b'","params":',
        "line_close": b"}",
    },
    batch.Submission: {"file_id": None, "label": ""},
    batch.BatchStatus: {
        "results": "",
        "done_count": 0,
        "failed_count": 0,
        "fees_usd": None,
        "error": "",
        "provider_message": "",
        "rejected": False,
    },
    lifecycle.SubmissionBegun: {"key_mark": ""},
    lifecycle.PutOnHold: {"error_code": ""},
    recovery.Evidence: {"is_other_key": False},
    changes.AttemptClosed: {"batch_id": None, "cost_usd": None},
    changes.RowsSettled: {"failed": {}},
    changes.Noted: {"details": {}},
    workers.WorkerProcess: {"queues": (), "version": ""},
    model.Job: {
        "state": JobState.RUNNING,
        "due": Step.REVIEW,
        "reason": "",
        "revision": 1,
        "rounds_max": 3,
        "retry_count": 0,
        "version": 0,
    },
    model.Shard: {
        "state": model.ShardState.PLANNING,
        "row_count": 0,
        "chunk_count": 0,
        "slice_count": 0,
        "refused_count": 0,
        "settled_count": 0,
        "finished_slice_count": 0,
        "version": 0,
    },
    model.Tally: dict.fromkeys(
        ("succeeded", "failed", "waiting", "resent", "missing", "lines", "duplicates", "foreign", "unreadable"), 0
    ),
    model.Chunk: {
        "round": 1,
        "tokens_in": 0,
        "cost_usd_max": None,
        "state": ChunkState.PLANNED,
        "attempt": 0,
        "token": None,
        "file_id": None,
        "sent_at": None,
        "fenced_at": None,
        "batch_id": None,
        "outcome": None,
        "results": "",
        "tries": 0,
        "cancel_requested": False,
        "cancel_sent": False,
        "done_count": 0,
        "failed_count": 0,
        "fees_usd": None,
        "error_code": "",
        "error": "",
        "key_mark": "",
        "part": "",
        "regather": False,
        "tally": model.Tally(),
        "version": 0,
    },
    model.Attempt: {"cost_usd": None, "batch_id": None, "digest": "", "key_mark": ""},
    model.Unit: {"shard_no": None, "chunk_id": None},
    policy.Policy: {
        "attempts_max": 3,
        "on_ambiguous": OnAmbiguous.RECONCILE,
        "max_duplicate_usd": NO_USD,
        "budget_usd": None,
        "null_policy": NullPolicy.ERROR,
        "chunk_requests_max": 10_000,
        "chunk_bytes_max": 50_000_000,
        "chunk_tokens_max": None,
        "batches_in_flight_max": 20,
        "chunks_ahead_max": 40,
        "poll_s_min": 15.0,
        "poll_s_max": 300.0,
        "retry_gather_s": 600.0,
        "polls_per_minute_max": None,
        "creates_per_minute_max": None,
    },
    policy.Limits: {"tokens_max": None},
    recovery.Adopt: {"duplicate_batches": ()},
    recovery.Absent: {"abandoned": False},
    recovery.Bounds: {"late_s": 0.0, "key_s": 0.0},
    retry.AfterRefusal: {"delay_s": 0.0, "pauses_account": False, "stops_job": ""},
    progress.Totals: {
        "chunks": {},
        **dict.fromkeys(
            ("succeeded", "failed", "waiting", "missing", "lines", "duplicates", "foreign", "unreadable"), 0
        ),
        "waiting_since": None,
        "in_flight_rows": 0,
        "in_flight_done": 0,
        "batches": 0,
        "cost_usd": NO_USD,
        "reserved_usd": NO_USD,
        "possibly_double_paid_usd": NO_USD,
        "trouble": "",
        "overdue": 0,
        "overdue_batch": "",
    },
}
WORDS: Final[dict[type[StrEnum], tuple[str, ...]]] = {
    JobState: ("running", "stopped", "cancelling", "cancelled", "finished"),
    model.ShardState: ("planning", "planned", "finished"),
    ChunkState: (
        *("planned", "uploaded", "submitting", "ambiguous", "unresolved", "submitted", "ended", "splitting"),
        *("collected", "split", "cancelled", "failed"),
    ),
    model.AttemptState: ("open", "created", "refused", "absent", "abandoned"),
    Outcome: ("completed", "failed", "expired", "cancelled"),
    Step: (*("plan", "submit", "recover", "poll", "cancel", "collect", "split", "finish", "review", "retry", "seal"),),
    OnAmbiguous: ("reconcile", "hold", "resubmit"),
    NullPolicy: ("error", "empty", "skip"),
    Recovery: ("A", "B1", "B2", "C"),
    queues.Queue: ("control", "transfer", "plan", "collect"),
    workers.Kind: ("worker", "beat", "runner"),
    reconcile.Placed: ("kept", "duplicate", "foreign"),
}


def classes(modules: tuple[ModuleType, ...] = MODULES) -> list[type]:
    """Return the classes that these modules make."""
    return [
        found
        for module in modules
        for _, found in inspect.getmembers(module, inspect.isclass)
        if found.__module__ == module.__name__
    ]


def defaults(value: type) -> dict[str, Any]:
    """Return the defaults of a dataclass."""
    return {
        one.name: one.default if one.default_factory is MISSING else one.default_factory()
        for one in fields(value)
        if one.default is not MISSING or one.default_factory is not MISSING
    }


@pytest.mark.parametrize("value", [found for found in classes() if is_dataclass(found)])
def test_a_value_that_is_not_given_is_this(value: type) -> None:
    found = defaults(value)

    assert found == DEFAULTS.get(value, {})


@pytest.mark.parametrize("words", [found for found in classes() if issubclass(found, StrEnum)])
def test_the_words_are_these(words: type[StrEnum]) -> None:
    assert tuple(words) == WORDS[words]


def test_the_codes_by_which_a_chunk_is_known_in_ledgers_are_these() -> None:
    """An older version's chunks are found by them."""
    assert (model.OVERDUE, recovery.OTHER_KEY) == ("overdue", "other_key")


@pytest.mark.parametrize("value", [found for found in classes() if is_dataclass(found)])
def test_values_are_replaced_and_never_changed(value: Any) -> None:
    """Rule 1 of the model: frozen, and without room for anything else."""
    assert value.__dataclass_params__.frozen
    assert "__slots__" in vars(value)


def test_an_answer_says_nothing_that_a_line_did_not() -> None:
    assert reconcile.Answer(succeeded=True) == (True, *[None] * 7, False, 0, None)


def test_the_bounds_that_the_code_keeps_are_these() -> None:
    """Numbers that stand in the code because nobody changes them; each is somebody's decision."""
    assert (retry.DELAY_S_MIN, retry.DELAY_S_MAX, retry.ACCOUNT_PAUSE_S) == (1.0, 300.0, 300.0)
    assert retry.POLL_AGE_FRACTION == 0.05
    assert (retry.REFUSALS_MAX, retry.REFUSALS_UNCOUNTED) == (64, 8)
    assert packing.BYTES_PER_TOKEN == 3
    assert (Decimal("1e-9"), Decimal("1e6"), Decimal("1e9")) == (money.PLACES, money.MILLION, money.AMOUNT_MAX)
    assert money.OUTPUT_TOKENS_ASSUMED == 1_024


def test_the_largest_amount_is_still_an_amount() -> None:
    assert money.parse("1000000000") == Decimal("1e9")
    assert money.parse("1000000000.000000001") is None


@pytest.mark.parametrize("way", list(Recovery))
def test_every_class_of_provider_has_its_guarantee_in_words(way: Recovery) -> None:
    """The job prints it at its start."""
    assert "created twice" in recovery.GUARANTEE[way]


@pytest.mark.parametrize(
    ("outcome", "code"),
    [("completed", "missing"), ("failed", "batch_failed"), ("expired", "expired"), ("cancelled", "cancelled")],
)
def test_a_row_without_a_line_is_named_for_how_its_batch_ended(outcome: str, code: str) -> None:
    absent = reconcile.unanswered(Outcome(outcome))

    assert (absent.error_code, absent.error_message) == (code, reconcile.UNANSWERED[Outcome(outcome)][1])
    assert reconcile.unanswered(Outcome(outcome), "why").error_message == f"{absent.error_message}: why"


def test_the_errors_that_are_worth_another_try_are_these() -> None:
    assert {408, 409, 429} == retry.RETRYABLE_STATUS
    assert {
        *("batch_expired", "batch_cancelled", "expired", "canceled", "cancelled", "rate_limit_error"),
        *("rate_limit_exceeded", "timeout_error", "api_error", "overloaded_error", "overloaded", "server_error"),
        "internal_server_error",
    } == retry.RETRYABLE_CODES


def test_the_groups_of_states_are_these() -> None:
    """Accounts count what is in flight; a job that is not active is left in peace."""
    assert {state.value for state in model.IN_FLIGHT} == {"submitting", "ambiguous", "unresolved", "submitted"}
    assert {state.value for state in model.HAS_BATCH} == {"submitted", "ended", "collected"}
    assert {state.value for state in model.TERMINAL} == {"collected", "split", "cancelled", "failed"}
    assert {state.value for state in model.ACTIVE_JOBS} == {"running", "stopped", "cancelling"}
