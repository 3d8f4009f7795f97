"""A key of another account in the middle of a job: nothing that was paid for is sent again, or given up (S17)."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from orchestrator.batches.cancel import TRIES_MAX as CANCEL_TRIES_MAX
from orchestrator.batches.cancel import cancel
from orchestrator.batches.poll import poll
from orchestrator.batches.recover import recover
from orchestrator.collector.collect import RESULTS_S_MAX, collect
from orchestrator.collector.settle import Collecting
from orchestrator.domain.changes import AttemptOpened
from orchestrator.domain.model import AttemptToken, BatchId, Chunk, ChunkState, FileId, Outcome, Step
from orchestrator.domain.recovery import OTHER_KEY
from orchestrator.job_files.create_journal import write_journal
from orchestrator.ledger.db.database import open_sqlite
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.secret import Secret
from orchestrator.providers.onerouter.dialect import READER
from orchestrator.providers.onerouter.provider import OneRouter
from tests.adapters.openai_wire import Account, an_openai
from tests.adapters.wire import Answers
from tests.builders import NOW, a_chunk, after, an_attempt
from tests.contract.ledger_harness import LedgerHarness
from tests.fakes.clock import BEGINNING, VirtualClock
from tests.fakes.dialects import onerouter
from tests.fakes.job_files import MemoryJobFiles

NEVER_HEARD_OF_IT: Final = (404, b'{"error": {"message": "no such batch"}}')


@pytest.mark.parametrize(("age_s", "state"), [(60, ChunkState.SUBMITTED), (2 * 3_600, ChunkState.UNRESOLVED)])
def test_a_batch_that_the_account_does_not_know_is_unresolved_and_never_sent_again(
    age_s: int, state: ChunkState, tmp_path: Path
) -> None:
    """Not at once: a young batch may not be listed yet. After an hour a person is asked."""
    harness = LedgerHarness(open_sqlite(tmp_path / "ledger.db"))
    harness.open(shards=0)
    sent = {"token": AttemptToken("token-1"), "attempt": 1, "sent_at": after(-age_s)}
    harness.add(a_chunk(state=ChunkState.SUBMITTED, **sent))
    clock = VirtualClock(random.Random(1))
    clock.advance((NOW - BEGINNING).total_seconds())
    network = Answers(NEVER_HEARD_OF_IT)
    stranger = onerouter(HttpClient("https://api.example/v1", Secret("sk-canary-other-key"), transport=network))
    [claim] = harness.claim(Step.POLL)

    poll(claim, ledger=harness.ledger, job_files=MemoryJobFiles(), provider=stranger, clock=clock)

    assert harness.ledger.chunk(a_chunk().id).state is state
    assert harness.claim(Step.SUBMIT, now=after(10**6)) == []
    assert [request.method for request in network.requests] == ["GET"]
    harness.database.close()


OURS, THEIRS = "sk-canary-our-key", "sk-canary-other-key"
TOKEN: Final = AttemptToken("token-1")
AT_WORK: Final = (200, json.dumps({"id": "batch-1", "status": "in_progress"}).encode())
AN_HOUR_AGO: Final = after(-2 * 3_600)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[LedgerHarness]:
    opened = LedgerHarness(open_sqlite(tmp_path / "ledger.db"))
    opened.open(shards=0)
    yield opened
    opened.database.close()


@pytest.fixture
def clock() -> VirtualClock:
    started = VirtualClock(random.Random(1))
    started.advance((NOW - BEGINNING).total_seconds())
    return started


def a_provider(key: str, network: Answers) -> OneRouter:
    return onerouter(HttpClient("https://api.example/v1", Secret(key), transport=network))


def sent_with_our_key(harness: LedgerHarness, **fields: Any) -> Chunk:
    """Enter a chunk whose create was begun with our key."""
    chunk = a_chunk(token=TOKEN, attempt=1, sent_at=AN_HOUR_AGO, **fields)
    harness.add(chunk)
    mark = a_provider(OURS, Answers()).traits.key_mark
    harness.write(AttemptOpened(attempt=an_attempt(TOKEN, chunk, key_mark=mark), budget_usd=None))
    return harness.ledger.chunk(chunk.id)


def test_a_batch_that_another_key_does_not_know_goes_on_by_itself_when_its_own_is_back(
    harness: LedgerHarness, clock: VirtualClock
) -> None:
    """It is held, for the person who put the key in; looked at again and again; and taken up again without a word."""
    chunk = sent_with_our_key(harness, state=ChunkState.SUBMITTED)
    job_files = MemoryJobFiles()
    write_journal(job_files, TOKEN, BatchId("batch-1"))
    looking: dict[str, Any] = {
        "ledger": harness.ledger,
        "job_files": job_files,
        "clock": clock,
    }
    [claim] = harness.claim(Step.POLL)
    poll(claim, provider=a_provider(THEIRS, Answers(NEVER_HEARD_OF_IT)), **looking)
    held = harness.ledger.chunk(chunk.id)
    clock.advance(61)
    [claim] = harness.claim(Step.RECOVER, now=clock.now())

    recover(claim, provider=a_provider(THEIRS, Answers()), **looking)

    assert (held.state, held.error_code) == (ChunkState.UNRESOLVED, OTHER_KEY)
    assert "ONEROUTER_API_KEY" in held.error
    assert harness.ledger.chunk(chunk.id).state is ChunkState.UNRESOLVED
    clock.advance(1_000)
    [claim] = harness.claim(Step.RECOVER, now=clock.now())
    recover(claim, provider=a_provider(OURS, Answers()), **looking)
    assert harness.ledger.chunk(chunk.id).state is ChunkState.SUBMITTED


def test_results_that_another_key_does_not_find_are_not_lost(harness: LedgerHarness, clock: VirtualClock) -> None:
    """However often it looks: they are paid for, and there when the key is back."""
    chunk = sent_with_our_key(harness, state=ChunkState.ENDED, outcome=Outcome.COMPLETED, done_count=10)
    job_files = MemoryJobFiles()
    provider = a_provider(THEIRS, Answers(*[NEVER_HEARD_OF_IT] * 20))
    collecting = Collecting(job_digest="ab", price=None, read_line=READER)

    for _ in range(4):
        [claim] = harness.claim(Step.COLLECT, now=clock.now())
        collect(
            claim, ledger=harness.ledger, job_files=job_files, provider=provider, collecting=collecting, clock=clock
        )
        clock.advance(RESULTS_S_MAX)

    found = harness.ledger.chunk(chunk.id)
    assert (found.state, found.tries) == (ChunkState.ENDED, 0)
    assert "another API key" in found.error


def test_a_new_key_that_knows_the_batch_may_say_that_its_results_are_gone(
    harness: LedgerHarness, clock: VirtualClock
) -> None:
    """A rotated key: what it does not find is counted, or a job whose results are gone would never end."""
    chunk = sent_with_our_key(harness, state=ChunkState.ENDED, outcome=Outcome.COMPLETED, done_count=10)
    provider = a_provider(THEIRS, Answers(AT_WORK))
    collecting = Collecting(job_digest="ab", price=None, read_line=READER)
    [claim] = harness.claim(Step.COLLECT)

    collect(
        claim, ledger=harness.ledger, job_files=MemoryJobFiles(), provider=provider, collecting=collecting, clock=clock
    )

    assert harness.ledger.chunk(chunk.id).tries == 1


def test_a_cancel_waits_for_the_key_that_the_batch_was_made_with(harness: LedgerHarness, clock: VirtualClock) -> None:
    """That the other account has no such batch does not say that it has ended."""
    chunk = sent_with_our_key(harness, state=ChunkState.SUBMITTED)
    harness.admin.cancel(chunk.job_id, now=NOW)

    for _ in range(CANCEL_TRIES_MAX + 2):
        [claim] = harness.claim(Step.CANCEL, now=clock.now())
        cancel(claim, ledger=harness.ledger, provider=a_provider(THEIRS, Answers(NEVER_HEARD_OF_IT)), clock=clock)
        clock.advance(10_000)

    assert not harness.ledger.chunk(chunk.id).cancel_sent


@pytest.mark.parametrize(
    ("state", "is_known", "expected", "is_fenced"),
    [
        (ChunkState.AMBIGUOUS, False, ChunkState.AMBIGUOUS, True),
        (ChunkState.UNRESOLVED, False, ChunkState.AMBIGUOUS, False),
        (ChunkState.UNRESOLVED, True, ChunkState.UNRESOLVED, False),
    ],
)
def test_a_new_key_that_sees_the_input_file_goes_on_but_not_with_a_batch_it_does_not_know(
    harness: LedgerHarness,
    clock: VirtualClock,
    state: ChunkState,
    is_known: bool,
    expected: ChunkState,
    is_fenced: bool,
) -> None:
    """The file shows the account, so the create can be looked up. A batch that was made, and that this account does not
    list, stays held: asked about again, it would only be held again."""
    sent_with_our_key(harness, state=state, file_id=FileId("file-0"), error_code=OTHER_KEY)
    job_files, account = MemoryJobFiles(), Account([])
    account.files = {"file-0": f"orchestrator-{TOKEN}.jsonl"}
    if is_known:
        write_journal(job_files, TOKEN, BatchId("batch-1"))
    [claim] = harness.claim(Step.RECOVER)

    with an_openai(transport=account) as provider:
        recover(claim, ledger=harness.ledger, job_files=job_files, provider=provider, clock=clock)

    assert harness.ledger.chunk(a_chunk().id).state is expected
    assert ("DELETE /v1/files/file-0" in account.calls) is is_fenced
