"""The ledger's side of a canary: until it has passed, nothing but its chunks is sent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.changes import JobMoved
from orchestrator.domain.model import Canary, JobState, Step
from tests.builders import JOB, NOW, a_chunk, a_job
from tests.contract.books import Books, names

CANARY = "c00000-00000"


def with_canary(books: Books, state: Canary = Canary.WANTED) -> None:
    """Open a job, and add its canary and two more chunks."""
    books.open(a_job(canary=state))
    books.add(a_chunk("c00000-00001"), a_chunk("c00000-00002"), a_chunk(CANARY, is_canary=True))


def stop_for_canary(books: Books) -> None:
    job = books.ledger.job(JOB)
    stopped = replace(job, state=JobState.STOPPED, reason="all failed", decision="canary")
    books.write(JobMoved(before=job, after=stopped, due_at=NOW))


def test_only_the_canary_is_sent_before_the_verdict(books: Books) -> None:
    """Also where two workers ask at once, and again and again; and nothing else is said to be due."""
    with_canary(books)

    assert books.ledger.job(JOB).canary is Canary.OPEN
    assert books.ledger.totals(JOB).waits_for_canary
    assert names(books.claim(Step.SUBMIT)) == [CANARY]
    assert books.claim(Step.SUBMIT) == []
    assert Step.SUBMIT not in books.ledger.due(now=NOW)


@pytest.mark.parametrize("state", [Canary.NONE, Canary.PASSED])
def test_everything_is_sent_where_there_is_no_canary_to_wait_for(books: Books, state: Canary) -> None:
    with_canary(books, state)

    assert not books.ledger.totals(JOB).waits_for_canary
    assert sorted(names(books.claim(Step.SUBMIT))) == [CANARY, "c00000-00001", "c00000-00002"]


def test_a_canary_holds_up_no_other_job(books: Books) -> None:
    with_canary(books)
    books.open(a_job(other := a_job().id.replace("sotu", "other")))  # type: ignore[arg-type]
    books.add(a_chunk("c00000-00007", job_id=other))  # type: ignore[arg-type]

    assert sorted(names(books.claim(Step.SUBMIT))) == [CANARY, "c00000-00007"]


def test_until_the_canary_is_planned_one_shard_at_a_time_is(books: Books) -> None:
    """The first shard with requests gives the canary: two planners at once could give two."""
    books.open(a_job(canary=Canary.WANTED), shards=3)

    assert names(books.claim(Step.PLAN)) == ["shard 0"]
    assert books.claim(Step.PLAN) == []

    books.add(a_chunk(CANARY, is_canary=True))
    assert names(books.claim(Step.PLAN)) == ["shard 1", "shard 2"]


def test_an_approved_canary_lets_the_rest_go(books: Books) -> None:
    with_canary(books)
    stop_for_canary(books)
    books.admin.resume(JOB, now=NOW)
    none = books.claim(Step.SUBMIT)
    books.admin.approve(JOB, now=NOW)

    assert none == []
    assert books.ledger.job(JOB).canary is Canary.PASSED
    assert len(books.claim(Step.SUBMIT)) == 3


def test_the_approval_of_something_else_is_no_verdict_on_the_canary(books: Books) -> None:
    with_canary(books)
    job = books.ledger.job(JOB)
    stopped = replace(job, state=JobState.STOPPED, reason="cannot be read", decision="another question")
    books.write(JobMoved(before=job, after=stopped, due_at=NOW))
    books.admin.approve(JOB, now=NOW)

    assert books.ledger.job(JOB).canary is Canary.OPEN


def test_a_cancelled_job_waits_for_no_canary(books: Books) -> None:
    """Its status would say that rows are still to be sent."""
    with_canary(books)
    stop_for_canary(books)
    before = books.ledger.totals(JOB).waits_for_canary
    books.admin.cancel(JOB, now=NOW)

    assert before
    assert not books.ledger.totals(JOB).waits_for_canary


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_job_opened_again_without_a_canary_waits_for_none_unless_it_needs_a_decision(
    books: Books, *, is_stopped: bool
) -> None:
    """canary_rows = 0 in the job file, run again. A decision is a person's alone."""
    with_canary(books)
    if is_stopped:
        stop_for_canary(books)
    books.admin.open(a_job(canary_rows=0), 1, now=NOW)

    assert books.ledger.job(JOB).canary is (Canary.OPEN if is_stopped else Canary.NONE)
    assert len(books.claim(Step.SUBMIT)) == (0 if is_stopped else 3)


@pytest.mark.parametrize(
    ("states", "is_ended"),
    [
        ([], False),
        (["collected"], True),
        (["split", "collected", "failed"], True),
        (["split", "collected", "submitted"], False),
        (["collected", "planned"], False),
        (["unresolved"], False),
    ],
)
def test_a_canary_has_ended_once_all_of_its_chunks_have(books: Books, states: list[str], *, is_ended: bool) -> None:
    """Its halves and its retries are chunks of it."""
    books.open(a_job(canary=Canary.OPEN))
    books.add(a_chunk("c00000-00009", state="submitted"))
    if states:
        books.add(*(a_chunk(f"c00000-0000{n}", state=state, is_canary=True) for n, state in enumerate(states)))

    assert books.ledger.outlook(JOB).canary_ended is is_ended
    assert [chunk.name for chunk in books.ledger.canary(JOB)] == [f"c00000-0000{n}" for n in range(len(states))]
