"""What the check of typed answers costs, beside collecting the same answers as texts.

    python -m benchmarks.typed_answers [--rows 100000] [--repeat 3]

Eight fields: an enum, numbers with bounds, a date, lists, a nested object. Times are CPU seconds of this process, the
best of the repeats. "collect" reads result lines and writes parts, as the step does; "finish" joins them with the rows.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.collect import BATCH_ROWS, DIGEST, PRICE, WORDS, best_s, blocks, make_line, make_source
from orchestrator.collector.join import Join
from orchestrator.collector.parse import read_answers
from orchestrator.collector.typed_answers import TypedAnswers
from orchestrator.domain.model import Outcome
from orchestrator.domain.policy import OutputOptions
from orchestrator.domain.reconcile import Reconciliation, unanswered
from orchestrator.domain.response_fields import schema_of_fields
from orchestrator.domain.response_schema import canonical
from orchestrator.engine.process_memory import give_back
from orchestrator.job_files.part_cursor import PartCursor
from orchestrator.job_files.result_parts import write_part
from orchestrator.providers.onerouter.dialect import READER

CHUNK_ROWS = 10_000
FIELDS = {
    "mood": {"enum": ["good", "bad", "mixed"]},
    "stars": {"type": "integer", "minimum": 1, "maximum": 5},
    "certainty": {"type": "number", "minimum": 0, "maximum": 1},
    "is_spam": "boolean",
    "bought_on": "date?",
    "topics": ["string"],
    "shop": {"name": "string", "city": "string?"},
    "reason": "string",
}


def make_results(row_count: int, chance: random.Random) -> list[bytes]:
    """Return the content of one result file for each chunk."""
    files = []
    for start in range(0, row_count, CHUNK_ROWS):
        found = []
        for row in range(start, min(row_count, start + CHUNK_ROWS)):
            line = json.loads(make_line(row, chance))
            if "choices" in line["response"]["body"]:
                line["response"]["body"]["choices"][0]["message"]["content"] = json.dumps(make_answer(chance))
            found.append(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode())
        chance.shuffle(found)
        files.append(b"\n".join(found) + b"\n")
    return files


def make_answer(chance: random.Random) -> dict[str, object]:
    return {
        "mood": chance.choice(["good", "bad", "mixed"]),
        "stars": chance.randint(1, 5),
        "certainty": round(chance.random(), 2),
        "is_spam": chance.random() < 0.1,
        "bought_on": f"2026-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}",
        "topics": chance.choices(WORDS, k=3),
        "shop": {"name": chance.choice(WORDS), "city": None},
        "reason": " ".join(chance.choices(WORDS, k=10)),
    }


def collect(files: list[bytes], row_count: int, typed: TypedAnswers | None) -> list[BytesIO]:
    parts = []
    read_line = READER if typed is None else typed.checking(READER, resends=True)
    for number, content in enumerate(files):
        rows = range(number * CHUNK_ROWS, min(row_count, (number + 1) * CHUNK_ROWS))
        reconciliation = Reconciliation(((0, row) for row in rows), DIGEST)
        for _ in read_answers(blocks(content), reconciliation, read_line, keep_raw=False):
            pass
        tally, answers = reconciliation.close(unanswered(Outcome.COMPLETED), may_send_again=True)
        assert tally.succeeded > 0.98 * len(rows)
        part = BytesIO()
        write_part(part, answers, batch_id=f"batch_{number}", round=1, fees_usd=None, price=PRICE)
        parts.append(part)
    return parts


def finish(source: Path, parts: list[BytesIO], typed: TypedAnswers | None) -> None:
    file = pq.ParquetFile(source, pre_buffer=False)
    joined = Join(
        job_digest=DIGEST,
        shard_no=0,
        options=OutputOptions(),
        source_schema=file.schema_arrow,
        parts=[PartCursor(part, shard_no=0) for part in parts],
        gaps=[],
        typed=typed,
    )
    with file, pq.ParquetWriter(source.with_name("joined.parquet"), joined.schema, compression="zstd") as writer:
        row_start = 0
        for batch in file.iter_batches(BATCH_ROWS):
            writer.write_batch(joined.add(batch, row_start=row_start))
            row_start += batch.num_rows


def main() -> None:
    arguments = argparse.ArgumentParser(description="CPU seconds of typed answers beside texts")
    arguments.add_argument("--rows", type=int, default=100_000)
    arguments.add_argument("--repeat", type=int, default=3)
    chosen = arguments.parse_args()
    give_back()  # as the command line does
    chance = random.Random(1)
    typed = TypedAnswers(canonical(schema_of_fields(FIELDS)))
    with tempfile.TemporaryDirectory() as folder:
        source, files = make_source(Path(folder), chosen.rows, chance), make_results(chosen.rows, chance)
        parts = collect(files, chosen.rows, typed)
        for name, kind in (("texts", None), ("typed", typed)):
            collect_s = best_s(chosen.repeat, lambda kind=kind: collect(files, chosen.rows, kind))  # type: ignore[misc]
            finish_s = best_s(chosen.repeat, lambda kind=kind: finish(source, parts, kind))  # type: ignore[misc]
            each_us = (collect_s + finish_s) / chosen.rows * 1e6
            print(f"{name}: collect {collect_s:.2f} s, finish {finish_s:.2f} s, together {each_us:.1f} us a row")


if __name__ == "__main__":
    main()
