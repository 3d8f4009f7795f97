"""Handing out: claimed and committed first, sent afterwards; whoever does it and however often, nothing is doubled."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.domain.model import ChunkState, Claim, Step
from orchestrator.domain.queues import QUEUE_OF, Queue
from orchestrator.fleet.broker import EXPIRES_S
from orchestrator.fleet.hand_out import LENGTH_MAX, hand_out
from orchestrator.ledger.db.database import open_sqlite
from tests.builders import NOW, a_chunk, a_job
from tests.contract.ledger_harness import LedgerHarness
from tests.fakes.clock import BEGINNING, VirtualClock

ALL = frozenset(Queue)


@dataclass
class Standing:
    """Queues in which everything stands until it is taken."""

    sent: list[Claim] = field(default_factory=list)
    taken: int = 0
    is_away: bool = False

    def lengths(self) -> Mapping[Queue, int]:
        standing = Counter(QUEUE_OF[claim.step] for claim in self.sent[self.taken :])
        return {queue: standing[queue] for queue in Queue}

    def send(self, claims: Iterable[Claim]) -> None:
        if self.is_away:
            raise ConnectionError
        self.sent.extend(claims)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[LedgerHarness]:
    database = open_sqlite(tmp_path / "ledger.db")
    harness = LedgerHarness(database)
    harness.open(a_job(batches_in_flight_max=1_000), shards=0)
    yield harness
    database.close()


@pytest.fixture
def clock() -> VirtualClock:
    clock = VirtualClock(random.Random(0))
    clock.advance((NOW - BEGINNING).total_seconds())
    return clock


def put_in_flight(harness: LedgerHarness, count: int) -> None:
    """Enter so many batches, each due to be looked at."""
    harness.add(*(a_chunk(f"c00000-{number:05d}", state=ChunkState.SUBMITTED) for number in range(count)))


def test_every_step_goes_to_the_queue_of_its_lane(harness: LedgerHarness, clock: VirtualClock) -> None:
    harness.add(a_chunk("c00000-00000"), a_chunk("c00000-00001", state=ChunkState.ENDED))
    queues = Standing()

    hand_out(harness.ledger, clock, queues, ALL)

    assert {claim.step for claim in queues.sent} == {Step.SUBMIT, Step.COLLECT, Step.REVIEW}
    assert queues.lengths() == {Queue.CONTROL: 1, Queue.TRANSFER: 1, Queue.PLAN: 0, Queue.COLLECT: 1}


def test_what_is_sent_is_claimed_and_committed_before(harness: LedgerHarness, clock: VirtualClock) -> None:
    """A worker may have the message before `send` has returned: its token must be the ledger's by then."""
    put_in_flight(harness, 3)
    seen: list[Claim] = []

    class Quick(Standing):
        def send(self, claims: Iterable[Claim]) -> None:
            for claim in claims:
                assert harness.ledger.renew({claim: clock.now() + timedelta(seconds=60)})
                seen.append(claim)

    hand_out(harness.ledger, clock, Quick(), ALL)

    assert Counter(claim.step for claim in seen) == {Step.POLL: 3, Step.REVIEW: 1}


def test_two_beats_hand_out_each_unit_once(harness: LedgerHarness, clock: VirtualClock) -> None:
    put_in_flight(harness, 20)
    one, other = Standing(), Standing()

    hand_out(harness.ledger, clock, one, ALL)
    hand_out(harness.ledger, clock, other, ALL)

    assert (len(one.sent), len(other.sent)) == (21, 0)


def test_a_queue_is_kept_short(harness: LedgerHarness, clock: VirtualClock) -> None:
    """What waits in a queue is claimed: too much of it would expire before anybody gets to it."""
    put_in_flight(harness, 3 * LENGTH_MAX[Queue.CONTROL])
    queues = Standing()

    for _ in range(5):
        hand_out(harness.ledger, clock, queues, ALL)

    assert queues.lengths()[Queue.CONTROL] == LENGTH_MAX[Queue.CONTROL]


def test_a_queue_is_filled_again_once_it_is_half_empty(harness: LedgerHarness, clock: VirtualClock) -> None:
    most = LENGTH_MAX[Queue.CONTROL]
    put_in_flight(harness, 3 * most)
    queues = Standing()
    hand_out(harness.ledger, clock, queues, ALL)

    queues.taken = most // 2 - 1
    hand_out(harness.ledger, clock, queues, ALL)
    assert len(queues.sent) == most
    queues.taken = most // 2
    hand_out(harness.ledger, clock, queues, ALL)

    assert len(queues.sent) == most + most // 2


def test_what_nobody_serves_stays_due_where_an_autoscaler_sees_it(harness: LedgerHarness, clock: VirtualClock) -> None:
    harness.add(a_chunk("c00000-00000"), a_chunk("c00000-00001", state=ChunkState.ENDED))
    queues = Standing()

    hand_out(harness.ledger, clock, queues, {Queue.CONTROL, Queue.TRANSFER})

    assert {claim.step for claim in queues.sent} == {Step.SUBMIT, Step.REVIEW}
    assert len(harness.claim(Step.COLLECT, now=clock.now())) == 1


def test_what_could_not_be_sent_is_free_again_soon(harness: LedgerHarness, clock: VirtualClock) -> None:
    put_in_flight(harness, 5)

    with pytest.raises(ConnectionError):
        hand_out(harness.ledger, clock, Standing(is_away=True), ALL)
    early, late = Standing(), Standing()
    clock.advance(EXPIRES_S - 1)
    hand_out(harness.ledger, clock, early, ALL)
    clock.advance(1)
    hand_out(harness.ledger, clock, late, ALL)

    assert (len(early.sent), len(late.sent)) == (0, 6)
