"""How fast results become output rows, beside the naive way on the same data in the same run.

    python benchmarks/collect.py [--rows 200000] [--repeat 3]

Result lines are shuffled; 1 % are errors, 0.1 % duplicates, 0.05 % cut, 0.2 % missing. "naive" is json.loads of every
line, a DataFrame, and pandas.merge with the source. Times are CPU seconds of this process, the best of the repeats:
Arrow's threads count, other programs on the machine hardly do. Both ways read the source and write their output
Parquet (snappy); the naive one holds everything in memory.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from io import BytesIO
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.collector.join import Join
from orchestrator.collector.parse import read_answers
from orchestrator.domain.custom_id import custom_id
from orchestrator.domain.model import Outcome
from orchestrator.domain.policy import OutputOptions, Price
from orchestrator.domain.reconcile import Reconciliation, unanswered
from orchestrator.job_files.part_cursor import PartCursor
from orchestrator.job_files.result_parts import write_part
from orchestrator.providers.onerouter.dialect import READER

DIGEST = "9f86d081"
PRICE = Price(input_usd=Decimal("0.075"), output_usd=Decimal("0.3"))
CHUNK_ROWS = 10_000
BATCH_ROWS = 5_000
BLOCK_BYTES = 256 * 1024
WORDS = ["row", "fox", '"quoted"', "naïve", "狐", "line\n", "tab\t", "jumps", "over", "lazy", "résumé", "Ω", "because"]


def make_source(folder: Path, row_count: int, chance: random.Random) -> Path:
    path = folder / "source.parquet"
    schema = pa.schema([("id", pa.string()), ("title", pa.string()), ("body", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, row_count, 50_000):
            rows = range(start, min(row_count, start + 50_000))
            texts = [" ".join(chance.choices(WORDS, k=100)) for _ in rows]
            columns = [[f"id-{row:010}" for row in rows], [text[:76] for text in texts], texts]
            writer.write_table(pa.table([pa.array(column) for column in columns], schema=schema), row_group_size=10_000)
    return path


def make_line(row: int, chance: random.Random) -> bytes:
    response: dict[str, object] = {"status_code": 200, "request_id": f"req_{row:032x}"}
    if chance.random() < 0.01:
        body: dict[str, object] = {
            "error": {"message": "the model is overloaded", "type": "server_error", "code": None}
        }
        response["status_code"] = 500
    else:
        message = {"role": "assistant", "content": " ".join(chance.choices(WORDS, k=28)), "refusal": None}
        body = {
            "id": f"chatcmpl-{row:024x}",
            "object": "chat.completion",
            "created": 1_765_972_493,
            "model": "gpt-4o-mini-2024-07-18",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 180 + row % 40, "completion_tokens": 40 + row % 9, "total_tokens": 240},
            "system_fingerprint": "fp_0123456789",
        }
    response["body"] = body
    line = {"id": f"batch_req_{row:024x}", "custom_id": custom_id(DIGEST, 0, row), "response": response, "error": None}
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode()


def make_results(row_count: int, chance: random.Random) -> list[bytes]:
    """Return the content of one result file for each chunk."""
    files = []
    for start in range(0, row_count, CHUNK_ROWS):
        found = []
        for row in range(start, min(row_count, start + CHUNK_ROWS)):
            draw, line = chance.random(), make_line(row, chance)
            if draw < 0.002:
                continue
            found += [line, line] if draw < 0.003 else [line[: len(line) // 2]] if draw < 0.0035 else [line]
        chance.shuffle(found)
        files.append(b"\n".join(found) + b"\n")
    return files


def blocks(content: bytes) -> Iterator[bytes]:
    return (content[start : start + BLOCK_BYTES] for start in range(0, len(content), BLOCK_BYTES))


def read(content: bytes, number: int, row_count: int) -> Reconciliation:
    rows = range(number * CHUNK_ROWS, min(row_count, (number + 1) * CHUNK_ROWS))
    reconciliation = Reconciliation(((0, row) for row in rows), DIGEST)
    for _ in read_answers(blocks(content), reconciliation, READER, keep_raw=False):
        pass
    return reconciliation


def read_all(files: list[bytes], row_count: int) -> None:
    for number, content in enumerate(files):
        read(content, number, row_count)


def collect(files: list[bytes], row_count: int) -> list[BytesIO]:
    parts = []
    for number, content in enumerate(files):
        reconciliation = read(content, number, row_count)
        _, answers = reconciliation.close(unanswered(Outcome.COMPLETED), may_send_again=True)
        part = BytesIO()
        write_part(part, answers, batch_id=f"batch_{number}", round=1, fees_usd=None, price=PRICE)
        parts.append(part)
    return parts


def join(source: Path, parts: list[BytesIO]) -> Path:
    path = source.with_name("joined.parquet")
    file = pq.ParquetFile(source, pre_buffer=False)
    joined = Join(
        job_digest=DIGEST,
        shard_no=0,
        options=OutputOptions(),
        source_schema=file.schema_arrow,
        parts=[PartCursor(part, shard_no=0) for part in parts],
        gaps=[],
    )
    with file, pq.ParquetWriter(path, joined.schema) as writer:
        row_start = 0
        for batch in file.iter_batches(BATCH_ROWS):
            writer.write_batch(joined.add(batch, row_start=row_start))
            row_start += batch.num_rows
    assert joined.counts.succeeded + joined.counts.failed == row_start
    return path


def naive(source: Path, files: list[bytes]) -> Path:
    """Do what a script does; like one, it knows neither missing rows nor duplicates but by their custom_id."""
    found = []
    for content in files:
        for line in content.split(b"\n"):
            try:
                answer = json.loads(line)
            except ValueError:
                continue
            body = answer["response"]["body"]
            has_failed = "error" in body
            found.append(
                {
                    "custom_id": answer["custom_id"],
                    "response": None if has_failed else body["choices"][0]["message"]["content"],
                    "finish_reason": None if has_failed else body["choices"][0]["finish_reason"],
                    "input_tokens": None if has_failed else body["usage"]["prompt_tokens"],
                    "output_tokens": None if has_failed else body["usage"]["completion_tokens"],
                    "request_id": answer["response"]["request_id"],
                    "error_message": body["error"]["message"] if has_failed else None,
                }
            )
    results = pd.DataFrame(found).drop_duplicates("custom_id")
    frame = pd.read_parquet(source)
    frame["custom_id"] = [custom_id(DIGEST, 0, row) for row in range(len(frame))]
    path = source.with_name("naive.parquet")
    frame.merge(results, on="custom_id", how="left").to_parquet(path)
    return path


def check_equal(ours: Path, theirs: Path) -> None:
    names = {"llm_response": "response", "llm_input_tokens": "input_tokens", "llm_request_id": "request_id"}
    left = pq.read_table(ours, columns=["custom_id", *names]).rename_columns(["custom_id", *names.values()])
    right = pq.read_table(theirs, columns=["custom_id", *names.values()]).cast(left.schema)
    assert left.equals(right), "the two ways disagree"


def best_s(repeat: int, work: Callable[[], object]) -> float:
    times_s = []
    for _ in range(repeat):
        begun_s = time.process_time()
        work()
        times_s.append(time.process_time() - begun_s)
    return min(times_s)


def main() -> None:
    arguments = argparse.ArgumentParser(description="rows per CPU second of the collector")
    arguments.add_argument("--rows", type=int, default=200_000)
    arguments.add_argument("--repeat", type=int, default=3)
    chosen = arguments.parse_args()
    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        source = make_source(Path(folder), chosen.rows, chance)
        files = make_results(chosen.rows, chance)
        parts = collect(files, chosen.rows)
        check_equal(join(source, parts), naive(source, files))
        read_s = best_s(chosen.repeat, lambda: read_all(files, chosen.rows))
        collect_s = best_s(chosen.repeat, lambda: collect(files, chosen.rows))
        join_s = best_s(chosen.repeat, lambda: join(source, parts))
        naive_s = best_s(chosen.repeat, lambda: naive(source, files))
    line_bytes = sum(map(len, files)) / chosen.rows
    print(
        f"{chosen.rows} rows, {line_bytes:.0f} bytes a line, best of {chosen.repeat}, Python {sys.version.split()[0]}"
    )
    print(f"{'':<28}{'krows/s':>9}{'CPU s':>8}{'x naive':>9}")
    for name, seconds in (
        ("read_answers", read_s),
        ("read_answers + write_part", collect_s),
        ("Join, source to output", join_s),
        ("all: lines to output", collect_s + join_s),
        ("naive: lines to output", naive_s),
    ):
        print(f"{name:<28}{chosen.rows / seconds / 1000:>9.1f}{seconds:>8.2f}{naive_s / seconds:>9.1f}")


if __name__ == "__main__":
    main()
