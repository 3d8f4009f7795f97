"""Handing out polls: within the account's limit of polls a minute, the longest due first, whoever hands them out."""

from __future__ import annotations

import random
from typing import Any, cast

import pytest

from orchestrator.batches.poll import poll
from orchestrator.domain.batch import BatchStatus
from orchestrator.domain.changes import ChunkMoved, PollsPaused
from orchestrator.domain.errors import RateLimited
from orchestrator.domain.model import BatchId, ChunkState, JobId, Step
from tests.builders import JOB, NOW, a_chunk, a_job, after, chunk_id
from tests.contract.books import Books, names
from tests.fakes.clock import VirtualClock
from tests.fakes.job_files import MemorySpool

LIMIT = 12  # a turn about every five seconds
OTHER = JobId("other-00000001")


def fill(books: Books, count: int, **policy: int) -> None:
    """Enter a job with so many running batches, due one second after the other, the last name first."""
    books.open(a_job(**policy))
    for number in range(count):
        books.add(a_chunk(f"c{number:02d}", state=ChunkState.SUBMITTED, sent_at=NOW), due_at=after(-number))


def test_polls_are_handed_out_no_faster_than_the_limit_says(books: Books) -> None:
    """Thirty are due; in three minutes of looking every second all have had their turn, twelve a minute at most."""
    fill(books, 30, polls_per_minute_max=LIMIT)

    given = [names(books.claim(Step.POLL, now=after(second), lease_s=3_600)) for second in range(180)]

    by_minute = [sum(map(len, given[start : start + 60])) for start in (0, 60, 120)]
    assert by_minute == [11, 11, 8]
    assert [name for one in given for name in one] == [f"c{number:02d}" for number in reversed(range(30))]


def test_without_a_limit_all_that_is_due_is_handed_out(books: Books) -> None:
    fill(books, 30)

    assert len(books.claim(Step.POLL)) == 30


def test_the_limit_is_the_accounts_and_the_least_counts(books: Books) -> None:
    """A second job of the account, without a limit of its own, does not poll past the first one's."""
    fill(books, 3, polls_per_minute_max=LIMIT)
    books.open(a_job(OTHER, polls_per_minute_max=1_000))
    books.add(*(a_chunk(f"c{number}", state=ChunkState.SUBMITTED, job_id=OTHER, sent_at=NOW) for number in range(3)))

    assert len(books.claim(Step.POLL)) == 1
    assert len(books.claim(Step.POLL, job_id=OTHER)) == 0


def test_an_account_without_turns_keeps_no_other_from_polling(books: Books) -> None:
    """However many of its batches have been due for longer."""
    fill(books, 5, polls_per_minute_max=LIMIT)
    books.claim(Step.POLL)
    books.open(a_job(OTHER, account="another"))
    books.add(a_chunk("c0", state=ChunkState.SUBMITTED, job_id=OTHER, sent_at=NOW))

    assert [claim.unit.chunk_id for claim in books.claim(Step.POLL, limit=2)] == [chunk_id("c0", OTHER)]


def test_a_pause_holds_all_polls_of_the_account_until_its_end(books: Books) -> None:
    """One batch was told to come back in a minute; nobody else asks before."""
    fill(books, 3)
    [claim] = books.claim(Step.POLL, limit=1)
    told = books.ledger.chunk(chunk_id("c02"))
    later = ChunkMoved(before=told, after=told, due_at=after(60))
    books.ledger.record(claim, later, PollsPaused(account=books.ledger.job(JOB).account, until=after(60)), now=NOW)

    assert books.claim(Step.POLL, now=after(59)) == []
    assert len(books.claim(Step.POLL, now=after(60))) == 3


def test_a_pause_is_never_cut_short(books: Books) -> None:
    """Two answers cross: the one that asks for less does not take back what the other asked for."""
    fill(books, 1)
    account = books.ledger.job(JOB).account
    books.write(PollsPaused(account=account, until=after(60)))
    books.write(PollsPaused(account=account, until=after(5)))

    assert books.claim(Step.POLL, now=after(59)) == []
    assert len(books.claim(Step.POLL, now=after(60))) == 1


def test_creates_are_handed_out_no_faster_than_the_limit_says(books: Books) -> None:
    """Whatever room there is for batches in flight; polls have turns of their own."""
    books.open(a_job(creates_per_minute_max=LIMIT, batches_in_flight_max=100))
    books.add(*(a_chunk(f"c{number:02d}") for number in range(30)))
    books.add(a_chunk("running", state=ChunkState.SUBMITTED, sent_at=NOW))

    given = [len(books.claim(Step.SUBMIT, now=after(second), lease_s=3_600)) for second in range(180)]

    assert [sum(given[start : start + 60]) for start in (0, 60, 120)] == [11, 11, 8]
    assert len(books.claim(Step.POLL)) == 1


class Busy:
    """A provider that answers every poll with a 429."""

    def __init__(self, retry_after_s: float | None) -> None:
        self.retry_after_s = retry_after_s

    def status(self, batch_id: BatchId) -> BatchStatus:  # noqa: ARG002 - part of the port
        raise RateLimited("slow down", status=429, retry_after_s=self.retry_after_s)


@pytest.mark.parametrize(
    ("retry_after_s", "quiet_s", "again_s"), [(30.0, 29.9, 30.1), (None, 4.9, 5.1), (86_400.0, 3_599.9, 3_600.1)]
)
def test_a_429_to_one_poll_holds_all_polls_of_the_account(
    books: Books, retry_after_s: float | None, quiet_s: float, again_s: float
) -> None:
    """For as long as the provider says, an hour at most; a few seconds where it says nothing."""
    fill(books, 3)
    clock, provider = VirtualClock(random.Random(1)), cast("Any", Busy(retry_after_s))
    clock.advance((NOW - clock.now()).total_seconds())
    [claim] = books.claim(Step.POLL, limit=1)
    poll(claim, ledger=books.ledger, job_files=MemorySpool(), provider=provider, clock=clock)

    assert books.claim(Step.POLL, now=after(quiet_s)) == []
    assert {"c00", "c01"} <= set(names(books.claim(Step.POLL, now=after(again_s))))
