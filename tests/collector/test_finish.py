"""Finishing and sealing: what is written is digested as it is written, and a changed dataset writes nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from orchestrator.audit.findings import Audit
from orchestrator.audit.output import Published, check_output
from orchestrator.collector.finish import Finishing, finish
from orchestrator.collector.seal import seal
from orchestrator.collector.vectors import Vectors
from orchestrator.domain import lifecycle
from orchestrator.domain.changes import JobMoved, ShardMoved
from orchestrator.domain.lifecycle import GaveUp
from orchestrator.domain.model import ChunkState, JobState, ShardState, Step
from orchestrator.domain.policy import OutputOptions
from orchestrator.ledger.db.database import open_sqlite
from tests.builders import JOB, NOW, a_chunk, after
from tests.collector.builders import DIGEST
from tests.contract.books import Books
from tests.fakes.clock import VirtualClock
from tests.fakes.job_files import MemorySpool
from tests.fakes.source import MemorySource

ROWS = 10
SLICE_ROWS = 4
PARTS = [f"output/part-00000-0000{number}.parquet" for number in range(3)]


class CountingFiles(MemorySpool):
    """Files in memory that remember which of them were opened for reading."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        self.opened.append(name)
        with super().open(name) as file:
            yield file


@pytest.fixture
def books() -> Iterator[Books]:
    """Return the ledger of a job whose one shard has all of its rows settled."""
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


@pytest.fixture
def job_files() -> MemorySpool:
    return MemorySpool()


@pytest.fixture
def output() -> CountingFiles:
    return CountingFiles()


def finishing_of(
    output: MemorySpool, *, source_rows: int = ROWS, fingerprint: str = "", slice_rows: int = SLICE_ROWS
) -> Finishing:
    """Return what a source of so many rows is finished with; without a `fingerprint` it is the one that was planned."""
    source = MemorySource([pa.table({"text": [f"row {row}" for row in range(source_rows)]})])
    return Finishing(
        source=source,
        fingerprint=fingerprint or source.fingerprint,
        options=OutputOptions(),
        job_digest=DIGEST,
        slice_rows=slice_rows,
        output=output,
        folder="output",
    )


def run_finish(books: Books, finishing: Finishing, job_files: MemorySpool, *, now: datetime = NOW) -> None:
    [claim] = books.claim(Step.FINISH, now=now)
    clock = VirtualClock(random.Random(1))
    finish(claim, ledger=books.ledger, job_files=job_files, finishing=finishing, clock=clock)


def run_seal(books: Books, finishing: Finishing, job_files: MemorySpool) -> None:
    job = books.ledger.job(JOB)
    books.write(JobMoved(before=job, after=replace(job, due=Step.SEAL), due_at=NOW))
    [claim] = books.claim(Step.SEAL)
    clock = VirtualClock(random.Random(1))
    seal(claim, ledger=books.ledger, job_files=job_files, finishing=finishing, clock=clock)


def do_again(books: Books) -> None:
    """Bring the shard back to where a step that died after its first file left it."""
    shard = books.ledger.shard(JOB, 0)
    after = replace(shard, state=ShardState.PLANNED, finished_slice_count=0)
    books.write(ShardMoved(before=shard, after=after, due_at=NOW))


def manifest(output: MemorySpool) -> list[dict[str, object]]:
    parts: list[dict[str, object]] = json.loads(output.files["output/_manifest.json"])["parts"]
    return parts


def entry_of(output: MemorySpool, name: str) -> dict[str, object]:
    content = output.files[name]
    return {
        "file": name.rpartition("/")[2],
        "rows": pq.read_metadata(BytesIO(content)).num_rows,
        "bytes": len(content),
        "xxh3_128": xxhash.xxh3_128_hexdigest(content),
    }


def test_a_source_that_has_changed_since_it_was_planned_stops_the_job_and_writes_nothing(
    books: Books, output: CountingFiles, job_files: MemorySpool
) -> None:
    """An answer never lands on another row; what was paid for stays where it is until the original is back."""
    run_finish(books, finishing_of(output, fingerprint="another"), job_files)
    job = books.ledger.job(JOB)

    assert (job.state, output.files) == (JobState.STOPPED, {})
    assert "put the original back" in job.reason
    assert books.ledger.chunk(a_chunk().id).state is ChunkState.FAILED


def test_a_source_with_more_rows_than_its_shard_puts_no_part_of_them_in_place(
    books: Books, output: CountingFiles, job_files: MemorySpool
) -> None:
    """The fingerprint is the same, the rows are not: a file in place would never be replaced by the right one."""
    run_finish(books, finishing_of(output, source_rows=ROWS + 1, slice_rows=ROWS), job_files)

    assert (books.ledger.job(JOB).state, output.files, job_files.files) == (JobState.STOPPED, {}, {})


def test_the_source_that_was_planned_is_finished(books: Books, output: CountingFiles, job_files: MemorySpool) -> None:
    run_finish(books, finishing_of(output, slice_rows=ROWS), job_files)

    assert list(output.files) == ["output/part-00000.parquet"]
    assert books.ledger.shard(JOB, 0).state is ShardState.FINISHED


def column_type(output: MemorySpool) -> pa.DataType:
    return pq.read_schema(BytesIO(output.files["output/part-00000.parquet"])).field("llm_embedding").type


def test_a_shard_without_a_vector_waits_for_the_jobs_first_one_whose_length_is_in_the_schema(
    output: CountingFiles, job_files: MemorySpool
) -> None:
    """All rows of the first shard failed before a row of the other was answered: all parts have one schema."""
    database = open_sqlite(None)
    books = Books(database)
    books.open(shards=2)
    shard = books.ledger.shard(JOB, 0)
    planned = replace(shard, state=ShardState.PLANNED, row_count=ROWS, chunk_count=1)
    books.write(ShardMoved(before=shard, after=planned, due_at=NOW))
    books.add(a_chunk())
    books.move(lifecycle.advance(books.ledger.chunk(a_chunk().id), GaveUp("400", "no")), due_at=None)
    finishing = replace(finishing_of(output, slice_rows=ROWS), vectors=Vectors())

    run_finish(books, finishing, job_files)
    assert (output.files, books.ledger.shard(JOB, 0).state) == ({}, ShardState.PLANNED)

    Vectors().agreed(job_files, 3)
    run_finish(books, finishing, job_files, now=after(10))
    assert column_type(output) == pa.list_(pa.float32(), 3)
    database.close()


def test_a_job_without_any_vector_has_a_column_of_lists(
    books: Books, output: CountingFiles, job_files: MemorySpool
) -> None:
    run_finish(books, replace(finishing_of(output, slice_rows=ROWS), vectors=Vectors()), job_files)

    assert column_type(output) == pa.list_(pa.float32())


def test_sealing_reads_no_output_part(books: Books, output: CountingFiles, job_files: MemorySpool) -> None:
    """The manifest tells rows, bytes and digest of every part, from what finishing recorded while it wrote them."""
    run_finish(books, finishing_of(output), job_files)
    run_seal(books, finishing_of(output), job_files)

    assert books.ledger.job(JOB).state is JobState.FINISHED
    assert manifest(output) == [entry_of(output, name) for name in PARTS]
    assert [part["rows"] for part in manifest(output)] == [4, 4, 2]
    assert output.opened == []


def test_a_shard_that_is_finished_twice_is_recorded_once(
    books: Books, output: CountingFiles, job_files: MemorySpool
) -> None:
    run_finish(books, finishing_of(output), job_files)
    first = output.files | job_files.files
    do_again(books)

    run_finish(books, finishing_of(output), job_files)

    assert output.files | job_files.files == first


def test_a_part_that_was_in_place_before_its_record_is_recorded_as_it_is(
    books: Books, output: CountingFiles, job_files: MemorySpool
) -> None:
    """Another version may have written other bytes before it died; the manifest must say what is in the folder."""
    run_finish(books, finishing_of(output), job_files)
    others = BytesIO()
    pq.write_table(pq.read_table(BytesIO(output.files[PARTS[0]])), others, compression="none")
    output.files[PARTS[0]] = others.getvalue()
    job_files.files.clear()
    do_again(books)

    run_finish(books, finishing_of(output), job_files)
    run_seal(books, finishing_of(output), job_files)

    assert manifest(output)[0] == entry_of(output, PARTS[0])


def test_a_part_without_a_record_is_read_once_at_the_seal(
    books: Books, output: CountingFiles, job_files: MemorySpool
) -> None:
    """A recovered ledger counts the parts that it finds, whether or not the step that wrote them came to its record."""
    run_finish(books, finishing_of(output), job_files)
    del job_files.files["finished/r1/part-00000-00001.json"]

    run_seal(books, finishing_of(output), job_files)

    assert manifest(output) == [entry_of(output, name) for name in PARTS]
    assert output.opened == [PARTS[1]]


def test_a_part_that_is_gone_stops_the_seal(books: Books, output: CountingFiles, job_files: MemorySpool) -> None:
    run_finish(books, finishing_of(output), job_files)
    del output.files[PARTS[2]]

    run_seal(books, finishing_of(output), job_files)

    job = books.ledger.job(JOB)
    assert (job.state, "output/_SUCCESS" in output.files) == (JobState.STOPPED, False)
    assert f"{PARTS[2]} is missing" in job.reason


def test_an_audit_compares_the_manifest_with_the_records_of_finishing(
    books: Books, output: CountingFiles, job_files: MemorySpool
) -> None:
    run_finish(books, finishing_of(output), job_files)
    run_seal(books, finishing_of(output), job_files)

    assert differences(books, output, job_files) == []
    record = "finished/r1/part-00000-00001.json"
    job_files.files[record] = job_files.files[record].replace(b'"rows":4', b'"rows":5')
    assert differences(books, output, job_files) == [(PARTS[1], "entry in the manifest")]


def differences(books: Books, output: MemorySpool, job_files: MemorySpool) -> list[tuple[str, str]]:
    """Return what a deep audit finds in the output: which part, and what differs."""
    audit = Audit(job_id=JOB, state="finished", deep=True)
    published = Published(
        output=output,
        folder="output",
        job_files=job_files,
        options=OutputOptions(),
        job_digest=DIGEST,
        slice_rows=SLICE_ROWS,
    )
    check_output(audit, books.ledger.job(JOB), books.ledger.totals(JOB), published, deep=True)
    return [(one.unit, one.what) for one in audit.differences]
