"""A job whose dataset cannot be read any more."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.dataset import ended_without_dataset
from orchestrator.domain.errors import DatasetError
from orchestrator.domain.model import ChunkState, JobState
from orchestrator.domain.progress import Totals
from tests.builders import a_job

LOST = DatasetError("rows.csv does not exist")


def totals(**fields: Any) -> Totals:
    return Totals(**{"shards": 1, "shards_planning": 0, "rows": 20, "settled": 0, "refused": 0, **fields})


@pytest.mark.parametrize("settled", [0, 20])
def test_a_running_job_is_stopped_and_says_how_to_get_what_was_answered(settled: int) -> None:
    after = ended_without_dataset(a_job(), totals(settled=settled), LOST)

    assert after is not None
    assert after.state is JobState.STOPPED
    assert ("--answers" in after.reason) == bool(settled)


@pytest.mark.parametrize(
    "busy", [{"chunks": {ChunkState.SUBMITTED: 1}}, {"chunks": {ChunkState.SUBMITTING: 1}}, {"waiting": 1}]
)
def test_a_cancel_ends_only_once_nothing_is_in_flight(busy: dict[str, Any]) -> None:
    """Ended before, the batches would be neither cancelled nor collected, though they are paid for."""
    job = a_job(state=JobState.CANCELLING)

    assert ended_without_dataset(job, totals(**busy), LOST) is None


def test_a_cancel_ends_without_an_output() -> None:
    after = ended_without_dataset(a_job(state=JobState.CANCELLING), totals(settled=20), LOST)

    assert after is not None
    assert after.state is JobState.CANCELLED
    assert after.reason.startswith("it has no output: rows.csv does not exist")
