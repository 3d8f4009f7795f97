"""Finishing against a dataset that is no longer the one that was planned."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
import pytest

from orchestrator.collector.finish import Finishing, finish
from orchestrator.domain import lifecycle
from orchestrator.domain.changes import ShardMoved
from orchestrator.domain.lifecycle import GaveUp
from orchestrator.domain.model import ChunkState, JobState, ShardState, Step
from orchestrator.domain.policy import OutputOptions
from orchestrator.ledger.db.database import open_sqlite
from tests.builders import JOB, NOW, a_chunk
from tests.collector.builders import DIGEST
from tests.contract.books import Books
from tests.fakes.clock import VirtualClock
from tests.fakes.job_files import MemorySpool
from tests.fakes.source import MemorySource

ROWS = 10


@pytest.fixture
def books() -> Iterator[Books]:
    """Return the books of a job whose one shard has all of its rows settled."""
    database = open_sqlite(None)
    books = Books(database)
    books.open(shards=1)
    shard = books.ledger.shard(JOB, 0)
    planned = replace(shard, state=ShardState.PLANNED, row_count=ROWS, chunk_count=1)
    books.write(ShardMoved(before=shard, after=planned, due_at=NOW))
    books.add(a_chunk())
    books.move(lifecycle.advance(books.ledger.chunk(a_chunk().id), GaveUp("400", "no")), due_at=None)
    yield books
    database.close()


def finished(books: Books, *, planned_rows: int) -> MemorySpool:
    """Finish the shard from a source of ten rows, after so many were planned; return what was put out."""
    source = MemorySource([pa.table({"text": [f"row {row}" for row in range(ROWS)]})])
    planned = MemorySource([pa.table({"text": [""] * planned_rows})])
    output = MemorySpool()
    [claim] = books.claim(Step.FINISH)
    finishing = Finishing(
        source=source,
        fingerprint=planned.fingerprint,
        options=OutputOptions(),
        job_digest=DIGEST,
        slice_rows=ROWS,
        output=output,
        folder="output",
    )
    clock = VirtualClock(random.Random(1))
    finish(claim, ledger=books.ledger, job_files=MemorySpool(), finishing=finishing, clock=clock)
    return output


def test_a_source_that_has_changed_since_it_was_planned_stops_the_job_and_writes_nothing(books: Books) -> None:
    """An answer never lands on another row; what was paid for stays where it is until the original is back."""
    output = finished(books, planned_rows=ROWS + 1)
    job = books.ledger.job(JOB)

    assert (job.state, output.files) == (JobState.STOPPED, {})
    assert "put the original back" in job.reason
    assert books.ledger.chunk(a_chunk().id).state is ChunkState.FAILED


def test_the_source_that_was_planned_is_finished(books: Books) -> None:
    output = finished(books, planned_rows=ROWS)

    assert list(output.files) == ["output/part-00000.parquet"]
    assert books.ledger.shard(JOB, 0).state is ShardState.FINISHED
