"""One create, one attempt: its money fits the budget, and a chunk never has two that live."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Final

import pytest

from orchestrator.domain.changes import (
    AttemptClosed,
    AttemptOpened,
    ChunkMoved,
)
from orchestrator.domain.errors import BatchTaken, BudgetExhausted, LedgerError
from orchestrator.domain.model import (
    AttemptState,
    AttemptToken,
    BatchId,
    ChunkState,
    JobId,
    JobState,
    Step,
)
from tests.builders import JOB, NOW, a_chunk, a_job, after, an_attempt
from tests.contract.ledger_harness import LedgerHarness

S = ChunkState


@pytest.mark.parametrize(
    ("reserved", "fits"), [("0.499999999", True), ("0.5", True), ("0.500000001", False), ("9", False)]
)
def test_a_budget_may_be_used_up_exactly_and_not_by_a_billionth_more(
    harness: LedgerHarness, reserved: str, *, fits: bool
) -> None:
    """Settled, open and abandoned creates count; refused ones and those proved absent do not."""
    harness.open(a_job(max_duplicate_usd=Decimal(1)))
    harness.add(*(a_chunk(f"c00000-0000{n}") for n in range(7)))
    states = {
        1: (AttemptState.CREATED, Decimal("0.25")),  # settled for less than it reserved
        2: (AttemptState.OPEN, None),
        3: (AttemptState.ABANDONED, None),
        4: (AttemptState.REFUSED, None),
        5: (AttemptState.ABSENT, None),
    }
    for n, (state, cost) in states.items():
        one = an_attempt(f"token-{n}", a_chunk(f"c00000-0000{n}"), reserved_usd=Decimal("0.5"), state=AttemptState.OPEN)
        harness.write(AttemptOpened(attempt=one, budget_usd=None))
        harness.write(AttemptClosed(token=one.token, state=state, cost_usd=cost))
    wanted = an_attempt("token-6", a_chunk("c00000-00006"), reserved_usd=Decimal(reserved))
    opened = AttemptOpened(attempt=wanted, budget_usd=Decimal("1.75"))

    if fits:
        harness.write(opened)
    else:
        with pytest.raises(BudgetExhausted, match=r"the budget is 1\.75"):
            harness.write(opened)

    assert ("token-6" in {found.token for found in harness.admin.attempts(JOB)}) is fits


def test_another_jobs_money_does_not_count(harness: LedgerHarness) -> None:
    other = JobId("other-deadbeef")
    harness.open()
    harness.open(a_job(other))
    harness.add(a_chunk(), a_chunk(job_id=other))
    mine = an_attempt("token-1", reserved_usd=Decimal(1))
    harness.write(AttemptOpened(attempt=mine, budget_usd=Decimal(1)))

    theirs = an_attempt("token-2", a_chunk(job_id=other), reserved_usd=Decimal(1))
    harness.write(AttemptOpened(attempt=theirs, budget_usd=Decimal(1)), job_id=other)

    assert [found.token for found in harness.admin.attempts(other)] == ["token-2"]


def test_a_create_that_does_not_fit_the_budget_leaves_the_chunk_unsent(harness: LedgerHarness) -> None:
    """The intent and the money are one write."""
    harness.open()
    harness.add(a_chunk())
    [claim] = harness.claim(Step.SUBMIT)
    begun = ChunkMoved(before=a_chunk(), after=replace(a_chunk(), state=S.SUBMITTING), due_at=NOW)
    opened = AttemptOpened(attempt=an_attempt(reserved_usd=Decimal(1)), budget_usd=Decimal(0))

    with pytest.raises(BudgetExhausted):
        harness.ledger.record(claim, begun, opened, now=NOW, keep=True)

    assert harness.ledger.chunk(a_chunk().id) == a_chunk()
    assert harness.admin.attempts(JOB) == []
    harness.ledger.record(claim, now=NOW)  # the claim is still the caller's


@pytest.mark.parametrize("state", [AttemptState.OPEN, AttemptState.CREATED])
def test_a_second_live_attempt_of_a_chunk_is_impossible(harness: LedgerHarness, state: AttemptState) -> None:
    """Promise 2, held by the database itself."""
    harness.open()
    harness.add(a_chunk())
    harness.write(AttemptOpened(attempt=an_attempt("token-1"), budget_usd=None))
    harness.write(AttemptClosed(token=AttemptToken("token-1"), state=state))

    with pytest.raises(LedgerError):
        harness.write(AttemptOpened(attempt=an_attempt("token-2", number=2), budget_usd=None))

    assert [found.token for found in harness.admin.attempts(JOB)] == ["token-1"]


@pytest.mark.parametrize("state", [AttemptState.REFUSED, AttemptState.ABSENT, AttemptState.ABANDONED])
def test_after_an_attempt_that_came_to_nothing_there_may_be_another(
    harness: LedgerHarness, state: AttemptState
) -> None:
    harness.open()
    harness.add(a_chunk())
    harness.write(AttemptOpened(attempt=an_attempt("token-1"), budget_usd=None))
    harness.write(AttemptClosed(token=AttemptToken("token-1"), state=state))

    second = an_attempt("token-2", number=2, sent_at=after(1), digest="1234", reserved_usd=Decimal("0.1"))
    harness.write(AttemptOpened(attempt=second, budget_usd=None))

    assert harness.admin.attempts(JOB) == [an_attempt("token-1", state=state), second]


@pytest.mark.parametrize(
    "wrong",
    [
        an_attempt("token-1", a_chunk("c00000-00001")),  # a token is of one create only
        an_attempt("token-2", state=AttemptState.REFUSED),  # so is a number of a chunk
    ],
)
def test_no_two_attempts_share_a_token_or_a_number(harness: LedgerHarness, wrong: object) -> None:
    harness.open()
    harness.add(a_chunk(), a_chunk("c00000-00001"))
    harness.write(AttemptOpened(attempt=an_attempt("token-1"), budget_usd=None))

    with pytest.raises(LedgerError):
        harness.write(AttemptOpened(attempt=wrong, budget_usd=None))  # type: ignore[arg-type]


def test_a_batch_is_of_one_attempt_only(harness: LedgerHarness) -> None:
    """Promise 4: or two chunks would read the same answers, and pay for them once each."""
    harness.open()
    harness.add(a_chunk(), a_chunk("c00000-00001"))
    harness.write(AttemptOpened(attempt=an_attempt("token-1"), budget_usd=None))
    harness.write(AttemptOpened(attempt=an_attempt("token-2", a_chunk("c00000-00001")), budget_usd=None))
    created = AttemptClosed(
        token=AttemptToken("token-1"), state=AttemptState.CREATED, batch_id=BatchId("batch-1"), cost_usd=None
    )
    harness.write(created)

    with pytest.raises(LedgerError):
        harness.write(replace(created, token=AttemptToken("token-2")))

    assert [found.batch_id for found in harness.admin.attempts(JOB)] == ["batch-1", None]


OTHER: Final = JobId("other-deadbeef")


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.FINISHED, JobState.CANCELLED])
@pytest.mark.parametrize("ended_as", [AttemptState.CREATED, AttemptState.REFUSED])
def test_a_batch_of_another_job_is_its_own_for_ever(
    harness: LedgerHarness, state: JobState, ended_as: AttemptState
) -> None:
    """Whatever became of it: its answers are of other rows, and what is missing would be paid for again."""
    harness.open()
    harness.open(a_job(OTHER))
    harness.add(a_chunk(), a_chunk(job_id=OTHER))
    harness.write(AttemptOpened(attempt=an_attempt("token-1", a_chunk(job_id=OTHER)), budget_usd=None), job_id=OTHER)
    harness.write(AttemptOpened(attempt=an_attempt("token-2"), budget_usd=None))
    created = AttemptClosed(token=AttemptToken("token-1"), state=AttemptState.CREATED, batch_id=BatchId("batch-1"))
    harness.write(created, replace(created, state=ended_as, batch_id=None), job_id=OTHER)
    harness.put_job(state, OTHER)

    with pytest.raises(BatchTaken, match=r"batch batch-1, which is that of chunk other-deadbeef/c00000-00000") as taken:
        harness.write(replace(created, token=AttemptToken("token-2")))

    assert taken.value.owner == "other-deadbeef/c00000-00000"
    assert [found.batch_id for found in harness.admin.attempts(JOB)] == [None]


@pytest.mark.parametrize(
    "elsewhere",
    [{"account": "onerouter/ANOTHER_KEY"}, {"spec": '{"provider": {"base_url": "http://elsewhere.test/v1"}}'}],
)
def test_another_account_or_address_may_give_the_same_id(harness: LedgerHarness, elsewhere: dict[str, str]) -> None:
    """Providers that count their batches all begin with the same one."""
    harness.open()
    harness.open(a_job(OTHER, **elsewhere))
    for token, job_id in (("token-1", OTHER), ("token-2", JOB)):
        chunk = a_chunk(job_id=job_id)
        harness.add(chunk)
        harness.write(AttemptOpened(attempt=an_attempt(token, chunk), budget_usd=None), job_id=job_id)
        created = AttemptClosed(token=AttemptToken(token), state=AttemptState.CREATED, batch_id=BatchId("batch-1"))
        harness.write(created, job_id=job_id)

    assert [found.batch_id for found in harness.admin.attempts(JOB)] == ["batch-1"]


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_slash_at_the_end_makes_no_other_address(harness: LedgerHarness, slash: str) -> None:
    for token, job_id, url in (("token-1", OTHER, "http://here.test/v1/"), ("token-2", JOB, "http://here.test/v1")):
        harness.open(a_job(job_id, spec=f'{{"provider": {{"base_url": "{url}{slash}"}}}}'))
        harness.add(a_chunk(job_id=job_id))
        attempt = an_attempt(token, a_chunk(job_id=job_id))
        harness.write(AttemptOpened(attempt=attempt, budget_usd=None), job_id=job_id)
    created = AttemptClosed(token=AttemptToken("token-1"), state=AttemptState.CREATED, batch_id=BatchId("batch-1"))
    harness.write(created, job_id=OTHER)

    with pytest.raises(BatchTaken):
        harness.write(replace(created, token=AttemptToken("token-2")))


def test_closing_an_attempt_keeps_what_is_known_of_it(harness: LedgerHarness) -> None:
    harness.open()
    harness.add(a_chunk())
    token = AttemptToken("token-1")
    harness.write(AttemptOpened(attempt=an_attempt("token-1", reserved_usd=Decimal(1)), budget_usd=None))
    harness.write(AttemptClosed(token=token, state=AttemptState.CREATED, batch_id=BatchId("batch-1")))

    harness.write(AttemptClosed(token=token, state=AttemptState.CREATED, cost_usd=Decimal("0.4")))

    [found] = harness.admin.attempts(JOB)
    assert (found.batch_id, found.cost_usd, found.reserved_usd) == ("batch-1", Decimal("0.4"), Decimal(1))


def test_an_attempt_nobody_opened_cannot_be_closed(harness: LedgerHarness) -> None:
    harness.open()

    with pytest.raises(LedgerError):
        harness.write(AttemptClosed(token=AttemptToken("token-1"), state=AttemptState.REFUSED))
