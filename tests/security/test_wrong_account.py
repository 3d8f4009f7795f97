"""A key of another account in the middle of a job: nothing that was paid for is sent again (S17)."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

import pytest

from orchestrator.batches.poll import poll
from orchestrator.domain.model import AttemptToken, ChunkState, Step
from orchestrator.ledger.database import open_sqlite
from orchestrator.providers.http import HttpClient
from orchestrator.providers.onerouter import OneRouter
from orchestrator.providers.secret import Secret
from tests.adapters.wire import Answers
from tests.builders import NOW, a_chunk, after
from tests.contract.books import Books
from tests.fakes.clock import BEGINNING, VirtualClock

NEVER_HEARD_OF_IT: Final = (404, b'{"error": {"message": "no such batch"}}')


@pytest.mark.parametrize(("age_s", "state"), [(60, ChunkState.SUBMITTED), (2 * 3_600, ChunkState.HELD)])
def test_a_batch_that_the_account_does_not_know_is_held_and_never_sent_again(
    age_s: int, state: ChunkState, tmp_path: Path
) -> None:
    """Not at once: a young batch may not be listed yet. After an hour a person is asked."""
    books = Books(open_sqlite(tmp_path / "ledger.db"))
    books.open(shards=0)
    sent = {"token": AttemptToken("token-1"), "attempt": 1, "sent_at": after(-age_s)}
    books.add(a_chunk(state=ChunkState.SUBMITTED, **sent))
    clock = VirtualClock(random.Random(1))
    clock.advance((NOW - BEGINNING).total_seconds())
    network = Answers(NEVER_HEARD_OF_IT)
    stranger = OneRouter(HttpClient("https://api.example/v1", Secret("sk-canary-other-key"), transport=network))
    [claim] = books.claim(Step.POLL)

    poll(claim, ledger=books.ledger, provider=stranger, clock=clock)

    assert books.ledger.chunk(a_chunk().id).state is state
    assert books.claim(Step.SUBMIT, now=after(10**6)) == []
    assert [request.method for request in network.requests] == ["GET"]
    books.database.close()
