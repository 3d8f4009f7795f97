"""A create whose answer names the batch of another create: it is not understood, and no result is joined by it."""

from __future__ import annotations

from typing import Final

import pytest

from orchestrator.batches.recover import recover
from orchestrator.batches.submit import submit
from orchestrator.domain.batch import Listed, Traits
from orchestrator.domain.changes import AttemptOpened
from orchestrator.domain.model import AttemptState, BatchId, Chunk, ChunkState, JobId, JobState
from orchestrator.domain.recovery import NOT_UNDERSTOOD, Recovery
from orchestrator.job_files.create_journal import read_journal, write_journal
from orchestrator.providers.private_errors import answer_before, answer_name
from tests.batches.stage import BATCH, TOKEN, Stage
from tests.builders import JOB, a_chunk, a_job, added, after, an_attempt

C: Final = Traits(name="told", recovery=Recovery.UNKNOWABLE, settle_s=77.0)
B2: Final = Traits(name="told", recovery=Recovery.SETTLED, settle_s=77.0, lag_s=60.0, late_s=600.0)


def taken(stage: Stage, state: str = "submitted", job_id: JobId = JOB) -> None:
    """Let another chunk have the batch; if it is another job's, that job has ended."""
    if job_id != JOB:
        stage.harness.open(a_job(job_id))
    other = a_chunk("c00000-00009", state=state, job_id=job_id)
    stage.harness.write(added(other), job_id=job_id)
    attempt = an_attempt("earlier", other, state=AttemptState.CREATED, batch_id=BATCH)
    stage.harness.write(AttemptOpened(attempt=attempt, budget_usd=None), job_id=job_id)
    if job_id != JOB:
        stage.harness.put_job(JobState.FINISHED, job_id)


def step(stage: Stage, chunk: Chunk) -> Chunk:
    do = submit if chunk.state is ChunkState.PLANNED else recover
    do(
        stage.claim(chunk),
        ledger=stage.harness.ledger,
        job_files=stage.job_files,
        provider=stage.provider,
        clock=stage.clock,
    )
    return stage.chunk(chunk)


@pytest.mark.parametrize("traits", [C, B2])
@pytest.mark.parametrize(
    ("theirs", "job_id"),
    [("submitted", JOB), ("ended", JOB), ("collected", JOB), ("collected", JobId("ended-deadbeef"))],
)
def test_the_chunk_has_no_batch_and_the_journal_no_answer(traits: Traits, theirs: str, job_id: JobId) -> None:
    """Whatever is lost afterwards, the other create's batch is nowhere recorded as this one's."""
    stage = Stage(traits)
    taken(stage, theirs, job_id)
    before = stage.put("planned")
    stage.provider.tell(BATCH)

    chunk = step(stage, before)

    token = chunk.token or TOKEN
    assert (chunk.batch_id, chunk.error_code) == (None, NOT_UNDERSTOOD)
    assert chunk.state is (ChunkState.UNRESOLVED if traits is C else ChunkState.AMBIGUOUS)
    assert f"answered with batch batch-1, which is that of chunk {job_id}/c00000-00009" in chunk.error
    assert read_journal(stage.job_files, token) is None
    assert stage.job_files.exists(answer_name(token))
    assert answer_before(stage.job_files, token) is None  # a restored ledger does not take it for this create's batch
    job = stage.harness.ledger.job(JOB)
    assert ((job.state, job.decision) == (JobState.STOPPED, "create")) is (traits is C)
    assert (stage.paused_until_s() is not None) is (traits is B2)


@pytest.mark.parametrize(("state", "ends"), [("submitting", "unresolved"), ("unresolved", "unresolved")])
def test_an_answer_that_a_crash_left_in_the_journal_is_found_out_later(state: str, ends: str) -> None:
    stage = Stage(C)
    taken(stage)
    before = stage.put(state, error_code=NOT_UNDERSTOOD if state == "unresolved" else "")
    write_journal(stage.job_files, TOKEN, BATCH)

    chunk = step(stage, before)

    assert (chunk.state, chunk.error_code, chunk.batch_id) == (ChunkState(ends), NOT_UNDERSTOOD, None)
    assert read_journal(stage.job_files, TOKEN) is None
    assert [one.state for one in stage.attempts if one.token == TOKEN] == [AttemptState.OPEN]
    assert stage.provider.calls == []


def test_a_list_that_shows_the_other_creates_batch_leaves_it_to_a_person() -> None:
    """A provider that mixes up the marks of two creates proves nothing."""
    stage = Stage(B2)
    taken(stage)
    before = stage.put("ambiguous")
    stage.provider.tell([Listed(batch_id=BATCH, created_at=after(3))])

    chunk = step(stage, before)

    assert (chunk.state, chunk.error_code) == (ChunkState.UNRESOLVED, NOT_UNDERSTOOD)
    assert stage.harness.ledger.job(JOB).decision == "create"


def test_a_batch_of_its_own_is_found_by_the_list() -> None:
    stage = Stage(B2)
    taken(stage)
    stage.provider.tell(BATCH)
    chunk = step(stage, stage.put("planned"))
    stage.after(700)
    stage.provider.tell([Listed(batch_id=BatchId("batch-2"), created_at=after(3))])

    found = step(stage, chunk)

    assert (found.state, found.batch_id) == (ChunkState.SUBMITTED, "batch-2")
