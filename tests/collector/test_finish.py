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
from tests.contract.ledger_harness import LedgerHarness
from tests.fakes.clock import VirtualClock
from tests.fakes.job_files import MemoryJobFiles
from tests.fakes.source import MemorySource

ROWS = 10
SLICE_ROWS = 4
PARTS = [f"output/part-00000-0000{number}.parquet" for number in range(3)]


class CountingFiles(MemoryJobFiles):
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
def harness() -> Iterator[LedgerHarness]:
    """Return the ledger of a job whose one shard has all of its rows settled."""
    database = open_sqlite(None)
    harness = LedgerHarness(database)
    harness.open(shards=1)
    shard = harness.ledger.shard(JOB, 0)
    planned = replace(shard, state=ShardState.PLANNED, row_count=ROWS, chunk_count=1)
    harness.write(ShardMoved(before=shard, after=planned, due_at=NOW))
    harness.add(a_chunk())
    harness.move(lifecycle.advance(harness.ledger.chunk(a_chunk().id), GaveUp("400", "no")), due_at=None)
    yield harness
    database.close()


@pytest.fixture
def job_files() -> MemoryJobFiles:
    return MemoryJobFiles()


@pytest.fixture
def output() -> CountingFiles:
    return CountingFiles()


def finishing_of(
    output: MemoryJobFiles, *, source_rows: int = ROWS, fingerprint: str = "", slice_rows: int = SLICE_ROWS
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


def run_finish(harness: LedgerHarness, finishing: Finishing, job_files: MemoryJobFiles, *, now: datetime = NOW) -> None:
    [claim] = harness.claim(Step.FINISH, now=now)
    clock = VirtualClock(random.Random(1))
    finish(claim, ledger=harness.ledger, job_files=job_files, finishing=finishing, clock=clock)


def run_seal(harness: LedgerHarness, finishing: Finishing, job_files: MemoryJobFiles) -> None:
    job = harness.ledger.job(JOB)
    harness.write(JobMoved(before=job, after=replace(job, due=Step.SEAL), due_at=NOW))
    [claim] = harness.claim(Step.SEAL)
    clock = VirtualClock(random.Random(1))
    seal(claim, ledger=harness.ledger, job_files=job_files, finishing=finishing, clock=clock)


def do_again(harness: LedgerHarness) -> None:
    """Bring the shard back to where a step that died after its first file left it."""
    shard = harness.ledger.shard(JOB, 0)
    after = replace(shard, state=ShardState.PLANNED, finished_slice_count=0)
    harness.write(ShardMoved(before=shard, after=after, due_at=NOW))


def manifest(output: MemoryJobFiles) -> list[dict[str, object]]:
    """Return the entries of the parts, but for the costs of their rows."""
    parts: list[dict[str, object]] = json.loads(output.files["output.manifest.json"])["parts"]
    return [{key: value for key, value in part.items() if not key.endswith("_usd")} for part in parts]


def entry_of(output: MemoryJobFiles, name: str) -> dict[str, object]:
    content = output.files[name]
    return {
        "file": name.rpartition("/")[2],
        "rows": pq.read_metadata(BytesIO(content)).num_rows,
        "bytes": len(content),
        "xxh3_128": xxhash.xxh3_128_hexdigest(content),
    }


def test_a_source_that_has_changed_since_it_was_planned_stops_the_job_and_writes_nothing(
    harness: LedgerHarness, output: CountingFiles, job_files: MemoryJobFiles
) -> None:
    """An answer never lands on another row; what was paid for stays where it is until the original is back."""
    run_finish(harness, finishing_of(output, fingerprint="another"), job_files)
    job = harness.ledger.job(JOB)

    assert (job.state, output.files) == (JobState.STOPPED, {})
    assert "put the original back" in job.reason
    assert harness.ledger.chunk(a_chunk().id).state is ChunkState.FAILED


def test_a_source_with_more_rows_than_its_shard_puts_no_part_of_them_in_place(
    harness: LedgerHarness, output: CountingFiles, job_files: MemoryJobFiles
) -> None:
    """The fingerprint is the same, the rows are not: a file in place would never be replaced by the right one."""
    run_finish(harness, finishing_of(output, source_rows=ROWS + 1, slice_rows=ROWS), job_files)

    assert (harness.ledger.job(JOB).state, output.files, job_files.files) == (JobState.STOPPED, {}, {})


def test_the_source_that_was_planned_is_finished(
    harness: LedgerHarness, output: CountingFiles, job_files: MemoryJobFiles
) -> None:
    run_finish(harness, finishing_of(output, slice_rows=ROWS), job_files)

    assert list(output.files) == ["output/part-00000.parquet"]
    assert harness.ledger.shard(JOB, 0).state is ShardState.FINISHED


def column_type(output: MemoryJobFiles) -> pa.DataType:
    return pq.read_schema(BytesIO(output.files["output/part-00000.parquet"])).field("llm_embedding").type


def test_a_shard_without_a_vector_waits_for_the_jobs_first_one_whose_length_is_in_the_schema(
    output: CountingFiles, job_files: MemoryJobFiles
) -> None:
    """All rows of the first shard failed before a row of the other was answered: all parts have one schema."""
    database = open_sqlite(None)
    harness = LedgerHarness(database)
    harness.open(shards=2)
    shard = harness.ledger.shard(JOB, 0)
    planned = replace(shard, state=ShardState.PLANNED, row_count=ROWS, chunk_count=1)
    harness.write(ShardMoved(before=shard, after=planned, due_at=NOW))
    harness.add(a_chunk())
    harness.move(lifecycle.advance(harness.ledger.chunk(a_chunk().id), GaveUp("400", "no")), due_at=None)
    finishing = replace(finishing_of(output, slice_rows=ROWS), vectors=Vectors())

    run_finish(harness, finishing, job_files)
    assert (output.files, harness.ledger.shard(JOB, 0).state) == ({}, ShardState.PLANNED)

    Vectors().agreed(job_files, 3)
    run_finish(harness, finishing, job_files, now=after(10))
    assert column_type(output) == pa.list_(pa.float32(), 3)
    database.close()


def test_a_job_without_any_vector_has_a_column_of_lists(
    harness: LedgerHarness, output: CountingFiles, job_files: MemoryJobFiles
) -> None:
    run_finish(harness, replace(finishing_of(output, slice_rows=ROWS), vectors=Vectors()), job_files)

    assert column_type(output) == pa.list_(pa.float32())


def test_sealing_reads_no_output_part(harness: LedgerHarness, output: CountingFiles, job_files: MemoryJobFiles) -> None:
    """The manifest tells rows, bytes and digest of every part, from what finishing recorded while it wrote them."""
    run_finish(harness, finishing_of(output), job_files)
    run_seal(harness, finishing_of(output), job_files)

    assert harness.ledger.job(JOB).state is JobState.FINISHED
    assert manifest(output) == [entry_of(output, name) for name in PARTS]
    assert [part["rows"] for part in manifest(output)] == [4, 4, 2]
    assert output.opened == []


def test_a_shard_that_is_finished_twice_is_recorded_once(
    harness: LedgerHarness, output: CountingFiles, job_files: MemoryJobFiles
) -> None:
    run_finish(harness, finishing_of(output), job_files)
    first = output.files | job_files.files
    do_again(harness)

    run_finish(harness, finishing_of(output), job_files)

    assert output.files | job_files.files == first


def test_a_part_that_was_in_place_before_its_record_is_recorded_as_it_is(
    harness: LedgerHarness, output: CountingFiles, job_files: MemoryJobFiles
) -> None:
    """Another version may have written other bytes before it died; the manifest must say what is in the folder."""
    run_finish(harness, finishing_of(output), job_files)
    others = BytesIO()
    pq.write_table(pq.read_table(BytesIO(output.files[PARTS[0]])), others, compression="none")
    output.files[PARTS[0]] = others.getvalue()
    job_files.files.clear()
    do_again(harness)

    run_finish(harness, finishing_of(output), job_files)
    run_seal(harness, finishing_of(output), job_files)

    assert manifest(output)[0] == entry_of(output, PARTS[0])


def test_a_part_without_a_record_is_read_once_at_the_seal(
    harness: LedgerHarness, output: CountingFiles, job_files: MemoryJobFiles
) -> None:
    """A recovered ledger counts the parts that it finds, whether or not the step that wrote them came to its record."""
    run_finish(harness, finishing_of(output), job_files)
    del job_files.files["finished/r1/part-00000-00001.json"]

    run_seal(harness, finishing_of(output), job_files)

    assert manifest(output) == [entry_of(output, name) for name in PARTS]
    assert output.opened == [PARTS[1]]


def test_a_part_that_is_gone_stops_the_seal(
    harness: LedgerHarness, output: CountingFiles, job_files: MemoryJobFiles
) -> None:
    run_finish(harness, finishing_of(output), job_files)
    del output.files[PARTS[2]]

    run_seal(harness, finishing_of(output), job_files)

    job = harness.ledger.job(JOB)
    assert (job.state, "output/_SUCCESS" in output.files) == (JobState.STOPPED, False)
    assert f"{PARTS[2]} is missing" in job.reason


def test_an_audit_compares_the_manifest_with_the_records_of_finishing(
    harness: LedgerHarness, output: CountingFiles, job_files: MemoryJobFiles
) -> None:
    run_finish(harness, finishing_of(output), job_files)
    run_seal(harness, finishing_of(output), job_files)

    assert differences(harness, output, job_files) == []
    record = "finished/r1/part-00000-00001.json"
    job_files.files[record] = job_files.files[record].replace(b'"rows":4', b'"rows":5')
    assert differences(harness, output, job_files) == [(PARTS[1], "entry in the manifest")]


def differences(harness: LedgerHarness, output: MemoryJobFiles, job_files: MemoryJobFiles) -> list[tuple[str, str]]:
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
    check_output(audit, harness.ledger.job(JOB), harness.ledger.totals(JOB), published, deep=True)
    return [(one.unit, one.what) for one in audit.differences]
