"""How fast the page of a very large job is: 10,000,000 rows in 20,000 chunks, in the middle of its way.

    python benchmarks/page.py [--chunks 20000] [--parts 2000] [--keep FOLDER]

The ledger is written straight: no row was ever sent. The first chunks have real parts and requests, so that rows can be
listed and looked for. Times are CPU milliseconds of this process for one answer of the page's application, the median
of five. Nothing is kept from one answer to the next, but for the look at the job, which an open page makes every three
seconds: its bar, which is it, and the whole page are timed with it.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from starlette.testclient import TestClient

import orchestrator
from orchestrator.api import job_pictures
from orchestrator.api.viewer import Viewer
from orchestrator.domain.custom_id import custom_id
from orchestrator.domain.model import (
    HAS_BATCH,
    Attempt,
    AttemptState,
    AttemptToken,
    BatchId,
    Chunk,
    ChunkId,
    ChunkState,
    JobId,
    JobState,
    Outcome,
    Shard,
    ShardState,
    Tally,
)
from orchestrator.engine.opening import opened_workspace
from orchestrator.engine.workspace import Workspace
from orchestrator.job_files.request_files import LinesDraft
from orchestrator.job_files.result_parts import PART_SCHEMA, part_writer
from orchestrator.ledger.db import rows
from orchestrator.ledger.db.schema import attempts, chunk_shards, chunks, events, jobs, shards
from orchestrator.testing import fake_provider
from orchestrator.web.access import Access
from orchestrator.web.app import make_app

JOB = JobId("reviews-mood-3f2a91c4")
TOKEN = "a-token-of-this-benchmark"
CHUNK_ROWS = 500
SHARD_CHUNKS = 200
RESERVED_USD, COST_USD = Decimal("0.000027"), Decimal("0.0000138")  # of a row
C = ChunkState
CAUSES = ("content_filter", "server_error", "null_skipped")


def main() -> None:
    """Write the job, and time its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--parts", type=int, default=2_000, help="chunks of the first shards that have real files")
    parser.add_argument("--keep", help="write the work folder here, and time nothing")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = given.keep or folder
        begin = time.process_time()
        write(work, given.chunks, given.parts)
        took = time.process_time() - begin
        print(f"{given.chunks:,} chunks, {given.chunks * CHUNK_ROWS:,} rows, written in {took:.1f} s")
        if not given.keep:
            with opened_workspace(work) as workspace:
                measure(workspace)


def write(work: str, chunk_count: int, part_count: int) -> None:
    """Write a work folder with one large job that is half done."""
    with fake_provider() as fake:  # for a spec and the tables
        table = pa.table({"text": ["a coat", "a hat"]})
        orchestrator.run(table, prompt="{text}", model="any", work=work, name="small", **fake.options)
    with opened_workspace(work) as workspace:
        small = workspace.admin.jobs()[0]
        now = workspace.clock.now()
        job = replace(small, id=JOB, name="reviews-mood", state=JobState.RUNNING)
        digest = workspace.context(small.id).spec.digest
        made = list(_chunks(chunk_count, part_count, digest, now))
        with workspace.database.write() as tx:
            _insert(tx, job, made, now)
        _files(workspace, [chunk for chunk, _ in made[:part_count]], digest)


def _chunks(count: int, part_count: int, digest: str, now: datetime) -> Iterator[tuple[Chunk, dict[str, Any]]]:
    """Yield chunks in the order of rows: two thirds collected, then some at the provider, then the unsent."""
    draw = random.Random(7)
    begun = now - timedelta(hours=11)
    for number in range(count):
        shard_no, place = divmod(number, SHARD_CHUNKS)
        name = f"c{shard_no:05d}-{place:05d}"
        share = number / count
        state = C.COLLECTED if share < 0.66 else C.SUBMITTED if share < 0.80 else C.PLANNED
        state = C.UNRESOLVED if number == int(count * 0.7) else C.FAILED if number == int(count * 0.3) else state
        sent_at = begun + timedelta(hours=10.5) * share / 0.8 if state is not C.PLANNED else None
        took = timedelta(minutes=draw.lognormvariate(3.4, 0.5))
        ended_at = sent_at + took if sent_at is not None and state is C.COLLECTED else None
        failed, cut = (draw.choice((0, 0, 1, 2)), draw.choice((0, 0, 0, 3))) if number >= part_count else (0, 0)
        tally = Tally(
            succeeded=CHUNK_ROWS - failed, failed=failed, truncated_answers=cut, lines=CHUNK_ROWS, input_tokens=59_000,
            output_tokens=8_000, wasted_nano_usd=failed * 9_000,
        )  # fmt: skip
        causes = {draw.choice(CAUSES): [failed, shard_no, place * CHUNK_ROWS]} if failed else {}
        chunk = Chunk(
            id=ChunkId(f"{JOB}/{name}"),
            job_id=JOB,
            shard_no=shard_no,
            row_start=place * CHUNK_ROWS,
            row_end=(place + 1) * CHUNK_ROWS,
            request_count=CHUNK_ROWS,
            request_bytes=CHUNK_ROWS * 400,
            requests=f"requests/{name}.0.jsonl.zst",
            state=state,
            attempt=int(sent_at is not None),
            token=AttemptToken(f"t-{name}") if sent_at is not None else None,
            sent_at=sent_at,
            batch_id=BatchId(f"batch_{digest}_{number}") if state in HAS_BATCH else None,
            outcome=Outcome.COMPLETED if state is C.COLLECTED else None,
            done_count=draw.randrange(CHUNK_ROWS) if state is C.SUBMITTED else 0,
            looked_at=now if state is C.SUBMITTED else None,
            provider_status="in_progress" if state is C.SUBMITTED else "",
            cost_usd_max=RESERVED_USD * CHUNK_ROWS,
            error="the create's answer was lost" if state is C.UNRESOLVED else "",
            error_code="expired" if state is C.FAILED else "",
            part=f"parts/{name}.a1.parquet" if state is C.COLLECTED else "",
            causes=json.dumps(causes) if causes and state is C.COLLECTED else "",
            tally=tally if state is C.COLLECTED else Tally(failed=CHUNK_ROWS) if state is C.FAILED else Tally(),
        )
        yield chunk, {"ended_at": ended_at, "collected_at": ended_at and ended_at + timedelta(minutes=1)}


def _insert(tx: sa.Connection, job: Any, made: list[tuple[Chunk, dict[str, Any]]], now: datetime) -> None:
    begun = now - timedelta(hours=11)
    tx.execute(sa.insert(jobs), rows.job_values(job) | {"created_at": begun, "due_at": None, "version": 1})
    tx.execute(
        sa.insert(chunks),
        [
            rows.chunk_values(chunk) | {"account": job.account, "cancel_requested": False, "due_at": None} | times
            for chunk, times in made
        ],
    )
    tx.execute(
        sa.insert(chunk_shards),
        [
            {
                "chunk_id": one.id,
                "shard_no": one.shard_no,
                "job_id": JOB,
                "row_count": CHUNK_ROWS,
                "failed": one.tally.failed,
            }
            for one, _ in made
        ],
    )
    sent = [(chunk, times["collected_at"]) for chunk, times in made if chunk.sent_at is not None]
    tx.execute(
        sa.insert(attempts),
        [
            rows.attempt_values(
                JOB,
                "provider",
                Attempt(
                    token=AttemptToken(f"t-{chunk.name}"),
                    chunk_id=chunk.id,
                    number=1,
                    state=AttemptState.OPEN if chunk.state is C.UNRESOLVED else AttemptState.CREATED,
                    reserved_usd=RESERVED_USD * CHUNK_ROWS,
                    sent_at=chunk.sent_at or begun,
                    cost_usd=COST_USD * CHUNK_ROWS if at is not None else None,
                    batch_id=chunk.batch_id,
                ),
            )
            | {"settled_at": at}
            for chunk, at in sent
        ],
    )
    settled = dict.fromkeys(range(-(-len(made) // SHARD_CHUNKS)), 0)
    for chunk, _ in made:
        settled[chunk.shard_no or 0] += CHUNK_ROWS if chunk.state in (C.COLLECTED, C.FAILED) else 0
    full = SHARD_CHUNKS * CHUNK_ROWS
    tx.execute(
        sa.insert(shards),
        [
            rows.shard_values(Shard(job_id=JOB, shard_no=number, state=ShardState.PLANNED, row_count=full))
            | {"settled_count": count, "due_at": None}
            for number, count in settled.items()
        ],
    )
    noted = {"job_id": JOB, "name": "chunk.collected", "details": json.dumps({"succeeded": CHUNK_ROWS})}
    tx.execute(sa.insert(events), [noted | {"at": now, "unit": chunk.name} for chunk, _ in made for _ in range(3)])


def _files(workspace: Workspace, some: list[Chunk], digest: str) -> None:
    """Write parts and requests; the names of the requests hold their digest."""
    files = workspace.context(JOB).job_files
    numbers = pa.array(range(CHUNK_ROWS), pa.int64())
    with workspace.database.write() as tx:
        for chunk in some:
            draft = LinesDraft()
            for row in range(chunk.row_start, chunk.row_end):
                text = (
                    f"Review {row} of shard {chunk.shard_no}: the zip broke after two weeks, support sent another one."
                )
                body = {"model": "m", "messages": [{"role": "user", "content": text}]}
                name = custom_id(digest, chunk.shard_no or 0, row)
                line = json.dumps({"custom_id": name, "body": body}).encode() + b"\n"
                draft.add(line, (chunk.shard_no or 0, row), b"0123456789abcdef")
            written = draft.write(files, chunk.name)
            tx.execute(sa.update(chunks).where(chunks.c.id == chunk.id).values(requests=written.name))
            columns: dict[str, Any] = {
                name: pa.nulls(CHUNK_ROWS, PART_SCHEMA.field(name).type) for name in PART_SCHEMA.names
            }
            columns |= {
                "shard": pa.array([chunk.shard_no] * CHUNK_ROWS, pa.int32()),
                "row": pa.array(range(chunk.row_start, chunk.row_end), pa.int64()),
                "succeeded": pa.array([True] * CHUNK_ROWS),
                "retryable": pa.array([False] * CHUNK_ROWS),
                "round": pa.array([1] * CHUNK_ROWS, pa.int16()),
                "text": pa.array(
                    [f'{{"mood": "bad", "topics": ["zip", "{one}"]}}' for one in numbers.to_pylist()], pa.large_string()
                ),
            }
            with files.create(chunk.part) as out, part_writer(out) as writer:
                writer.write_table(pa.table(columns, schema=PART_SCHEMA))


def measure(workspace: Workspace) -> None:
    """Print what each part of the page takes."""
    job_pictures.MAP_S = job_pictures.COURSE_S = -1.0  # type: ignore[misc]  # no picture is kept
    viewer = Viewer(workspace)
    app = make_app(viewer, Access(hosts=frozenset(), token=TOKEN))
    browser = TestClient(app, headers={"authorization": f"Bearer {TOKEN}"})
    base = f"/jobs/{JOB}"
    browser.get("/jobs/none-00000000")  # what is imported and compiled once is none of the page's time
    for path, what in (("", "the job's page, opened"), ("/head", "bar, sums, money, troubles (3 s)")):
        times = []
        for _ in range(5):
            viewer.forget(JOB)
            times.append(_time(browser, base + path))
        print(f"{what:42}{statistics.median(times):8.1f} ms")
    for path, what in (
        ("/batches", "batches (5 s)"),
        ("/log", "log (5 s)"),
        ("/map", "map (10 s)"),
        ("/square?square=c00000-00000", "a square of the map"),
        ("/charts", "charts (60 s)"),
        ("/failures", "failures (60 s)"),
        ("/rows", "rows, the first 50"),
        ("/rows?at=9-99000", "rows, from 999,000 on"),
        ("/rows/5-50000", "one row"),
    ):
        times = []
        for _ in range(5):
            viewer.look(JOB, within_s=1.0)
            times.append(_time(browser, base + path))
        print(f"{what:42}{statistics.median(times):8.1f} ms")
    begin = time.monotonic()
    found = browser.get(f"{base}/rows?text=platypus").text
    looked = found.partition("Looked through ")[2].partition(" rows")[0]
    print(f"{'a text that is nowhere':42}{(time.monotonic() - begin) * 1000:8.1f} ms of time: through {looked} rows")


def _time(browser: TestClient, path: str) -> float:
    begin = time.process_time()
    answer = browser.get(path)
    took = (time.process_time() - begin) * 1000
    assert answer.status_code == 200, answer.text
    return took


if __name__ == "__main__":
    main()
