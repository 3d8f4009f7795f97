"""Looks up requests among the answers of an earlier job: time, memory, exactness.

    python benchmarks/reuse.py [KEYS]

Makes the parts of an earlier job, of 50,000 answers each, and looks up as many keys in batches of 20,000, every other
one of them known; then copies all answers into parts of another job, as planning does: 100,000 at a time, in the order
of the earlier job, and in quite another one.
"""

from __future__ import annotations

import io
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.domain.model import JobId
from orchestrator.job_files.answer_index import ABSENT
from orchestrator.job_files.result_parts import COST, GROUP_ROWS_MAX, PART_SCHEMA, part_writer
from orchestrator.job_files.reused_parts import PARTS, OtherAnswers, OtherJob
from orchestrator.storage.open import open_job_files

PART_ROWS, BATCH_ROWS, COPIED = 50_000, 20_000, 100_000


def keys_of(numbers: np.ndarray) -> bytes:
    """Return a key for each number: its own bytes, mixed."""
    mixed = (numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) ^ np.uint64(0xD6E8FEB86659FD93)
    pair = np.stack([mixed, numbers.astype(np.uint64)], axis=1)
    return pair.tobytes()


def a_part(start: int, count: int) -> pa.Table:
    numbers = np.arange(start, start + count)
    columns = {
        "shard": np.zeros(count, np.int32),
        "row": numbers,
        "succeeded": np.ones(count, bool),
        "retryable": np.zeros(count, bool),
        "text": [f"the answer to request {number}" for number in numbers],
        "finish_reason": ["stop"] * count,
        "round": np.ones(count, np.int16),
        "cost_usd": pa.array([Decimal("0.000001")] * count, COST),
        "batch_id": ["batch"] * count,
        "content_key": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(16), count, [None, pa.py_buffer(keys_of(numbers))]
        ),
    }
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(count, field.type)
        for field in PART_SCHEMA
    ]
    return pa.table(arrays, schema=PART_SCHEMA)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def batches(count: int) -> Iterator[np.ndarray]:
    """Yield numbers in a scattered order: those below `count` are known, the others are not."""
    chance = np.random.default_rng(7)
    for _ in range(0, count, BATCH_ROWS):
        yield chance.integers(0, 2 * count, BATCH_ROWS)


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = open_job_files(str(Path(folder, "earlier-00000000")))
        for start in range(0, count, PART_ROWS):
            with files.create(f"{PARTS}/c{start // PART_ROWS:05d}.parquet") as out, part_writer(out) as writer:
                writer.write_table(a_part(start, min(PART_ROWS, count - start)), row_group_size=GROUP_ROWS_MAX)
        print(f"{count:,} answers in {count // PART_ROWS:,} parts; peak {peak_mb():,.0f} MB")
        began = time.perf_counter()
        answers = OtherAnswers([OtherJob(job_id=JobId("earlier-00000000"), job_files=files)])
        print(
            f"keys read and sorted in {time.perf_counter() - began:.1f} s; {len(answers):,}; peak {peak_mb():,.0f} MB"
        )
        began, looked_up, wrong = time.perf_counter(), 0, 0
        for numbers in batches(count):
            places = answers.find(keys_of(numbers))
            part_rows = places & ((1 << 32) - 1)
            part_no = count // PART_ROWS - 1 - (places >> 32) if count >= PART_ROWS else places * 0
            wrong += int(((numbers < count) != (places != ABSENT)).sum())
            known = numbers < count
            wrong += int((part_no[known] * PART_ROWS + part_rows[known] != numbers[known]).sum())
            looked_up += len(numbers)
        took = time.perf_counter() - began
        print(
            f"{looked_up:,} looked up in {took:.1f} s, {took / looked_up * 1e6:.2f} us each; {wrong} wrong; "
            f"peak {peak_mb():,.0f} MB"
        )
        for order, numbers in (
            ("the earlier order", np.arange(count)),
            ("another order", np.random.default_rng(8).permutation(count)),
        ):
            took, took_cpu, wrong = copied(answers, numbers)
            print(
                f"{count:,} answers copied in {order}: {took:.1f} s ({took_cpu:.1f} s of CPU); {wrong} wrong; "
                f"peak {peak_mb():,.0f} MB"
            )


def copied(answers: OtherAnswers, numbers: np.ndarray) -> tuple[float, float, int]:
    """Copy these answers, and return how long that took, in all and of CPU, and how many are not as they should be."""
    took = took_cpu = 0.0
    wrong = 0
    for start in range(0, len(numbers), COPIED):
        some, out = numbers[start : start + COPIED], io.BytesIO()
        keys, began, began_cpu = keys_of(some), time.perf_counter(), time.process_time()
        answers.copy(out, shard_no=0, rows=list(range(len(some))), keys=keys, places=answers.find(keys))
        took, took_cpu = took + time.perf_counter() - began, took_cpu + time.process_time() - began_cpu
        text = pq.read_table(io.BytesIO(out.getvalue()), columns=["text"])["text"].to_pylist()
        wrong += sum(found != f"the answer to request {number}" for found, number in zip(text, some, strict=True))
    return took, took_cpu, wrong


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000)
