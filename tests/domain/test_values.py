"""Small rules of small values: versions, shards whose length is unknown, defaults that promise something."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from orchestrator.domain.batch import BatchStatus
from orchestrator.domain.changes import written
from orchestrator.domain.dataset import Segment, ShardSpec
from orchestrator.domain.model import Chunk, Job, Outcome, Shard
from orchestrator.domain.policy import OnAmbiguous, Policy
from tests.builders import a_chunk, a_job, a_shard


@pytest.mark.parametrize("unit", [a_job(version=3), a_shard(version=3), a_chunk(version=3)])
def test_what_the_ledger_has_taken_is_one_version_on_and_otherwise_the_same(unit: Job | Shard | Chunk) -> None:
    assert written(unit) == replace(unit, version=4)  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("counts", "rows"),
    [((), 0), ((5,), 5), ((5, 7, 0), 12), ((None,), None), ((5, None), None), ((None, 5), None)],
)
def test_a_shard_knows_its_rows_only_where_every_segment_does(counts: tuple[int | None, ...], rows: int | None) -> None:
    segments = tuple(Segment(file="a.parquet", groups=None, row_count=count) for count in counts)

    assert ShardSpec(shard_no=0, segments=segments).row_count == rows


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_batch_runs_until_it_has_an_outcome(outcome: Outcome) -> None:
    assert BatchStatus(outcome=None).is_running
    assert not BatchStatus(outcome=outcome).is_running


def test_what_a_provider_says_of_a_batch_is_not_shown_with_it() -> None:
    """It may quote a row, and a status may turn up in a traceback."""
    assert "a row" not in repr(BatchStatus(outcome=None, provider_message="a row"))


def test_by_default_nothing_is_ever_sent_twice_on_a_guess() -> None:
    policy = Policy()

    assert policy.on_ambiguous is OnAmbiguous.RECONCILE
    assert policy.max_duplicate_usd == Decimal(0)
