"""Result files that are empty although the provider counted lines in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from orchestrator.collector.collect import ABSENT, collect
from orchestrator.collector.settle import Collecting
from orchestrator.domain import results_at
from orchestrator.domain.batch import BatchStatus, ResultFile, Traits
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.model import Chunk, ChunkState, Outcome
from orchestrator.domain.recovery import Recovery
from orchestrator.domain.results_at import Files, ResultRef
from orchestrator.providers.onerouter.dialect import READER
from tests.batches.stage import Stage
from tests.builders import after

TRAITS: Final = Traits(name="told", recovery=Recovery.UNKNOWABLE)
WHERE: Final = Files(refs=(ResultRef(name="output", at="o"), ResultRef(name="error", at="e")))
ENDED: Final = BatchStatus(outcome=Outcome.COMPLETED, results=WHERE)
ANSWER: Final = b'{"custom_id":"9f86d081-0-0","response":{"body":{"choices":[{"message":{"content":"a"}}]}}}\n'
FAILURE: Final = b'{"custom_id":"9f86d081-0-1","response":{"status_code":400,"body":{"error":{"message":"no"}}}}\n'


def results(output: bytes, error: bytes) -> Iterator[ResultFile]:
    yield ResultFile(name="output", blocks=iter([output]), line_count=1)
    yield ResultFile(name="error", blocks=iter([error]), line_count=1)


def collected(stage: Stage, chunk: Chunk, output: bytes, error: bytes) -> Chunk:
    stage.provider.tell(*([ENDED] if chunk.tries else []), results(output, error))
    return step(stage, chunk)


def step(stage: Stage, chunk: Chunk) -> Chunk:
    stage.after(stage.due_s(chunk) or 0.0)
    collect(
        stage.claim(chunk),
        ledger=stage.harness.ledger,
        job_files=stage.job_files,
        provider=stage.provider,
        collecting=Collecting(job_digest="9f86d081" + "0" * 56, price=None, read_line=READER),
        clock=stage.clock,
    )
    return stage.chunk(chunk)


def an_ended_chunk(stage: Stage) -> Chunk:
    return stage.put("ended", outcome=Outcome.COMPLETED, results=results_at.to_text(WHERE))


@pytest.mark.parametrize("late", [0, 1, 2])
def test_failures_that_come_late_are_archived(late: int) -> None:
    stage = Stage(TRAITS)
    chunk = an_ended_chunk(stage)
    for _ in range(late):
        chunk = collected(stage, chunk, ANSWER, b"")
        assert chunk.state is ChunkState.ENDED

    chunk = collected(stage, chunk, ANSWER, FAILURE)

    assert (chunk.state, chunk.tally.succeeded, chunk.tally.missing) == (ChunkState.COLLECTED, 1, 0)
    assert len(stage.job_files.names("raw")) == 2


def test_failures_that_never_come_are_not_looked_for_for_hours() -> None:
    """Nothing in that file was paid for."""
    stage = Stage(TRAITS)
    chunk, tries = an_ended_chunk(stage), 0
    while chunk.state is ChunkState.ENDED:
        chunk, tries = collected(stage, chunk, ANSWER, b""), tries + 1

    assert (tries, chunk.state, chunk.tally.succeeded) == (4, ChunkState.COLLECTED, 1)
    assert stage.clock.at < after(60)


def test_answers_that_are_not_there_are_looked_for_for_hours() -> None:
    stage = Stage(TRAITS)
    chunk = an_ended_chunk(stage)
    for _ in range(8):
        chunk = collected(stage, chunk, b"", FAILURE)

    assert (chunk.state, chunk.error_code) == (ChunkState.ENDED, ABSENT)
    assert "output is empty, 1 lines were promised" in chunk.error


def test_another_error_in_between_does_not_begin_the_search_anew() -> None:
    """It would never end, and never become rare."""
    stage = Stage(TRAITS)
    chunk = an_ended_chunk(stage)
    count = 0
    while chunk.state is ChunkState.ENDED:
        count += 1
        assert count < 500
        if count % 2:
            chunk = collected(stage, chunk, b"", FAILURE)
        else:
            stage.provider.tell(Unavailable("busy", status=503))
            chunk = step(stage, chunk)

    assert (chunk.state, chunk.error_code) == (ChunkState.UNRESOLVED, ABSENT)
    assert after(6 * 3_600) <= stage.clock.at < after(7 * 3_600)
