"""The step that plans: which chunks a dataset becomes, byte for byte, and what becomes of rows that cannot be sent."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.dataset.dataset import open_dataset
from orchestrator.domain import custom_id
from orchestrator.domain.batch import LineEnvelope
from orchestrator.domain.model import Chunk, JobState, ShardState, Step
from orchestrator.domain.policy import Limits
from orchestrator.job_files import records, request_files
from orchestrator.job_files.result_parts import Failed, read_failed
from orchestrator.ledger.db.database import open_sqlite
from orchestrator.planner.cost import Costing
from orchestrator.planner.plan import Planning, plan
from orchestrator.planner.render import TemplateRenderer
from orchestrator.planner.template import body_of, compile_body
from tests.builders import JOB, a_job
from tests.contract.ledger_harness import LedgerHarness
from tests.fakes.clock import VirtualClock
from tests.fakes.job_files import MemoryJobFiles

ROOT: Final = Path(__file__).resolve().parents[2]
DIGEST: Final = "9f86d081"
ENVELOPE: Final = LineEnvelope(before_id=b'{"custom_id":"', before_body=b'","params":', after_body=b"}")


def write(folder: Path, names: Sequence[str], rows: int = 7) -> Path:
    """Write the files in the order given; what is in them depends on their names alone."""
    folder.mkdir()
    for name in names:
        texts = [f"{name} row {row} " + "x" * (row * 10) for row in range(rows)]
        pq.write_table(pa.table({"text": texts}), folder / name, row_group_size=3)
    return folder


def planned(
    location: Path, *, limits: Limits, null_policy: Any = "error", revision: int = 1
) -> tuple[LedgerHarness, MemoryJobFiles]:
    """Plan a whole dataset with the production step."""
    source = open_dataset(location, shard_rows=8, shard_bytes=1 << 20)
    body = body_of(model="m", prompt="Say: {text}", system=None, messages=None, parameters={"max_tokens": 5})

    def renderer(shard_no: int) -> TemplateRenderer:
        return TemplateRenderer(
            compiled=compile_body(body, source.schema),
            envelope=ENVELOPE,
            id_prefix=custom_id.prefix(DIGEST, shard_no).encode(),
            null_policy=null_policy,
        )

    harness, job_files = LedgerHarness(open_sqlite(None)), MemoryJobFiles()
    harness.open(replace(a_job(chunks_ahead_max=1_000), revision=revision), shards=len(source.shards))
    costing = Costing(price=None, output_tokens_max=5)
    planning = Planning(source=source, renderer=renderer, limits=limits, costing=costing, slice_rows=5)
    for claim in harness.claim(Step.PLAN):
        plan(
            claim,
            ledger=harness.ledger,
            job_files=job_files,
            planning=planning,
            clock=VirtualClock(random.Random(7)),
        )
    return harness, job_files


def chunks(harness: LedgerHarness) -> list[Chunk]:
    """Return the planned chunks, by name."""
    return sorted(
        (harness.ledger.chunk(claim.unit.chunk_id) for claim in harness.claim(Step.SUBMIT) if claim.unit.chunk_id),
        key=lambda chunk: chunk.name,
    )


def lines(job_files: MemoryJobFiles, chunk: Chunk) -> list[dict[str, Any]]:
    return [json.loads(line) for line in request_files.lines(job_files, chunk.requests)]


LIMITS: Final = Limits(requests_max=3, bytes_max=100_000)


def fingerprint_of_a_plan(location: Path) -> str:
    """Return everything a plan says, files included."""
    harness, job_files = planned(location, limits=LIMITS)
    provider_message = [
        (chunk.name, chunk.row_start, chunk.row_end, chunk.requests, lines(job_files, chunk))
        for chunk in chunks(harness)
    ]
    return json.dumps(provider_message)


def test_the_same_files_give_the_same_plan_whatever_the_order_they_were_written_in(tmp_path: Path) -> None:
    names = ["b.parquet", "a.parquet", "c.parquet"]
    one, two = write(tmp_path / "one", names), write(tmp_path / "two", names[::-1])

    assert fingerprint_of_a_plan(one) == fingerprint_of_a_plan(two)


@pytest.mark.slow
def test_the_same_files_give_the_same_plan_in_every_process(tmp_path: Path) -> None:
    """No order of a set or of a dict of hashes gets into a plan."""
    folder = write(tmp_path / "rows", ["a.parquet", "b.parquet"])
    program = f"from tests.planner.test_plan import *; print(fingerprint_of_a_plan(Path({str(folder)!r})))"
    provider_message = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "4711")
    }

    assert len(provider_message) == 1


def test_every_row_has_a_request_in_a_chunk_of_its_shard_and_no_chunk_is_over_a_limit(tmp_path: Path) -> None:
    folder = write(tmp_path / "rows", ["a.parquet", "b.parquet"])
    harness, job_files = planned(folder, limits=LIMITS)

    found: list[tuple[int, int]] = []
    for chunk in chunks(harness):
        sent = lines(job_files, chunk)
        assert 0 < len(sent) == chunk.request_count <= 3
        keys = [custom_id.parse(line["custom_id"], DIGEST) for line in sent]
        assert all(key is not None and key[0] == chunk.shard_no for key in keys)
        found += [key for key in keys if key is not None]
    shards = harness.ledger.shards(JOB)
    assert all(shard.state is ShardState.PLANNED for shard in shards)
    assert found == [(shard.shard_no, row) for shard in shards for row in range(shard.row_count)]
    assert sum(shard.row_count for shard in shards) == 14


def test_rows_that_are_planned_for_a_later_revision_are_of_it_in_the_ledger_and_in_the_folder(tmp_path: Path) -> None:
    """A cancelled job that is retried plans the rest of its rows: they were not sent for the first output."""
    harness, job_files = planned(write(tmp_path / "rows", ["a.parquet"]), limits=LIMITS, revision=2)

    found = chunks(harness)
    assert len(found) == 3
    assert {chunk.revision for chunk in found} == {2}
    recorded = [one for plan in records.read_slices(job_files, 0) for one in plan.chunks]
    assert {one.name: one.revision for one in recorded} == {chunk.name: 2 for chunk in found}


def test_a_row_too_large_for_any_batch_and_a_row_skipped_are_failed_rows_with_their_reasons(tmp_path: Path) -> None:
    """They are settled at once, kept with their codes, and cost their neighbours nothing."""
    pq.write_table(pa.table({"text": ["short", "x" * 5_000, None, "short"]}), tmp_path / "rows.parquet")
    harness, job_files = planned(
        tmp_path / "rows.parquet", limits=Limits(requests_max=10, bytes_max=1_000), null_policy="skip"
    )

    [chunk] = chunks(harness)
    assert [line["custom_id"] for line in lines(job_files, chunk)] == ["9f86d081-0-0", "9f86d081-0-3"]
    [shard] = harness.ledger.shards(JOB)
    assert (shard.row_count, shard.refused_count, shard.settled_count) == (4, 2, 2)
    [name] = job_files.names(request_files.refusals_folder(0))
    with job_files.open(name) as part:
        assert read_failed(part, Failed.ALL) == [(0, 1), (0, 2)]
    with job_files.open(name) as part:
        assert pq.read_table(part)["error_code"].to_pylist() == ["request_too_large", "null_skipped"]


def test_a_null_under_the_policy_error_stops_the_job_and_names_column_and_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", None]}), tmp_path / "rows.parquet")
    harness, _ = planned(tmp_path / "rows.parquet", limits=LIMITS)

    job = harness.ledger.job(JOB)
    assert job.state is JobState.STOPPED
    assert "'text' is null in row 1" in job.reason
    assert chunks(harness) == []
