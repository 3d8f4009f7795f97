"""How fast rows become request lines: our path beside two plain ones, in one run on one machine.

    python benchmarks/render.py --rows 1000000

Each path reads the same synthetic Parquet file (seeded; a title and a body, about 700 bytes a row, half of the rows not
ASCII, four characters to escape) and makes the same requests; that they are equal is checked before the clock starts.
Nothing is written: lines are counted and dropped. The target (docs: performance) is 17 times the naive path.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.dataset.dataset import Dataset, open_dataset
from orchestrator.domain.batch import LineEnvelope
from orchestrator.planner.render import TemplateRenderer
from orchestrator.planner.template import body_of, compile_body

SEED = 17
GROUP_ROWS = 100_000
NAIVE_ROWS = 50_000
PLAIN_WORDS = ("the", "of", "and", "to", "in", "that", "results", "were", "measured", "again", "for", "every", "sample")
OTHER_WORDS = (
    "the",
    "of",
    "and",
    "in",
    "results",
    "für",
    "die",
    "Straße",
    "größer",
    "naïve",
    "café",
    "приём",
    "東京",
    "\U0001f642",
)
ENVELOPE = LineEnvelope(before_id=b'{"custom_id":"', before_body=b'","params":', after_body=b"}")
PREFIX = b"9f86d081-0-"
MODEL = "some/model"


def main() -> None:
    """Run the paths one after the other and print their speeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        write_rows(path, rows)
        dataset = open_dataset(path, shard_rows=10**12, shard_bytes=10**15)
        for plain in (naive_lines, pylist_lines):
            pairs = zip(islice(plain(path), 2_000), islice(our_lines(dataset), 2_000), strict=True)
            assert all(orjson.loads(line) == orjson.loads(ours or b"") for line, ours in pairs), plain.__name__
        print(f"{rows:,} rows, {path.stat().st_size / rows:.0f} bytes a row in Parquet")
        naive = measure("pandas.iterrows + json.dumps", lambda: islice(naive_lines(path), NAIVE_ROWS))
        pylist = measure("to_pylist + orjson", lambda: pylist_lines(path))
        rate = measure("ours", lambda: our_lines(dataset))
        measure("reading alone", lambda: read_only(dataset))
        print(f"ours / naive {rate / naive:.1f}x   ours / pylist {rate / pylist:.2f}x   target: 17x naive")


def write_rows(path: Path, rows: int) -> None:
    """Write the synthetic table; the same for the same number of rows."""
    chance = random.Random(SEED)
    plain, other = (
        [" ".join(chance.choices(words, k=80)) for _ in range(1_000)] for words in (PLAIN_WORDS, OTHER_WORDS)
    )
    schema = pa.schema([("id", pa.int64()), ("title", pa.string()), ("body", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, GROUP_ROWS):
            numbers = range(start, min(start + GROUP_ROWS, rows))
            titles = [f'{chance.choice(plain)[:60]} "{number}"' for number in numbers]
            halves = [chance.choices(chance.choice((plain, other)), k=2) for _ in numbers]
            bodies = [f"{one[:310]}\n{number}\n{two[:310]}" for number, (one, two) in zip(numbers, halves, strict=True)]
            writer.write_table(pa.table([list(numbers), titles, bodies], schema=schema), row_group_size=GROUP_ROWS)


def body(content: str) -> dict[str, Any]:
    """Return the body that all paths make."""
    return body_of(model=MODEL, prompt=content, system=None, messages=None, parameters={"max_tokens": 64})


def naive_lines(path: Path) -> Iterator[bytes]:
    """Yield lines as a first script would make them."""
    frame = next(pq.ParquetFile(path).iter_batches(NAIVE_ROWS)).to_pandas()
    assert isinstance(frame, pd.DataFrame)
    for number, (_, row) in enumerate(frame.iterrows()):
        request = {
            "custom_id": f"{PREFIX.decode()}{number:x}",
            "params": body(f"Classify: {row['title']}\n{row['body']}"),
        }
        yield json.dumps(request).encode() + b"\n"


def pylist_lines(path: Path) -> Iterator[bytes]:
    """Yield lines as a careful script would make them."""
    number = 0
    for batch in pq.ParquetFile(path).iter_batches(5_000, columns=["title", "body"]):
        for row in batch.to_pylist():
            request = {
                "custom_id": f"{PREFIX.decode()}{number:x}",
                "params": body(f"Classify: {row['title']}\n{row['body']}"),
            }
            yield orjson.dumps(request, option=orjson.OPT_APPEND_NEWLINE)
            number += 1


def our_lines(dataset: Dataset) -> Iterator[bytes | None]:
    """Yield lines by the planner's own reader and renderer."""
    compiled = compile_body(body("Classify: {title}\n{body}"), dataset.schema)
    renderer = TemplateRenderer(compiled=compiled, envelope=ENVELOPE, id_prefix=PREFIX, null_policy="error")
    row = 0
    for batch in dataset.batches(dataset.shards[0], columns=renderer.columns):
        yield from renderer.render(batch, row_start=row).lines
        row += batch.num_rows


def read_only(dataset: Dataset) -> Iterator[int]:
    """Yield a number for each row read, as the floor under any path."""
    for batch in dataset.batches(dataset.shards[0], columns=("title", "body")):
        yield from range(batch.num_rows)


def measure(name: str, path: Callable[[], Iterator[Any]]) -> float:
    """Print and return the rows a second of one path."""
    started_s = time.perf_counter()
    count = sum(1 for _ in path())
    rate = count / (time.perf_counter() - started_s)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:32} {rate:>10,.0f} rows/s   peak so far {peak_mb:,.0f} MB")
    return rate


if __name__ == "__main__":
    main()
