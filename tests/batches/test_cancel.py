"""One cancel of one chunk: what is dropped, what the provider is asked, and when it is looked at again."""

from __future__ import annotations

import pytest

from orchestrator.batches.cancel import cancel
from orchestrator.domain.errors import BadRequest, NotAuthorized, ProviderError, RateLimited, Unavailable
from orchestrator.domain.model import Chunk, ChunkState, Claim, Step
from tests.batches.stage import BATCH, Stage


def run(stage: Stage, chunk: Chunk, claim: Claim | None = None) -> Chunk:
    taken = claim or stage.claim(chunk, Step.CANCEL)
    cancel(taken, ledger=stage.harness.ledger, provider=stage.provider, clock=stage.clock)
    return stage.chunk(chunk)


@pytest.mark.parametrize("state", ["planned", "uploaded", "splitting"])
def test_what_was_not_sent_is_dropped_and_the_provider_is_not_asked(state: str) -> None:
    stage = Stage()

    chunk = run(stage, stage.put(state, cancel_requested=True))

    assert (chunk.state, chunk.tally.failed, stage.due_s(chunk)) == (ChunkState.CANCELLED, 2, None)
    assert stage.provider.calls == []


def test_what_runs_is_cancelled_at_the_provider_and_asked_about_at_once() -> None:
    """The chunk stays as it is: a poll finds out how the batch ended."""
    stage = Stage()
    stage.after(40)

    chunk = run(stage, stage.put("submitted", cancel_requested=True, tries=3))

    assert stage.provider.calls == [("cancel", BATCH)]
    assert (chunk.state, chunk.cancel_sent, chunk.tries, stage.due_s(chunk)) == (ChunkState.SUBMITTED, True, 0, 40)


@pytest.mark.parametrize(("state", "sent"), [("submitted", True), ("ambiguous", False), ("unresolved", False)])
def test_what_needs_no_cancel_or_may_not_be_there_is_left_as_it_is(state: str, sent: bool) -> None:
    """A second delivery, or one that comes late: a held chunk stays held, a person must say."""
    stage = Stage()
    before = stage.put(state, cancel_requested=True, cancel_sent=sent)

    chunk = run(stage, before, stage.claim(before))

    assert chunk == before
    assert stage.provider.calls == []


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [(Unavailable("away"), 1.5), (RateLimited("slow down", retry_after_s=30.0), 30.0), (NotAuthorized("no"), 1.5)],
)
def test_a_cancel_that_may_yet_be_taken_is_tried_again_after_a_while(error: ProviderError, wait_s: float) -> None:
    stage = Stage()
    stage.provider.tell(error)

    chunk = run(stage, stage.put("submitted", cancel_requested=True))

    assert (chunk.cancel_sent, chunk.tries, chunk.error) == (False, 1, str(error))
    assert stage.due_s(chunk) == wait_s


def test_a_cancel_that_is_refused_is_not_repeated_and_the_batch_is_polled_on() -> None:
    stage = Stage()
    stage.provider.tell(BadRequest("it is over"))

    chunk = run(stage, stage.put("submitted", cancel_requested=True, tries=2))

    assert (chunk.cancel_sent, chunk.tries, chunk.error, stage.due_s(chunk)) == (True, 0, "it is over", 0)


@pytest.mark.parametrize(("failed_before", "is_given_up"), [(6, False), (7, True)])
def test_a_cancel_that_fails_eight_times_is_given_up_so_that_polls_do_not_wait_for_ever(
    failed_before: int, is_given_up: bool
) -> None:
    stage = Stage()
    stage.provider.tell(Unavailable("away"))

    chunk = run(stage, stage.put("submitted", cancel_requested=True, tries=failed_before))

    assert chunk.cancel_sent is is_given_up
    assert (chunk.tries, stage.due_s(chunk)) == ((0, 0) if is_given_up else (7, 64.5))
