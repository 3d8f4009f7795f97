"""Promise 6: a worker's memory does not grow with the dataset, nor with the size of its rows."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.acceptance.command_line import LOOK_EVERY_S, CommandLine, ended
from tests.acceptance.datasets import MODEL
from tests.gateway_process import GatewayProcess

STATUS: Final = Path("/proc/self/status")
SMALL, LARGE = 5_000, 80_000
ROW_BYTES: Final = 1_000
# The larger dataset is 75 MB more of text, and its requests and answers three times that. A shard, a slice and a
# chunk are full with the small one already, but for what the allocators keep.
GROWTH_MB_MAX: Final = 110
WIDE_ROWS: Final = 200  # as many bytes as the larger dataset, in rows of 400 kB
WIDE_BYTES: Final = 400_000
WIDE_GROWTH_MB_MAX: Final = 150
GROUP_BYTES: Final = 5_000_000

JOB: Final = """\
[job]
name = "memory"
dataset = "{dataset}"
[request]
model = "{model}"
prompt = "{{text}}"
max_tokens = 400
[policy]
canary_rows = 0
chunk_requests_max = 2000
[provider]
base_url = "{url}"
poll_s_min = 0.2
"""


def write_rows(path: Path, rows: int, row_bytes: int) -> None:
    group_rows = GROUP_BYTES // row_bytes
    with pq.ParquetWriter(path, pa.schema([("text", pa.string())])) as writer:
        for start in range(0, rows, group_rows):
            numbers = range(start, min(rows, start + group_rows))
            texts = [f"row {row} " + f"{row:07d} " * (row_bytes // 8) for row in numbers]
            writer.write_table(pa.table({"text": texts}))


def peak_mb(cli: CommandLine, gateway: GatewayProcess, rows: int, row_bytes: int = ROW_BYTES) -> int:
    """Run a job of so many rows and return the peak RSS of its process."""
    dataset, job = cli.folder / f"{rows}.parquet", cli.folder / f"{rows}.toml"
    cli.folder.mkdir(parents=True, exist_ok=True)
    write_rows(dataset, rows, row_bytes)
    job.write_text(JOB.format(dataset=dataset, model=MODEL, url=gateway.url))
    process = cli.start("run", job, "--json")
    peak_kb = 0
    while True:
        marks = [line for line in _status(process).splitlines() if line.startswith("VmHWM")]
        peak_kb = max([peak_kb, *(int(line.split()[1]) for line in marks)])
        try:
            process.wait(LOOK_EVERY_S)
        except subprocess.TimeoutExpired:
            continue
        break
    assert ended(process).code == 0
    return peak_kb // 1024


def _status(process: subprocess.Popen[str]) -> str:
    try:
        return Path(f"/proc/{process.pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="peak memory is read from /proc, which this system does not have")
def test_sixteen_times_the_rows_or_rows_of_400_kb_take_hardly_more_memory(
    cli: CommandLine, gateway: GatewayProcess
) -> None:
    small, large = peak_mb(cli, gateway, SMALL), peak_mb(cli, gateway, LARGE)
    wide = peak_mb(cli, gateway, WIDE_ROWS, WIDE_BYTES)

    assert large - small < GROWTH_MB_MAX, (small, large, wide)
    assert wide - large < WIDE_GROWTH_MB_MAX, (small, large, wide)
