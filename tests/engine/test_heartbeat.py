"""The heartbeat: claims that are being worked on stay with their process; nobody else gets them, and it lets go."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from datetime import datetime

import pytest

from orchestrator.domain.errors import Interrupted, LeaseLost, LedgerAway
from orchestrator.domain.model import ChunkState, Claim, Step
from orchestrator.engine.heartbeat import Heartbeat
from orchestrator.ledger.db.database import open_sqlite
from orchestrator.ledger.steps import SqlLedger
from tests.batches.stage import ClockAtRest
from tests.builders import NOW, a_chunk, after
from tests.contract.ledger_harness import LEASE_S, LedgerHarness

RUNNING = threading.Event()  # never set
PATIENCE_S = 30.0


@pytest.fixture
def harness() -> Iterator[LedgerHarness]:
    """A job with two batches to be polled."""
    database = open_sqlite(None)
    harness = LedgerHarness(database)
    harness.open(shards=0)
    harness.add(*(a_chunk(f"c00000-0000{number}", state=ChunkState.SUBMITTED) for number in range(2)))
    yield harness
    database.close()


@pytest.fixture
def clock() -> ClockAtRest:
    return ClockAtRest()


@pytest.fixture
def heartbeat(harness: LedgerHarness, clock: ClockAtRest) -> Heartbeat:
    return Heartbeat(harness.ledger, clock, LEASE_S)


def test_what_is_worked_on_is_kept_for_a_lease_from_each_beat(
    harness: LedgerHarness, clock: ClockAtRest, heartbeat: Heartbeat
) -> None:
    for claim in harness.claim(Step.POLL):
        heartbeat.add(claim, since=NOW)

    for turn in range(1, 13):
        clock.at = after(turn * LEASE_S / 4)
        heartbeat.beat()

    assert harness.claim(Step.POLL, now=after(4 * LEASE_S - 1)) == []
    assert len(harness.claim(Step.POLL, now=after(4 * LEASE_S))) == 2


def test_what_is_not_worked_on_any_more_is_not_kept(
    harness: LedgerHarness, clock: ClockAtRest, heartbeat: Heartbeat
) -> None:
    done, kept = harness.claim(Step.POLL)
    for claim in (done, kept):
        heartbeat.add(claim, since=NOW)
    clock.at = after(LEASE_S / 2)

    heartbeat.remove(done)
    heartbeat.beat()

    assert [claim.unit for claim in harness.claim(Step.POLL, now=after(LEASE_S))] == [done.unit]


def test_a_process_says_what_it_is_at_the_longest_first(harness: LedgerHarness, heartbeat: Heartbeat) -> None:
    first, second = harness.claim(Step.POLL)
    heartbeat.add(second, since=after(5))
    heartbeat.add(first, since=NOW)

    assert [(one.step, one.unit, one.since) for one in heartbeat.doing()] == [
        (Step.POLL, first.unit.name, NOW),
        (Step.POLL, second.unit.name, after(5)),
    ]
    heartbeat.remove(first)
    assert [one.unit for one in heartbeat.doing()] == [second.unit.name]


def test_a_claim_may_have_a_longer_lease_of_its_own(
    harness: LedgerHarness, clock: ClockAtRest, heartbeat: Heartbeat
) -> None:
    """Units whose workers died together do not become free together: see decision 0023."""
    short, long = harness.claim(Step.POLL)
    heartbeat.add(short, since=NOW)
    heartbeat.add(long, since=NOW, lease_s=2.5 * LEASE_S)
    clock.at = after(1)

    heartbeat.beat()

    assert [claim.unit for claim in harness.claim(Step.POLL, now=after(1 + 2 * LEASE_S))] == [short.unit]


def test_a_step_whose_claim_is_lost_hears_so_at_its_next_checkpoint(
    harness: LedgerHarness, clock: ClockAtRest, heartbeat: Heartbeat
) -> None:
    claim, other = harness.claim(Step.POLL)
    heartbeat.add(claim, since=NOW)
    heartbeat.add(other, since=NOW)
    heartbeat.check(claim, RUNNING)
    harness.ledger.renew({other: after(2 * LEASE_S)})
    clock.at = after(LEASE_S)
    [taken] = harness.claim(Step.POLL, now=clock.at)

    heartbeat.beat()

    assert taken.unit == claim.unit
    with pytest.raises(LeaseLost):
        heartbeat.check(claim, RUNNING)
    heartbeat.check(other, RUNNING)
    assert harness.claim(Step.POLL, now=after(2 * LEASE_S - 1)) == []  # the thief's lease is as it was


def test_a_process_that_stops_interrupts_its_steps_at_their_next_checkpoint(
    harness: LedgerHarness, heartbeat: Heartbeat
) -> None:
    claim, _ = harness.claim(Step.POLL)
    heartbeat.add(claim, since=NOW)
    stopping = threading.Event()
    stopping.set()

    with pytest.raises(Interrupted):
        heartbeat.check(claim, stopping)


def test_after_the_machine_slept_its_own_claims_are_renewed_before_anything_is_claimed(
    harness: LedgerHarness, clock: ClockAtRest, heartbeat: Heartbeat
) -> None:
    """A laptop that was closed for an hour: the leases are over, and nobody else has the units."""
    for claim in harness.claim(Step.POLL):
        heartbeat.add(claim, since=NOW)
    clock.at = after(3_600)

    heartbeat.catch_up(clock.at)

    assert harness.claim(Step.POLL, now=clock.at) == []


def test_catching_up_writes_nothing_while_all_leases_stand(
    harness: LedgerHarness, clock: ClockAtRest, heartbeat: Heartbeat
) -> None:
    claim, _ = harness.claim(Step.POLL)
    heartbeat.add(claim, since=NOW)
    clock.at = after(LEASE_S - 1)

    heartbeat.catch_up(clock.at)

    assert len(harness.claim(Step.POLL, now=after(LEASE_S))) == 2


class Shaky(SqlLedger):
    """Is away for the first two beats."""

    def __init__(self, harness: LedgerHarness) -> None:
        super().__init__(harness.database)
        self.beats = 0
        self.has_renewed = threading.Event()

    def renew(self, leases: Mapping[Claim, datetime]) -> frozenset[Claim]:
        """Renew, from the third time on."""
        self.beats += 1
        if self.beats < 3:
            raise LedgerAway("the database is restarted")
        standing = super().renew(leases)
        self.has_renewed.set()
        return standing


def test_a_ledger_that_is_away_for_a_while_does_not_end_the_heartbeat(
    harness: LedgerHarness, clock: ClockAtRest
) -> None:
    """A real thread; its lease is so short that it beats every few milliseconds."""
    [claim, _] = harness.claim(Step.POLL)
    ledger = Shaky(harness)
    clock.at = after(LEASE_S / 2)

    with Heartbeat(ledger, clock, lease_s=0.02) as heartbeat:
        heartbeat.add(claim, since=NOW, lease_s=LEASE_S)
        assert ledger.has_renewed.wait(PATIENCE_S)

    assert [claim.unit for claim in harness.claim(Step.POLL, now=after(LEASE_S))] != [claim.unit]


def test_a_heartbeat_ends_with_its_block(harness: LedgerHarness, clock: ClockAtRest) -> None:
    before = threading.active_count()

    with Heartbeat(harness.ledger, clock, lease_s=0.02):
        assert threading.active_count() == before + 1

    assert threading.active_count() == before
