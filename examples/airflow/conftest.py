"""An Airflow of the tests' own, and the gateway: a server of the Batches API on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

HOME = Path(os.environ.get("AIRFLOW_HOME") or tempfile.mkdtemp(prefix="airflow-"))
os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "false",
    "AIRFLOW__CORE__DAGS_FOLDER": str(HOME / "dags"),
}


@pytest.fixture(scope="session", autouse=True)
def _airflow() -> None:
    (HOME / "dags").mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """The fields of a job at a gateway whose batches take six seconds; rows with "bad" in them fail."""
    ready, key = tmp_path / "ready.json", "local"
    command = [sys.executable, "-m", "orchestrator", "gateway", "--port", "0", "--state", str(tmp_path / "gateway")]
    command += ["--api-key", key, "--ready-file", str(ready), "--duration-s", "6", "--die-with-parent"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    monkeypatch.setenv("ONEROUTER_API_KEY", key)
    try:
        yield {"base_url": f"{url_in(ready, process)}/v1", "poll_s_min": 6, "poll_s_max": 6}
    finally:
        process.terminate()
        process.wait()


def url_in(ready: Path, process: subprocess.Popen[bytes]) -> str:
    for _ in range(600):
        if ready.exists():
            return str(json.loads(ready.read_text())["url"])
        assert process.poll() is None, "the gateway did not start"
        time.sleep(0.05)
    raise AssertionError("the gateway did not start")
