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
from tests.contract.ledger_harness import LedgerHarness, names
from tests.fakes.clock import VirtualClock
from tests.fakes.job_files import MemoryJobFiles

LIMIT = 12  # a turn about every five seconds
OTHER = JobId("other-00000001")


def fill(harness: LedgerHarness, count: int, **policy: int) -> None:
    """Enter a job with so many running batches, due one second after the other, the last name first."""
    harness.open(a_job(**policy))
    for number in range(count):
        harness.add(a_chunk(f"c{number:02d}", state=ChunkState.SUBMITTED, sent_at=NOW), due_at=after(-number))


def test_polls_are_handed_out_no_faster_than_the_limit_says(harness: LedgerHarness) -> None:
    """Thirty are due; in three minutes of looking every second all have had their turn, twelve a minute at most."""
    fill(harness, 30, polls_per_minute_max=LIMIT)

    given = [names(harness.claim(Step.POLL, now=after(second), lease_s=3_600)) for second in range(180)]

    by_minute = [sum(map(len, given[start : start + 60])) for start in (0, 60, 120)]
    assert by_minute == [11, 11, 8]
    assert [name for one in given for name in one] == [f"c{number:02d}" for number in reversed(range(30))]


def test_without_a_limit_all_that_is_due_is_handed_out(harness: LedgerHarness) -> None:
    fill(harness, 30)

    assert len(harness.claim(Step.POLL)) == 30


def test_the_limit_is_the_accounts_and_the_least_counts(harness: LedgerHarness) -> None:
    """A second job of the account, without a limit of its own, does not poll past the first one's."""
    fill(harness, 3, polls_per_minute_max=LIMIT)
    harness.open(a_job(OTHER, polls_per_minute_max=1_000))
    harness.add(*(a_chunk(f"c{number}", state=ChunkState.SUBMITTED, job_id=OTHER, sent_at=NOW) for number in range(3)))

    assert len(harness.claim(Step.POLL)) == 1
    assert len(harness.claim(Step.POLL, job_id=OTHER)) == 0


def test_an_account_without_turns_keeps_no_other_from_polling(harness: LedgerHarness) -> None:
    """However many of its batches have been due for longer."""
    fill(harness, 5, polls_per_minute_max=LIMIT)
    harness.claim(Step.POLL)
    harness.open(a_job(OTHER, account="another"))
    harness.add(a_chunk("c0", state=ChunkState.SUBMITTED, job_id=OTHER, sent_at=NOW))

    assert [claim.unit.chunk_id for claim in harness.claim(Step.POLL, limit=2)] == [chunk_id("c0", OTHER)]


def test_a_pause_holds_all_polls_of_the_account_until_its_end(harness: LedgerHarness) -> None:
    """One batch was told to come back in a minute; nobody else asks before."""
    fill(harness, 3)
    [claim] = harness.claim(Step.POLL, limit=1)
    told = harness.ledger.chunk(chunk_id("c02"))
    later = ChunkMoved(before=told, after=told, due_at=after(60))
    harness.ledger.record(claim, later, PollsPaused(account=harness.ledger.job(JOB).account, until=after(60)), now=NOW)

    assert harness.claim(Step.POLL, now=after(59)) == []
    assert len(harness.claim(Step.POLL, now=after(60))) == 3


def test_a_pause_is_never_cut_short(harness: LedgerHarness) -> None:
    """Two answers cross: the one that asks for less does not take back what the other asked for."""
    fill(harness, 1)
    account = harness.ledger.job(JOB).account
    harness.write(PollsPaused(account=account, until=after(60)))
    harness.write(PollsPaused(account=account, until=after(5)))

    assert harness.claim(Step.POLL, now=after(59)) == []
    assert len(harness.claim(Step.POLL, now=after(60))) == 1


def test_creates_are_handed_out_no_faster_than_the_limit_says(harness: LedgerHarness) -> None:
    """Whatever room there is for batches in flight; polls have turns of their own."""
    harness.open(a_job(creates_per_minute_max=LIMIT, batches_in_flight_max=100))
    harness.add(*(a_chunk(f"c{number:02d}") for number in range(30)))
    harness.add(a_chunk("running", state=ChunkState.SUBMITTED, sent_at=NOW))

    given = [len(harness.claim(Step.SUBMIT, now=after(second), lease_s=3_600)) for second in range(180)]

    assert [sum(given[start : start + 60]) for start in (0, 60, 120)] == [11, 11, 8]
    assert len(harness.claim(Step.POLL)) == 1


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
    harness: LedgerHarness, retry_after_s: float | None, quiet_s: float, again_s: float
) -> None:
    """For as long as the provider says, an hour at most; a few seconds where it says nothing."""
    fill(harness, 3)
    clock, provider = VirtualClock(random.Random(1)), cast("Any", Busy(retry_after_s))
    clock.advance((NOW - clock.now()).total_seconds())
    [claim] = harness.claim(Step.POLL, limit=1)
    poll(claim, ledger=harness.ledger, job_files=MemoryJobFiles(), provider=provider, clock=clock)

    assert harness.claim(Step.POLL, now=after(quiet_s)) == []
    assert {"c00", "c01"} <= set(names(harness.claim(Step.POLL, now=after(again_s))))
