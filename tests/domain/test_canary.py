"""The verdict on a canary: what lets the rest of a job be sent, and what a person must look at first."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from orchestrator.domain.canary import CanaryRow, Cost, Passed, Stop, verdict


def answered(count: int = 1, **fields: Any) -> list[CanaryRow]:
    return [CanaryRow(succeeded=True, **fields)] * count


def failed(count: int = 1, code: str = "invalid_request", **fields: Any) -> list[CanaryRow]:
    return [CanaryRow(succeeded=False, error_code=code, **fields)] * count


GOOD = answered()
CUT = answered(error_code="truncated")
EMPTY = answered(error_code="empty")
REFUSED = answered(error_code="refused")
BLOCKED = failed(code="content_filter")
UNREADABLE = failed(code="unreadable")
WAITING = failed(code="server_error", is_waiting=True)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (failed(20), "all 20 rows of the canary failed, all of them with the error code invalid_request"),
        (
            [*failed(18, "model_not_found"), *failed(2)],
            "all 20 rows of the canary failed, 18 of them with the error code model_not_found",
        ),
        (failed(1), "the only row of the canary failed, all of them with the error code invalid_request"),
        (
            [*CUT * 11, *GOOD * 9],
            "11 of 20 answers of the canary were cut off at the length limit (max_tokens)",
        ),
        ([*EMPTY * 3, *GOOD * 2], "3 of 5 answers of the canary came back empty"),
        (
            [*REFUSED * 6, *BLOCKED * 5, *GOOD * 9],
            "11 of 20 answers of the canary were refused by the model or its content filter",
        ),
        ([*UNREADABLE * 20], "20 of 20 answers of the canary came back in a form that cannot be read"),
        # typed answers, which fail their rows
        (
            [*failed(6, "invalid_json"), *failed(5, "schema_mismatch"), *GOOD * 9],
            "11 of 20 answers of the canary did not match the schema in [response]",
        ),
        (
            [*failed(6, "truncated"), *CUT * 5, *GOOD * 9],
            "11 of 20 answers of the canary were cut off at the length limit (max_tokens)",
        ),
        (
            [*failed(11, "refused"), *GOOD * 9],
            "11 of 20 answers of the canary were refused by the model or its content filter",
        ),
        # none of a kind is more than half, and still nothing can be used
        ([*CUT * 2, *EMPTY * 2, *failed(1)], "no answer of the canary can be used: 2 empty, 1 failed, 2 truncated"),
    ],
)
def test_a_bad_canary_stops_the_job_and_says_why(rows: list[CanaryRow], reason: str) -> None:
    """All failed; or more than half unreadable, cut off, refused or empty; or nothing that can be used."""
    assert verdict(rows, None) == Stop(reason)


@pytest.mark.parametrize(
    "rows",
    [
        GOOD * 20,
        [*GOOD, *failed(19)],  # some rows may fail: the output says which
        [*CUT * 10, *GOOD * 10],
    ],
)
def test_a_canary_with_answers_passes(rows: list[CanaryRow]) -> None:
    assert verdict(rows, None) == Passed()


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (WAITING * 20, None),
        ([*GOOD * 9, *WAITING * 11], None),
        ([*failed(10), *WAITING * 10], None),
        ([*GOOD * 10, *WAITING * 10], Passed()),  # whatever comes back, most of it can be used
    ],
)
def test_rows_that_are_sent_again_are_no_evidence(rows: list[CanaryRow], expected: Passed | None) -> None:
    """A batch that expired, or a server's error, says nothing about the job: the verdict waits for the next try."""
    assert verdict(rows, None) == expected


def test_a_code_that_is_no_code_is_not_repeated() -> None:
    """A provider may put anything there, also a row's words; a reason is kept in the ledger."""
    found = verdict(failed(2, "the prompt 'my secret' is bad"), None)

    assert found == Stop("all 2 rows of the canary failed, all of them with the error code unknown")


@pytest.mark.parametrize(
    ("cost", "reason"),
    [
        (None, ""),
        (Cost(usd=Decimal("0.03"), usd_max=Decimal("0.01")), ""),  # three times as much: within the bound
        (
            Cost(usd=Decimal("0.0301"), usd_max=Decimal("0.01")),
            "a row of the canary cost 0.003010 USD, the estimate was at most 0.001000 USD",
        ),
        (Cost(usd=Decimal(1), usd_max=Decimal(0)), ""),  # a price of zero is no estimate
    ],
)
def test_a_canary_that_cost_far_more_than_estimated_stops_the_job(cost: Cost | None, reason: str) -> None:
    """More than three times the estimated maximum: a wrong price or a wrong model, times all rows."""
    assert verdict(GOOD * 10, cost) == (Stop(reason) if reason else Passed())
