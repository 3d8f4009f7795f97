"""A whole job of many rows against the gateway on this machine: exactness, time, and peak memory of the orchestrator.

    python benchmarks/whole_job.py --rows 100000 --rows 1000000

Each size is run by the real command line in a process of its own, whose peak RSS is read from the kernel. The gateway
shares the machine's cores, so the rates are lower bounds; memory and exactness are not affected by that.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

KEY = "local"
WORDS = (
    "battery",
    "Größe",
    "lasted",
    "two",
    "days",
    "which",
    "is",
    "more",
    "than",
    "I",
    "expected",
    "日本語",
    '"so',
    "so\n",
)
JOB = """\
[job]
name = "bench"
dataset = "{dataset}"
[request]
model = "openai/gpt-6-luna-batch"
prompt = "Classify this review: {{title}}\\n{{body}}"
max_tokens = 32
[policy]
canary_rows = 0
chunk_requests_max = 10000
[provider]
base_url = "{base_url}/v1"
poll_s_min = 1
"""


def make_dataset(path: Path, rows: int) -> None:
    """Write `rows` rows of about 700 bytes, seeded."""
    draw = np.random.default_rng(7)
    schema = pa.schema([("id", pa.int64()), ("title", pa.string()), ("body", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, 50_000):
            count = min(50_000, rows - start)
            picks = draw.integers(0, len(WORDS), size=(count, 110))
            bodies = [" ".join([WORDS[pick] for pick in row]) for row in picks]
            titles = [f"row {row}: {body[:60]}" for row, body in enumerate(bodies, start)]
            ids = pa.array(range(start, start + count), pa.int64())
            writer.write_table(pa.table([ids, titles, bodies], schema=schema))


def workspace(rows: int, place: Path) -> dict[str, Any]:
    """Run one size and return its figures."""
    dataset = place / "rows.parquet"
    make_dataset(dataset, rows)
    ready = place / "ready.json"
    command = [
        sys.executable,
        "-m",
        "orchestrator.gateway",
        "--port",
        "0",
        "--state",
        str(place / "gateway"),
        "--api-key",
        KEY,
    ]
    command += ["--ready-file", str(ready), "--duration-s", "1", "--die-with-parent"]
    gateway = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while not ready.exists():
            time.sleep(0.05)
        base_url = json.loads(ready.read_text())["url"]
        job_file = place / "job.toml"
        job_file.write_text(JOB.format(dataset=dataset, base_url=base_url))
        began = time.monotonic()
        run = [sys.executable, "-m", "orchestrator", "run", str(job_file), "--work", str(place / "work"), "--json"]
        process = subprocess.Popen(run, env=os.environ | {"ONEROUTER_API_KEY": KEY}, stdout=subprocess.PIPE)
        peak_mb = watch_peak_mb(process)
        report = json.loads(process.stdout.read()) if process.stdout else {}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process.wait()
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = usage.ru_utime + usage.ru_stime - before.ru_utime - before.ru_stime
        took_s = time.monotonic() - began
        request = urllib.request.Request(f"{base_url}/admin/bill", headers={"Authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(request) as answer:
            bill = json.load(answer)
    finally:
        gateway.terminate()
        gateway.wait()
    check(Path(report["output"]), rows)
    return {
        "rows": rows,
        "seconds": round(took_s, 1),
        "rows_per_s": round(rows / took_s),
        "peak_rss_mb": peak_mb,
        "cpu_s": round(cpu_s, 1),
        "succeeded": report["rows"]["answered"],
        "failed": report["rows"]["failed"],
        "batches": report["created"],
        "paid_twice": bill["paid_twice"],
        "billed_answers": bill["answers"],
    }


def watch_peak_mb(process: subprocess.Popen[bytes]) -> int:
    """Return the process's peak RSS once it has closed its output (getrusage would count its parent's, before exec)."""
    peak_kb = 0
    status = Path(f"/proc/{process.pid}/status")
    while process.stdout is not None and not select.select([process.stdout], [], [], 0.05)[0]:
        marks = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        peak_kb = max([peak_kb, *map(int, marks)])
    return peak_kb // 1024


def check(output: Path, rows: int) -> None:
    """Raise unless every row stands in the output once, in order, with the answer to its own text."""
    seen = 0
    for part in sorted(output.glob("part-*.parquet")):
        for batch in pq.ParquetFile(part).iter_batches(columns=["id", "llm_response", "llm_status"]):
            for row, answer, state in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if row != seen or state != "succeeded" or f"row {row}:" not in answer:
                    raise AssertionError(f"row {seen}: id {row}, {state}")
                seen += 1
    if seen != rows:
        raise AssertionError(f"{seen} of {rows} rows")


def main() -> None:
    """Run the sizes asked for and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, action="append", help="may be given several times; default: 100000")
    for rows in parser.parse_args().rows or [100_000]:
        place = Path(tempfile.mkdtemp(prefix="whole-job-"))
        try:
            print(json.dumps(workspace(rows, place)), flush=True)
        finally:
            shutil.rmtree(place)


if __name__ == "__main__":
    main()
