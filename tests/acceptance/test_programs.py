"""The examples of programs that drive a job, run as their users would: by JSON alone, and over MCP."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.testing import KEY_VARIABLE, fake_provider
from tests.acceptance.datasets import MODEL, write_dataset, write_job
from tests.gateway_process import ROOT

pytestmark = pytest.mark.slow
ROWS = 30


@pytest.mark.parametrize("example", ["by_json.py", "by_mcp.py"])
def test_a_program_drives_a_job_inside_a_budget_and_reads_its_answers(example: str, tmp_path: Path) -> None:
    with fake_provider(lambda body: str(body["messages"][0]["content"].split()[0])) as fake:
        prices = {MODEL: {"input_usd": "0.10", "output_usd": "0.40"}}
        provider = {"api_key_env": KEY_VARIABLE, "prices": prices, "poll_s_min": 0.1, "poll_s_max": 0.1}
        job = write_job(
            tmp_path / "job.toml", write_dataset(tmp_path / "rows.parquet", ROWS), fake.url, provider=provider
        )

        allowed = ["--allow-url", fake.url, "--allow-variable", KEY_VARIABLE] if example == "by_mcp.py" else []

        def driven(budget_usd: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, str(ROOT / "examples" / example), job.name, budget_usd, *allowed],
                cwd=tmp_path,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )

        poor, done = driven("0.000001"), driven("0.50")

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[-1] for line in lines[-ROWS:]] == [f"mark-{row:06d}" for row in range(ROWS)]
    assert f"{ROWS} answered" in lines[-ROWS - 1]
    assert len(fake.requests) == ROWS, "the budget that was too small has sent nothing"
    assert poor.returncode == 1 or "stopped: 0 answered" in poor.stdout
