"""A stop that a step reports: taken whatever else has moved, and never at the cost of what the step has to record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.changes import ChunkMoved, JobMoved
from orchestrator.domain.model import Job, JobState, Step
from tests.builders import JOB, NOW, a_chunk, after
from tests.contract.books import Books


def stopped(job: Job, reason: str) -> JobMoved:
    return JobMoved(before=job, after=replace(job, state=JobState.STOPPED, reason=reason), due_at=NOW)


def test_a_stop_decided_before_a_review_moved_the_job_is_taken_with_all_that_comes_with_it(books: Books) -> None:
    """A refused create must be on record even where the job was reviewed meanwhile."""
    books.open()
    chunk = a_chunk()
    books.add(chunk)
    chunk, job = books.ledger.chunk(chunk.id), books.ledger.job(JOB)
    [claim] = books.claim(Step.SUBMIT)
    books.write(JobMoved(before=job, after=replace(job, retry_count=7), due_at=NOW))

    moved = ChunkMoved(before=chunk, after=replace(chunk, error="refused"), due_at=after(60))
    books.ledger.record(claim, moved, stopped(job, "no such model"), now=NOW)

    found = books.ledger.job(JOB)
    assert (found.state, found.reason, found.retry_count) == (JobState.STOPPED, "no such model", 7)
    assert books.ledger.chunk(chunk.id).error == "refused"


@pytest.mark.parametrize("first", [JobState.CANCELLING, JobState.STOPPED])
def test_what_came_first_stands(books: Books, first: JobState) -> None:
    """A job that is being cancelled is not stopped by a step that did not know; of two stops the first has its say."""
    job = books.open()
    [claim] = books.claim(Step.PLAN)
    if first is JobState.CANCELLING:
        books.admin.cancel(JOB, now=NOW)
    else:
        books.write(stopped(job, "the first reason"))

    books.ledger.record(claim, stopped(job, "a later reason"), now=NOW)

    found = books.ledger.job(JOB)
    assert (found.state, found.reason) == (first, "" if first is JobState.CANCELLING else "the first reason")
