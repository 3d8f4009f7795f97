"""The input file of a create that was refused: the next create is sent with the same one."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from orchestrator.batches.submit import submit
from orchestrator.domain.batch import Traits
from orchestrator.domain.errors import BadRequest, CreateRefused, NotAuthorized, ProviderError, RateLimited, Unavailable
from orchestrator.domain.faults import Fault
from orchestrator.domain.input_file import InputState
from orchestrator.domain.model import AttemptState, Chunk, ChunkState, FileId, JobState
from orchestrator.domain.recovery import Recovery
from tests.batches.stage import BATCH, FILE, TOKEN, Stage, an_accepted_batch
from tests.builders import JOB

KEY: Final = "the key"
WITH_FILES: Final = Traits(name="told", recovery=Recovery.FENCED, settle_s=77.0, key_mark=KEY)
PENDING: Final = Unavailable("HTTP 400", status=400, fault=Fault.PLATFORM)


def run(stage: Stage, chunk: Chunk) -> Chunk:
    tools = {"ledger": stage.harness.ledger, "job_files": stage.job_files, "clock": stage.clock}
    submit(stage.claim(chunk), provider=stage.provider, **tools)  # type: ignore[arg-type]
    return stage.chunk(chunk)


def an_uploaded_chunk(stage: Stage, **fields: object) -> Chunk:
    an_accepted_batch(stage)
    return stage.put("uploaded", token=TOKEN, file_id=FILE, **fields)


def calls(stage: Stage) -> list[str]:
    return [call[0] for call in stage.provider.calls]


@pytest.mark.parametrize(
    ("error", "asks"),
    [(PENDING, True), (RateLimited("busy", status=429), False), (NotAuthorized("no credit", status=402), False)],
)
def test_a_refused_create_keeps_its_file_and_the_next_one_has_a_token_of_its_own(
    error: ProviderError, *, asks: bool
) -> None:
    """At most one POST is sent for a token, and nothing is uploaded anew."""
    stage = Stage(WITH_FILES)
    before = an_uploaded_chunk(stage)
    stage.provider.tell(CreateRefused(error), *([InputState.PENDING] if asks else []))

    kept = run(stage, before)

    assert (kept.state, kept.file_id) == (ChunkState.UPLOADED, FILE)
    assert [one.state for one in stage.attempts if one.token == TOKEN] == [AttemptState.REFUSED]
    stage.after(3_600)
    stage.provider.tell(BATCH)
    sent = run(stage, kept)
    assert (sent.state, sent.file_id) == (ChunkState.SUBMITTED, FILE)
    assert calls(stage) == ["create", *(["state"] if asks else []), "create"]
    tokens = [call[1].token for call in stage.provider.calls if call[0] == "create"]
    assert tokens[0] == TOKEN != tokens[1]
    assert [call[1].file_id for call in stage.provider.calls if call[0] == "create"] == [FILE, FILE]


def test_a_file_in_work_is_waited_for_longer_and_longer_and_says_so() -> None:
    stage = Stage(WITH_FILES)
    chunk, waits, at_s = an_uploaded_chunk(stage), [], 0.0
    for _ in range(14):
        stage.after(at_s)
        stage.provider.tell(CreateRefused(PENDING), InputState.PENDING)
        chunk = run(stage, chunk)
        due_s = stage.due_s(chunk) or 0.0
        waits.append(due_s - at_s)
        at_s = due_s

    assert waits == [1.5 * 2**number for number in range(11)] + [2_700.0] * 3
    assert (chunk.setbacks, chunk.file_id) == (14, FILE)
    assert chunk.error == "the provider is still processing the uploaded file (HTTP 400)"
    assert chunk.failing_since is not None
    assert "upload" not in calls(stage)


def test_a_refusal_that_names_no_cause_is_the_files_while_it_is_in_work() -> None:
    """No row is halved out, and the job does not stop for its first batch."""
    stage = Stage(WITH_FILES)
    before = stage.put("uploaded", token=TOKEN, file_id=FILE)
    stage.provider.tell(CreateRefused(BadRequest("HTTP 400", status=400)), InputState.PENDING)

    chunk = run(stage, before)

    assert (chunk.state, chunk.setbacks) == (ChunkState.UPLOADED, 1)
    assert stage.harness.ledger.job(JOB).state is JobState.RUNNING


def test_a_file_that_does_not_exist_is_uploaded_again_after_a_quarter_of_an_hour() -> None:
    stage = Stage(WITH_FILES)
    missing = Unavailable("HTTP 404", status=404, fault=Fault.PLATFORM)
    missing.names_no_file = True
    before = an_uploaded_chunk(stage, setbacks=9)
    stage.provider.tell(CreateRefused(missing), InputState.MISSING)

    chunk = run(stage, before)

    assert (chunk.state, chunk.file_id, chunk.setbacks) == (ChunkState.PLANNED, None, 10)
    stage.after(3_600)
    stage.provider.tell(FileId("file-2"))
    again = run(stage, chunk)
    assert (again.state, again.file_id, again.setbacks) == (ChunkState.UPLOADED, "file-2", 10)


@pytest.mark.parametrize(("setbacks", "stops"), [(0, False), (2, False), (3, True)])
def test_a_file_that_could_not_be_processed_is_uploaded_again_a_few_times(setbacks: int, *, stops: bool) -> None:
    stage = Stage(WITH_FILES)
    before = an_uploaded_chunk(stage, setbacks=setbacks)
    stage.provider.tell(CreateRefused(BadRequest("HTTP 400", status=400)), InputState.BROKEN)

    chunk = run(stage, before)

    job = stage.harness.ledger.job(JOB)
    assert (chunk.state, chunk.file_id) == (ChunkState.PLANNED, None)
    assert (job.state is JobState.STOPPED) is stops
    assert ("could not process the uploaded file (HTTP 400), 4 times in a row" in job.reason) is stops


def test_under_another_key_the_requests_are_uploaded_anew() -> None:
    """The file may be another account's: a create would name a file that this account does not have, or has not."""
    stage = Stage(WITH_FILES)
    before = an_uploaded_chunk(stage)
    stage.provider.tell(CreateRefused(NotAuthorized("no credit", status=402)))
    kept = run(stage, before)
    stage.provider.traits = replace(WITH_FILES, key_mark="another key")
    stage.after(3_600)

    dropped = run(stage, kept)

    assert (dropped.state, dropped.file_id) == (ChunkState.PLANNED, None)
    assert calls(stage) == ["create"]
