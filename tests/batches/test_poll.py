"""One poll of one batch: what is recorded of each answer, and when it is asked again."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from orchestrator.batches.poll import poll
from orchestrator.domain import results_at
from orchestrator.domain.batch import BatchStatus
from orchestrator.domain.errors import Gone, NotAuthorized, ProviderError, RateLimited, Unavailable
from orchestrator.domain.faults import Fault
from orchestrator.domain.model import AttemptState, Chunk, ChunkState, Claim, JobState, Outcome, Step
from orchestrator.domain.results_at import Inline
from orchestrator.job_files import records
from tests.batches.stage import BATCH, Stage, an_accepted_batch
from tests.builders import ACCOUNT, JOB, a_chunk, after


def run(stage: Stage, chunk: Chunk, claim: Claim | None = None) -> Chunk:
    poll(
        claim or stage.claim(chunk),
        ledger=stage.harness.ledger,
        job_files=stage.job_files,
        provider=stage.provider,
        clock=stage.clock,
    )
    return stage.chunk(chunk)


@pytest.mark.parametrize("state", ["planned", "ambiguous", "unresolved", "ended"])
def test_a_chunk_without_a_running_batch_is_not_asked_about(state: str) -> None:
    """A message that is delivered late finds nothing to do."""
    stage = Stage()
    before = stage.put(state)

    chunk = run(stage, before, stage.claim(before))

    assert chunk == before
    assert stage.provider.calls == []


def test_a_running_batch_shows_its_progress_and_is_asked_again_after_a_twentieth_of_its_age() -> None:
    stage = Stage()
    stage.after(1_000)
    stage.provider.tell(BatchStatus(outcome=None, done_count=1, failed_count=1, fees_usd=Decimal("0.25")))

    chunk = run(stage, stage.put("submitted", tries=4, error="away"))

    assert stage.provider.calls == [("status", BATCH)]
    assert (chunk.state, chunk.done_count, chunk.failed_count) == (ChunkState.SUBMITTED, 1, 1)
    assert (chunk.fees_usd, chunk.tries, chunk.error) == (Decimal("0.25"), 0, "")
    assert stage.due_s(chunk) == 1_050


def test_a_batch_that_has_ended_is_collected_at_once_and_its_price_is_settled() -> None:
    stage = Stage()
    stage.after(60)
    ended = BatchStatus(
        outcome=Outcome.EXPIRED, results=Inline(), done_count=1, fees_usd=Decimal("0.5"), error="a day is over"
    )
    stage.provider.tell(ended)

    chunk = run(stage, stage.put("submitted"))

    assert (chunk.state, chunk.outcome, chunk.results) == (
        ChunkState.ENDED,
        Outcome.EXPIRED,
        results_at.to_text(Inline()),
    )
    assert (chunk.error, chunk.done_count, stage.due_s(chunk)) == ("a day is over", 1, 60)
    [attempt] = stage.attempts
    assert (attempt.state, attempt.cost_usd) == (AttemptState.CREATED, Decimal("0.5"))


def test_a_batch_that_was_rejected_whole_costs_nothing_and_is_sent_again_later() -> None:
    stage = Stage()
    stage.provider.tell(BatchStatus(outcome=Outcome.FAILED, rejected=Fault.QUEUE, error="the queue is full"))

    chunk = run(stage, stage.put("submitted", attempts=3))

    assert (chunk.state, chunk.batch_id, chunk.error) == (ChunkState.PLANNED, None, "the queue is full")
    assert [attempt.state for attempt in stage.attempts] == [AttemptState.REFUSED]
    assert (stage.due_s(chunk), chunk.setbacks) == (1.5, 1)  # the queue holds nothing else of the account


def rejected(fault: Fault, **fields: Any) -> BatchStatus:
    return BatchStatus(outcome=Outcome.FAILED, rejected=fault, error="it says so", **fields)


@pytest.mark.parametrize("places", [(1,), ()])
def test_a_batch_that_was_rejected_for_some_of_its_requests_is_cut(places: tuple[int, ...]) -> None:
    stage = Stage()
    an_accepted_batch(stage)
    stage.provider.tell(rejected(Fault.ROW, places=places, error_code="invalid_type"))

    chunk = run(stage, stage.put("submitted"))

    assert (chunk.state, chunk.batch_id, chunk.error_code) == (ChunkState.SPLITTING, None, "invalid_type")
    assert chunk.refused_places == " ".join(map(str, places))
    assert stage.attempts[-1].state is AttemptState.REFUSED


def test_a_batch_of_one_request_that_was_rejected_for_it_is_given_up_and_the_folder_says_so() -> None:
    stage = Stage()
    an_accepted_batch(stage)
    stage.provider.tell(rejected(Fault.ROW, places=(0,), error_code="invalid_type"))

    chunk = run(stage, stage.put("submitted", request_count=1, row_end=1))

    assert (chunk.state, chunk.error_code, chunk.tally.failed) == (ChunkState.FAILED, "invalid_type", 1)
    assert records.read_given_up(stage.job_files, chunk.name) is not None


def test_a_batch_that_was_rejected_for_the_accounts_sake_pauses_it() -> None:
    stage = Stage()
    stage.provider.tell(rejected(Fault.ACCOUNT))

    chunk = run(stage, stage.put("submitted"))

    assert (chunk.state, stage.paused_until_s()) == (ChunkState.PLANNED, 300)


def test_a_batch_that_was_rejected_for_the_jobs_sake_stops_it() -> None:
    stage = Stage()
    stage.provider.tell(rejected(Fault.JOB, places=(0,)))

    chunk = run(stage, stage.put("submitted"))

    assert chunk.state is ChunkState.PLANNED
    assert stage.harness.ledger.job(JOB).state is JobState.STOPPED


def test_a_batch_that_the_platform_rejected_is_sent_again_ever_later_and_counts_as_no_try() -> None:
    """The count outlives the create of the next batch: that one was accepted, too, before it was rejected."""
    stage = Stage()
    stage.provider.tell(rejected(Fault.PLATFORM))

    chunk = run(stage, stage.put("submitted", setbacks=3))

    assert (chunk.state, chunk.setbacks, chunk.round) == (ChunkState.PLANNED, 4, 1)
    assert stage.due_s(chunk) == 12.0  # sixteen seconds, and a quarter less by a draw of a half


@pytest.mark.parametrize(
    ("error", "wait_s"), [(Unavailable("away"), 4.5), (RateLimited("slow", retry_after_s=90.0), 90.0)]
)
def test_a_poll_that_fails_says_so_and_is_tried_again_later_and_later(error: ProviderError, wait_s: float) -> None:
    stage = Stage()
    stage.provider.tell(error)

    chunk = run(stage, stage.put("submitted", tries=2))

    assert (chunk.state, chunk.tries, chunk.error) == (ChunkState.SUBMITTED, 3, str(error))
    assert (stage.due_s(chunk), stage.paused_until_s()) == (wait_s, None)


def test_a_credential_that_is_not_taken_pauses_the_account_in_the_providers_words() -> None:
    stage = Stage()
    stage.provider.tell(NotAuthorized("out of credits", status=402))

    chunk = run(stage, stage.put("submitted"))

    assert (chunk.state, chunk.tries, stage.paused_until_s()) == (ChunkState.SUBMITTED, 1, 300)
    reason = stage.harness.admin.pause_reason(ACCOUNT, now=after(299))
    assert reason.startswith("out of credits. Next: add credit")


@pytest.mark.parametrize(("age_s", "state"), [(3_600, ChunkState.SUBMITTED), (3_600.001, ChunkState.UNRESOLVED)])
def test_a_batch_that_is_unknown_after_an_hour_is_unresolved(age_s: float, state: ChunkState) -> None:
    """It may have run, and been charged."""
    stage = Stage()
    stage.after(age_s)
    stage.provider.tell(Gone("no such batch", status=404))

    chunk = run(stage, stage.put("submitted"))

    assert chunk.state is state
    if state is ChunkState.UNRESOLVED:
        assert (chunk.error, stage.due_s(chunk)) == (f"the provider no longer knows batch {BATCH}: no such batch", None)


def test_an_old_batch_whose_poll_fails_for_another_reason_is_not_unresolved() -> None:
    stage = Stage()
    stage.after(100_000)
    stage.provider.tell(Unavailable("away"))

    assert run(stage, stage.put("submitted")).state is ChunkState.SUBMITTED


@pytest.mark.parametrize(("asked_s", "due_s", "others_s"), [(None, 5, 5), (120.0, 120, 120), (7_200.0, 7_200, 3_600)])
def test_a_limit_of_calls_holds_all_polls_of_the_account_but_not_for_a_day(
    asked_s: float | None, due_s: float, others_s: float
) -> None:
    """Where the provider does not say for how long, a time of ours."""
    stage = Stage()
    other = a_chunk("c00000-00009", state="submitted")
    stage.provider.tell(RateLimited("slow", status=429, retry_after_s=asked_s))

    chunk = run(stage, stage.put("submitted"))

    stage.harness.add(other)
    assert stage.due_s(chunk) == due_s
    assert stage.harness.claim(Step.POLL, now=after(others_s - 0.001)) == []
    claims = stage.harness.claim(Step.POLL, now=after(others_s))
    assert other.id in [claim.unit.chunk_id for claim in claims]
