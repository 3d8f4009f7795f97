"""What several writers could do to each other on PostgreSQL, where nothing waits its turn by itself.

Each race is run many times, on threads that begin together. `locks` says how each is closed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Final

import pytest

from orchestrator.domain.changes import (
    AccountPaused,
    AttemptClosed,
    AttemptOpened,
    ChunkMoved,
    JobMoved,
    RowsSettled,
    ShardMoved,
)
from orchestrator.domain.errors import BudgetExhausted, LeaseLost
from orchestrator.domain.model import AttemptState, Chunk, ChunkState, Claim, JobId, Step, Tally, Unit
from tests.builders import ACCOUNT, NOW, a_chunk, a_job, added, after, an_attempt
from tests.contract.ledger_harness import LedgerHarness
from tests.contract.threads import at_once

pytestmark = pytest.mark.slow

ROOT: Final = Path(__file__).resolve().parents[2]
ROUNDS: Final = 8
S = ChunkState


@pytest.mark.parametrize("same_account", [True, False])
def test_two_who_hand_out_creates_at_once_never_pass_the_accounts_room(
    postgres: LedgerHarness, *, same_account: bool
) -> None:
    """Also where two jobs of one account, claimed apart, share its room."""
    for number in range(ROUNDS):
        account = f"account-{number}"
        ids = [JobId(f"a{number}-deadbeef"), JobId(f"b{number}-deadbeef")]
        for job_id in ids:
            postgres.open(a_job(job_id, account=account, batches_in_flight_max=3), shards=0)
            postgres.add(*(a_chunk(f"c00000-{n:05d}", job_id=job_id) for n in range(4)))
        taken: list[Unit] = []

        def work(which: int, ids: list[JobId] = ids, taken: list[Unit] = taken, *, one: bool = same_account) -> None:
            job_id = None if one else ids[which % 2]
            taken.extend(claim.unit for claim in postgres.claim(Step.SUBMIT, limit=3, job_id=job_id))

        at_once(4, work)

        mine = [unit for unit in taken if unit.job_id in ids]
        assert len(set(taken)) == len(taken)
        assert len(mine) <= 3
        postgres.admin.cancel(ids[0], now=NOW)
        postgres.admin.cancel(ids[1], now=NOW)


def test_two_who_hand_out_plans_at_once_never_plan_further_ahead_than_allowed(postgres: LedgerHarness) -> None:
    for number in range(ROUNDS):
        job_id = JobId(f"j{number}-deadbeef")
        postgres.open(a_job(job_id, account=f"account-{number}", chunks_ahead_max=2), shards=6)
        taken: list[Claim] = []

        def work(_n: int, taken: list[Claim] = taken, job_id: JobId = job_id) -> None:
            taken.extend(postgres.claim(Step.PLAN, limit=2, job_id=job_id))

        at_once(4, work)

        assert len(taken) == 2


def test_of_two_creates_that_fit_the_budget_one_by_one_but_not_together_one_is_refused(postgres: LedgerHarness) -> None:
    for number in range(ROUNDS):
        job_id = JobId(f"j{number}-deadbeef")
        postgres.open(a_job(job_id, account=job_id), shards=0)
        chunks = [a_chunk(f"c00000-{n:05d}", job_id=job_id) for n in range(4)]
        postgres.add(*chunks)
        claims = postgres.claim(Step.SUBMIT, job_id=job_id)
        refused: list[int] = []

        def work(n: int, claims: list[Claim] = claims, refused: list[int] = refused, number: int = number) -> None:
            chunk = postgres.ledger.chunk(claims[n].unit.chunk_id)  # type: ignore[arg-type]
            attempt = an_attempt(f"token-{number}-{n}", chunk, reserved_usd=Decimal("0.4"))
            begun = ChunkMoved(before=chunk, after=replace(chunk, state=S.SUBMITTING), due_at=NOW)
            opened = AttemptOpened(attempt=attempt, budget_usd=Decimal(1))
            try:
                postgres.ledger.record(claims[n], begun, opened, now=NOW, keep=True)
            except BudgetExhausted:
                refused.append(n)

        at_once(4, work)

        assert len(refused) == 2
        assert postgres.ledger.totals(job_id).reserved_usd == Decimal("0.8")


def test_of_two_possible_duplicates_that_fit_only_separately_one_is_decided_again(postgres: LedgerHarness) -> None:
    """`max_duplicate_usd` is what may be paid twice in all, whoever decides at the same time."""
    for number in range(ROUNDS):
        job_id = JobId(f"j{number}-deadbeef")
        postgres.open(a_job(job_id, max_duplicate_usd=Decimal(1)), shards=0)
        chunks = [a_chunk(f"c00000-{n:05d}", job_id=job_id, state=S.AMBIGUOUS) for n in range(4)]
        postgres.add(*chunks)
        tokens = [f"token-{number}-{n}" for n in range(4)]
        for token, chunk in zip(tokens, chunks, strict=True):
            attempt = an_attempt(token, chunk, reserved_usd=Decimal("0.5"))
            postgres.write(AttemptOpened(attempt=attempt, budget_usd=None), job_id=job_id)
        claims = postgres.claim(Step.RECOVER, job_id=job_id)
        lost: list[int] = []

        def work(
            n: int,
            claims: list[Claim] = claims,
            lost: list[int] = lost,
            number: int = number,
        ) -> None:
            chunk = postgres.ledger.chunk(claims[n].unit.chunk_id)  # type: ignore[arg-type]
            token = an_attempt(f"token-{number}-{int(chunk.name[-1])}").token
            moved = ChunkMoved(before=chunk, after=replace(chunk, state=S.PLANNED), due_at=NOW)
            try:
                abandoned = AttemptClosed(token=token, state=AttemptState.ABANDONED)
                postgres.ledger.record(claims[n], moved, abandoned, now=NOW)
            except LeaseLost:
                lost.append(n)

        at_once(4, work)

        assert len(lost) == 2
        assert postgres.ledger.totals(job_id).possibly_double_paid_usd == Decimal(1)


def test_a_chunk_added_beside_a_cancel_never_misses_it(postgres: LedgerHarness) -> None:
    """Whichever comes first: the cancel finds the chunk, or the chunk finds the cancel."""
    for number in range(ROUNDS * 2):
        job_id = JobId(f"j{number}-deadbeef")
        postgres.open(a_job(job_id), shards=1)
        [claim] = postgres.claim(Step.PLAN, job_id=job_id)
        chunks = [a_chunk(f"c00000-{n:05d}", job_id=job_id) for n in range(5)]

        def work(n: int, claim: Claim = claim, chunks: list[Chunk] = chunks, job_id: JobId = job_id) -> None:
            if n == 0:
                postgres.admin.cancel(job_id, now=NOW)
            else:
                changes = (added(chunk) for chunk in chunks)
                postgres.ledger.record(claim, *changes, now=NOW)

        at_once(2, work)

        assert [postgres.ledger.chunk(chunk.id).cancel_requested for chunk in chunks] == [True] * 5


@pytest.mark.parametrize(
    ("before", "then"), [(S.SUBMITTING, S.SUBMITTED), (S.PLANNED, S.SUBMITTING), (S.SUBMITTING, S.AMBIGUOUS)]
)
def test_a_chunk_that_moves_beside_a_cancel_never_misses_it(postgres: LedgerHarness, before: S, then: S) -> None:
    """A create under way ends, or begins, while the cancel looks at every chunk of the job."""
    for number in range(ROUNDS):
        job_id = JobId(f"j{number}-deadbeef")
        postgres.open(a_job(job_id, batches_in_flight_max=100), shards=0)
        chunks = [a_chunk(f"c00000-{n:05d}", job_id=job_id, state=before) for n in range(12)]
        postgres.add(*chunks)
        claims = postgres.claim(Step.SUBMIT if before is S.PLANNED else Step.RECOVER, job_id=job_id)

        def work(n: int, claims: list[Claim] = claims, job_id: JobId = job_id) -> None:
            if n == 0:
                postgres.admin.cancel(job_id, now=NOW)
                return
            for claim in claims:
                chunk = a_chunk(str(claim.unit.chunk_id).rpartition("/")[2], job_id=job_id, state=before)
                moved = replace(chunk, state=then, batch_id=chunk.id if then is S.SUBMITTED else None)  # type: ignore[arg-type]
                with suppress(LeaseLost):
                    postgres.ledger.record(claim, ChunkMoved(before=chunk, after=moved, due_at=NOW), now=NOW)

        at_once(2, work)

        found = [postgres.ledger.chunk(chunk.id) for chunk in chunks]
        assert all(chunk.cancel_requested for chunk in found)
        if before is S.SUBMITTING:
            assert {chunk.state for chunk in found} == {then}  # the answer to a create is never refused


def test_of_many_who_open_a_job_at_once_one_enters_it_and_the_others_find_it(postgres: LedgerHarness) -> None:
    postgres.open()
    for number in range(ROUNDS):
        job_id = JobId(f"j{number}-deadbeef")

        def work(_n: int, job_id: JobId = job_id) -> None:
            postgres.open(a_job(job_id), shards=50)

        at_once(4, work)

        assert [shard.shard_no for shard in postgres.ledger.shards(job_id)] == list(range(50))
        assert postgres.ledger.job(job_id).version == 3
        assert [event.name for _, event in postgres.admin.events(job_id)] == ["job.opened"]


def test_a_pause_of_a_new_account_by_many_at_once_is_taken(postgres: LedgerHarness) -> None:
    postgres.open(shards=0)
    postgres.add(*(a_chunk(f"c00000-{n:05d}") for n in range(4)))
    claims = postgres.claim(Step.SUBMIT)

    def work(n: int) -> None:
        pauses = (AccountPaused(account=name, until=after(60), reason=name) for name in ("new-b", "new-a"))
        postgres.ledger.record(claims[n], *pauses, now=NOW)

    at_once(4, work)

    assert [postgres.admin.pause_reason(name, now=NOW) for name in ("new-a", "new-b")] == [
        "new-a (next try: 2026-11-22 12:01 UTC, or when you run it again)",
        "new-b (next try: 2026-11-22 12:01 UTC, or when you run it again)",
    ]


ROWS: Final = 8  # of a chunk, each in another shard


def settle(harness: LedgerHarness, claim: Claim, chance: Random) -> None:
    """Collect a chunk with rows in many shards, in any order; decide again where a cancel came between."""
    order = chance.sample(range(ROWS), ROWS)
    settled = RowsSettled(
        chunk_id=claim.unit.chunk_id,  # type: ignore[arg-type]
        by_shard=dict.fromkeys(order, 1),
        failed=dict.fromkeys(order, 0),
    )
    pauses = [AccountPaused(account=ACCOUNT, until=NOW, reason="")] * chance.choice([0, 1])
    while True:
        chunk = harness.ledger.chunk(settled.chunk_id)
        collected = replace(chunk, state=S.COLLECTED, tally=Tally(succeeded=ROWS))
        with suppress(LeaseLost):
            moved = ChunkMoved(before=chunk, after=collected, due_at=None)
            harness.ledger.record(claim, moved, settled, *pauses, now=NOW)
            return


def review(harness: LedgerHarness, job_id: JobId, turn: int) -> None:
    for claim in harness.claim(Step.REVIEW, now=after(turn), lease_s=0.001, job_id=job_id):
        job = harness.ledger.job(job_id)
        harness.ledger.record(claim, JobMoved(before=job, after=replace(job, retry_count=turn), due_at=NOW), now=NOW)


def plan(harness: LedgerHarness, job_id: JobId, turn: int) -> None:
    for claim in harness.claim(Step.PLAN, limit=2, now=after(turn), lease_s=0.001, job_id=job_id):
        shard = harness.ledger.shard(job_id, claim.unit.shard_no or 0)
        moved = ShardMoved(before=shard, after=replace(shard, chunk_count=turn), due_at=NOW)
        harness.ledger.record(claim, moved, now=NOW)


DISTURBANCES: Final[tuple[Callable[[LedgerHarness, JobId, int], object], ...]] = (
    review,
    plan,
    lambda harness, _job_id, turn: harness.claim(*Step, limit=5, now=after(turn), lease_s=0.001),
    lambda harness, job_id, _turn: harness.admin.resume(job_id, now=NOW),
    lambda harness, job_id, turn: harness.admin.cancel(job_id, now=NOW) if turn > 30 else None,
)


@pytest.mark.slow
def test_many_who_write_across_shards_and_jobs_at_once_wait_for_each_other_in_no_circle(
    postgres: LedgerHarness,
) -> None:
    """Settles over many shards, moves of jobs and shards, pauses, cancels, resumes, claims: no error but LeaseLost,
    and every row is settled once."""
    ids = [JobId(f"j{number}-deadbeef") for number in range(2)]
    for job_id in ids:
        postgres.open(a_job(job_id, batches_in_flight_max=1_000), shards=ROWS)
        spread = (
            a_chunk(f"r{n:05d}", job_id=job_id, shard_no=None, state=S.ENDED, request_count=ROWS) for n in range(40)
        )
        postgres.write(*(added(chunk, dict.fromkeys(range(ROWS), 1)) for chunk in spread), job_id=job_id)
    claims = postgres.claim(Step.COLLECT, limit=1_000)
    assert len(claims) == 80

    def work(number: int) -> None:
        chance = Random(number)
        if number < 4:
            for claim in claims[number::4]:
                settle(postgres, claim, chance)
            return
        for turn in range(40):
            with suppress(LeaseLost):
                DISTURBANCES[turn % len(DISTURBANCES)](postgres, chance.choice(ids), turn)

    at_once(8, work)

    for job_id in ids:
        assert [shard.settled_count for shard in postgres.ledger.shards(job_id)] == [40] * ROWS
        assert postgres.ledger.totals(job_id).succeeded == 40 * ROWS


@pytest.mark.parametrize(("step", "state"), [(Step.RECOVER, S.AMBIGUOUS), (Step.POLL, S.SUBMITTED)])
def test_threads_claiming_at_once_pass_over_what_another_has_picked(
    postgres: LedgerHarness, step: Step, state: S
) -> None:
    """Where no room is counted, nothing but the row's own lock keeps two from the same unit."""
    postgres.open(shards=0)
    for number in range(ROUNDS):
        postgres.add(*(a_chunk(f"c{number:05d}-{n:05d}", state=state) for n in range(30)))
        taken: list[Unit] = []

        def work(_n: int, taken: list[Unit] = taken) -> None:
            while claims := postgres.claim(step, limit=3):
                taken.extend(claim.unit for claim in claims)

        at_once(4, work)

        assert (len(taken), len(set(taken))) == (30, 30)
