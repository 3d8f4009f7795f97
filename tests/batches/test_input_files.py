"""The input file of a batch is deleted once the results are archived: never before, and nothing depends on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from orchestrator.collector.collect import collect
from orchestrator.collector.settle import Collecting
from orchestrator.domain import results_at
from orchestrator.domain.batch import ResultFile, Traits
from orchestrator.domain.errors import NotAuthorized, ProviderError, Unavailable
from orchestrator.domain.model import Chunk, ChunkState, Outcome
from orchestrator.domain.recovery import Recovery
from orchestrator.domain.results_at import Files, ResultRef
from orchestrator.providers.onerouter.dialect import READER
from tests.batches.stage import BATCH, FILE, Stage

DIGEST: Final = "9f86d081" + "0" * 56
KEY: Final = "the key"
WITH_FILES: Final = Traits(name="told", recovery=Recovery.FENCED, key_mark=KEY)
WHERE: Final = Files(refs=(ResultRef(name="output", at="file-o", line_count=2),))
ANSWERS: Final = b"".join(
    b'{"custom_id":"9f86d081-0-%d","response":{"body":{"choices":[{"message":{"content":"a"}}]}}}\n' % row
    for row in range(2)
)


def results(*blocks: bytes | Exception) -> Iterator[ResultFile]:
    def read() -> Iterator[bytes]:
        for block in blocks:
            if isinstance(block, Exception):
                raise block
            yield block

    yield ResultFile(name="output", blocks=read(), line_count=2)


def collected(stage: Stage, chunk: Chunk) -> Chunk:
    collecting = Collecting(job_digest=DIGEST, price=None, read_line=READER)
    tools: dict[str, Any] = {"ledger": stage.harness.ledger, "job_files": stage.job_files, "clock": stage.clock}
    collect(stage.claim(chunk), provider=stage.provider, collecting=collecting, **tools)
    return stage.chunk(chunk)


def an_ended_chunk(stage: Stage, key_mark: str = KEY) -> Chunk:
    where = results_at.to_text(WHERE)
    return stage.put("ended", outcome=Outcome.COMPLETED, results=where, file_id=FILE, key_mark=key_mark)


def names(stage: Stage) -> list[str]:
    return [call[0] for call in stage.provider.calls]


def test_the_file_is_deleted_after_the_results_are_in_place_and_recorded() -> None:
    stage = Stage(WITH_FILES)
    chunk = an_ended_chunk(stage)

    def deleting(_file_id: object) -> None:
        assert stage.chunk(chunk).state is ChunkState.COLLECTED
        assert stage.job_files.names("raw")

    stage.provider.tell(results(ANSWERS), deleting)

    assert collected(stage, chunk).state is ChunkState.COLLECTED
    assert stage.provider.calls == [("results", BATCH, WHERE), ("delete", FILE)]


@pytest.mark.parametrize("error", [Unavailable("no", status=503), NotAuthorized("no", status=401)])
def test_a_file_that_cannot_be_deleted_costs_nothing(error: ProviderError) -> None:
    stage = Stage(WITH_FILES)
    stage.provider.tell(results(ANSWERS), error)

    chunk = collected(stage, an_ended_chunk(stage))

    assert (chunk.state, chunk.tally.succeeded) == (ChunkState.COLLECTED, 2)
    assert names(stage) == ["results", "delete"]


def test_while_the_results_are_not_there_the_file_stays() -> None:
    stage = Stage(WITH_FILES)
    stage.provider.tell(results(ANSWERS[:40], Unavailable("cut")))

    assert collected(stage, an_ended_chunk(stage)).state is ChunkState.ENDED
    assert names(stage) == ["results"]


def test_another_key_deletes_nothing() -> None:
    """In its account the same id may be another file."""
    stage = Stage(WITH_FILES)
    stage.provider.tell(results(ANSWERS))

    assert collected(stage, an_ended_chunk(stage, key_mark="another key")).state is ChunkState.COLLECTED
    assert names(stage) == ["results"]
