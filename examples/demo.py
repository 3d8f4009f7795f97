"""The demo: a real dataset through a real server of the Batches API on this machine, with some things going wrong.

No key, no account, no cost. What is sent, collected and written is what would be with a provider; only the model is
simulated. Everything lies under `.orchestrator/demo`, and is made anew each time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orchestrator

ROOT = Path(__file__).resolve().parent.parent
PLACE = Path(".orchestrator") / "demo"
KEY = "local"
START_DEADLINE_S = 60.0

JOB = """\
[job]
name = "sotu"
dataset = "{dataset}"
provider = "onerouter"

[request]
model = "openai/gpt-6-luna-batch"
system = "You summarise speeches. Answer with one sentence."
prompt = "{{president}} said in {{year}}: {{text}}\\n\\nWhat is the point, in one sentence?"
max_tokens = 64

[policy]
attempts_max = 3
chunk_requests_max = 500

[provider]                      # the server on this machine instead of OneRouter's
base_url = "{base_url}/v1"
poll_s_min = 1
"""


@contextmanager
def gateway() -> Iterator[str]:
    """Run the gateway on a free port for the length of a block; yields its address."""
    ready = PLACE / "gateway-ready.json"
    command = [
        sys.executable,
        "-m",
        "orchestrator.gateway",
        "--port",
        "0",
        "--state",
        str(PLACE / "gateway"),
        "--api-key",
        KEY,
    ]
    command += ["--ready-file", str(ready), "--faults", str(ROOT / "examples" / "demo-faults.toml")]
    command += ["--duration-s", "3", "--die-with-parent"]
    with (PLACE / "gateway.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + START_DEADLINE_S
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the gateway did not start: see {PLACE / 'gateway.log'}")
            time.sleep(0.05)
        yield json.loads(ready.read_text())["url"]
    finally:
        process.terminate()
        process.wait()


@contextmanager
def stage() -> Iterator[tuple[str, Path]]:
    """Empty the demo's folder, run the gateway, and write the job file; yields the gateway's address and the file."""
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    with gateway() as base_url:
        print(f"A server of the Batches API runs at {base_url} for the time of the demo.")
        job_file = PLACE / "sotu.toml"
        dataset = ROOT / "examples" / "data" / "state_of_the_union.parquet"
        job_file.write_text(JOB.format(dataset=dataset, base_url=base_url))
        yield base_url, job_file


def main() -> int:
    """Run the demo and return its exit code."""
    with stage() as (base_url, job_file):
        environment = os.environ | {"ONEROUTER_API_KEY": KEY}
        # The server refuses a few rows, as it was told to: without the option the exit code would be 4.
        command = ["run", str(job_file), "--work", str(PLACE), "--allow-failed"]
        run = [sys.executable, "-m", "orchestrator", *command]
        print(f"$ orchestrator {' '.join(command)}\n", flush=True)
        code = subprocess.run(run, env=environment, check=False).returncode
        if code != 0:
            return code
        show(base_url)
    return 0


def show(base_url: str) -> None:
    """Print five joined rows, where they lie, and what the server says of the bill."""
    (handle,) = orchestrator.jobs(work=PLACE)
    result = handle.results()
    print("\nFive of its rows, each with its answer:\n")
    for row in result.dataset().take([0, 1000, 2000, 3000, 4000]).to_pylist():
        text = row["text"] if len(row["text"]) < 60 else f"{row['text'][:57]}..."
        print(f"  {row['year']}  {row['president']:<20.20}  {text}")
        print(f"        {row['llm_status']}, attempt {row['llm_attempts']}: {row['llm_response']}\n")
    print(f"All {result.counts['rows']:,} rows, as Parquet: {result.path}")
    print(f"  python -c \"import pandas; print(pandas.read_parquet('{result.path}'))\"")
    paid_twice, excused = bill(base_url)
    print(f"Rows paid twice: {paid_twice - excused} by us, {excused} because the server kept their first answer back.")


def bill(base_url: str) -> tuple[int, int]:
    """Ask the server which rows it was paid for twice, and for how many of them it has itself to blame."""
    request = urllib.request.Request(f"{base_url}/admin/bill", headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request) as answer:
        found = json.load(answer)
    return found["paid_twice"], found["excused"]


if __name__ == "__main__":
    sys.exit(main())
