"""Asking a provider has an end: a batch it will not tell of, or results it will not hand out, come before a person."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from orchestrator.batches.poll import poll
from orchestrator.collector.collect import collect
from orchestrator.collector.settle import Collecting
from orchestrator.domain import results_at
from orchestrator.domain.changes import AttemptClosed, AttemptOpened
from orchestrator.domain.model import AttemptState, AttemptToken, BatchId, Chunk, ChunkState, Outcome, Step
from orchestrator.domain.results_at import Inline
from orchestrator.domain.retry import REFUSALS_MAX
from orchestrator.ledger.db.database import open_sqlite
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.secret import Secret
from orchestrator.providers.onerouter.dialect import READER
from tests.adapters.wire import Answers
from tests.builders import JOB, NOW, a_chunk, an_attempt
from tests.contract.ledger_harness import LedgerHarness
from tests.fakes.clock import BEGINNING, VirtualClock
from tests.fakes.dialects import onerouter
from tests.fakes.job_files import MemoryJobFiles
from tests.tiers import sampled

pytestmark = pytest.mark.slow

RUNNING: Final = (200, b'{"batch_id": "batch_1", "task_id": 1, "status": "IN_PROGRESS", "total_requests": 10}')
ENDED: Final = (200, b'{"batch_id": "batch_1", "task_id": 1, "status": "SUCCESS", "total_requests": 10}')
BUSY: Final = (503, b'{"error": {"message": "busy"}}')
DAY_S: Final = 86_400.0
OF_A_CHUNK: Final = (Step.SUBMIT, Step.POLL, Step.COLLECT, Step.RECOVER, Step.CANCEL)


def refusal(status: int) -> tuple[int, bytes]:
    return status, b'{"error": {"message": "never"}}'


class Asking:
    """A job of one chunk at a provider whose answers a test chooses."""

    def __init__(self, folder: Path, state: ChunkState) -> None:
        self.harness = LedgerHarness(open_sqlite(folder / "ledger.db"))
        self.harness.open(shards=0)
        self.clock = VirtualClock(random.Random(1))
        self.clock.advance((NOW - BEGINNING).total_seconds())
        where = results_at.to_text(Inline())
        ended = {"outcome": Outcome.COMPLETED, "results": where} if state is ChunkState.ENDED else {}
        chunk = a_chunk(state=state, token=AttemptToken("token-1"), attempt=1, sent_at=NOW, **ended)
        self.harness.add(chunk)
        self.harness.write(AttemptOpened(attempt=an_attempt("token-1", chunk), budget_usd=None))

    @property
    def chunk(self) -> Chunk:
        return self.harness.ledger.chunk(a_chunk().id)

    def ask(self, *answers: tuple[int, bytes]) -> float:
        """Take the step that is due, each time it is, once for each answer; return how long it took, in seconds."""
        began = self.clock.now()
        for answer in answers:
            claims, limit = list[Any](), self.clock.now() + timedelta(days=1)
            while not claims:
                assert self.clock.now() < limit, "the chunk is never due"
                self.clock.advance(60)
                claims = self.harness.claim(Step.POLL, Step.COLLECT, now=self.clock.now())
            provider = onerouter(HttpClient("https://api.example/v1", Secret("sk-1"), transport=Answers(answer)))
            tools: dict[str, Any] = {"ledger": self.harness.ledger, "provider": provider, "clock": self.clock}
            if claims[0].step is Step.POLL:
                poll(claims[0], job_files=MemoryJobFiles(), **tools)
            else:
                collecting = Collecting(job_digest="0" * 8, price=None, read_line=READER)
                collect(claims[0], job_files=MemoryJobFiles(), collecting=collecting, **tools)
        return (self.clock.now() - began).total_seconds()


@pytest.fixture
def asking(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Asking]:
    asking = Asking(tmp_path, getattr(request, "param", ChunkState.SUBMITTED))
    yield asking
    asking.harness.database.close()


@pytest.mark.parametrize("status", sampled([400, 405, 422, 413], quick={"400"}))
def test_a_call_that_is_refused_for_hours_holds_the_chunk_and_names_its_batch(asking: Asking, status: int) -> None:
    """Held, not dead: the batch may have answers. And a person who knows better lets it go on where it was."""
    batch_id, state = asking.chunk.batch_id, asking.chunk.state

    took_s = asking.ask(*[refusal(status)] * (REFUSALS_MAX - 1))
    assert asking.chunk.state is state
    asking.ask(refusal(status))

    assert 3_600 < took_s < 6 * 3_600
    assert asking.chunk.state is ChunkState.UNRESOLVED
    assert str(batch_id) in asking.chunk.error and f"HTTP {status}" in asking.chunk.error
    assert asking.harness.claim(*OF_A_CHUNK, now=asking.clock.now() + timedelta(days=9)) == []
    asking.harness.admin.resolve(asking.chunk.id, BatchId(str(batch_id)), now=asking.clock.now())
    asking.ask(RUNNING)
    assert (asking.chunk.state, asking.chunk.batch_id) == (ChunkState.SUBMITTED, batch_id)


def look_until_unresolved(asking: Asking, answer: tuple[int, bytes]) -> tuple[float, int]:
    """Look for results until the chunk is unresolved; return how long that took, and how many looks."""
    took_s, looks = 0.0, 0
    while asking.chunk.state is ChunkState.ENDED:
        took_s, looks = took_s + asking.ask(answer), looks + 1
        assert took_s < DAY_S
    return took_s, looks


@pytest.mark.parametrize("asking", [ChunkState.ENDED], indirect=True)
@pytest.mark.parametrize("answer", [refusal(400), refusal(404), ENDED], ids=["refused", "gone", "not named"])
def test_results_that_are_not_there_for_hours_come_before_a_person(asking: Asking, answer: tuple[int, bytes]) -> None:
    """They were paid for: the rows are neither failed nor sent again, and a person may have it look on."""
    batch_id = asking.chunk.batch_id

    took_s, looks = look_until_unresolved(asking, answer)

    assert 6 * 3_600 <= took_s < 6.5 * 3_600
    assert 40 < looks < 150
    assert asking.chunk.state is ChunkState.UNRESOLVED
    assert str(batch_id) in asking.chunk.error and "6 hours" in asking.chunk.error
    asking.harness.admin.resolve(asking.chunk.id, BatchId(str(batch_id)), now=asking.clock.now())
    asking.ask(ENDED)
    took_s, _ = look_until_unresolved(asking, answer)
    assert took_s >= 6 * 3_600


@pytest.mark.parametrize("asking", [ChunkState.ENDED], indirect=True)
def test_while_results_are_looked_for_it_is_told_since_when_and_until_when(asking: Asking) -> None:
    asking.ask(refusal(404), refusal(404))

    (trouble,) = asking.harness.ledger.totals(JOB).troubles
    assert trouble.since is not None and trouble.next_at is not None
    assert f"looked for until {trouble.since + timedelta(hours=6):%Y-%m-%d %H:%M} UTC" in trouble.reason


@pytest.mark.parametrize("asking", [ChunkState.ENDED], indirect=True)
def test_a_provider_that_was_away_for_hours_and_then_has_no_results_is_looked_at_for_hours_more(asking: Asking) -> None:
    asking.ask(*[BUSY] * 120, refusal(404))

    assert asking.chunk.state is ChunkState.ENDED
    took_s, _ = look_until_unresolved(asking, refusal(404))
    assert took_s >= 5.9 * 3_600


@pytest.mark.parametrize("asking", [ChunkState.ENDED], indirect=True)
def test_results_that_a_person_gives_up_cost_their_rows_and_nothing_is_sent_again(asking: Asking) -> None:
    made = AttemptClosed(
        token=AttemptToken("token-1"), state=AttemptState.CREATED, batch_id=BatchId(str(asking.chunk.batch_id))
    )
    asking.harness.write(made)
    look_until_unresolved(asking, refusal(404))

    asking.harness.admin.give_up_results(asking.chunk.id, now=asking.clock.now())
    asking.ask(refusal(404))

    assert asking.chunk.state is ChunkState.COLLECTED
    assert (asking.chunk.tally.failed, asking.chunk.tally.waiting) == (10, 0)


@pytest.mark.slow
def test_a_provider_that_was_away_for_hours_and_then_refuses_once_is_asked_again(asking: Asking) -> None:
    """Only refusals count, and only those in a row: what a proxy says while its server starts holds nothing."""
    asking.ask(*[BUSY] * (2 * REFUSALS_MAX), refusal(400), *[BUSY] * REFUSALS_MAX, refusal(400))

    assert asking.chunk.state is ChunkState.SUBMITTED


def test_refusals_that_come_and_go_do_not_make_the_waits_short(asking: Asking) -> None:
    """Whatever they alternate with, a call that goes on failing is made every few minutes at most."""
    asking.ask(*[BUSY] * 20)

    took_s = asking.ask(*[refusal(400), BUSY] * 20)

    assert took_s > 40 * 90


def test_a_key_that_is_refused_for_days_holds_no_chunk(asking: Asking) -> None:
    """It is the account's affair; the right key goes on."""
    asking.ask(*[refusal(401)] * (2 * REFUSALS_MAX))

    assert asking.chunk.state is ChunkState.SUBMITTED


def test_a_batch_that_is_not_over_after_twice_its_time_is_named_and_asked_about_on(asking: Asking) -> None:
    """Named once in the timeline, and in the totals for as long as it lasts; nothing is cancelled or sent again."""
    asking.ask(RUNNING)
    asking.clock.advance(2 * DAY_S - 3_600)
    asking.ask(RUNNING)
    assert asking.harness.ledger.totals(JOB).overdue == 0
    asking.clock.advance(3_600)

    asking.ask(RUNNING, RUNNING)

    totals = asking.harness.ledger.totals(JOB)
    assert (totals.overdue, totals.overdue_batch) == (1, asking.chunk.batch_id)
    told = [event.details for _, event in asking.harness.admin.events(JOB) if event.name == "batch.overdue"]
    assert told == [{"chunk": asking.chunk.name, "batch": asking.chunk.batch_id}]
    assert (asking.chunk.state, asking.chunk.cancel_requested) == (ChunkState.SUBMITTED, False)
    asking.ask(ENDED)
    assert (asking.chunk.state, asking.chunk.error_code) == (ChunkState.ENDED, "")
    assert asking.harness.ledger.totals(JOB).overdue == 0
