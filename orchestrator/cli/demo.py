"""`orchestrator demo`: a real dataset through a real server of the Batches API on this machine, and things go wrong.

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
from typing import Final

import click

from orchestrator.cli.terminal import say, show
from orchestrator.domain.errors import ConfigError

PLACE: Final = Path(".orchestrator") / "demo"
KEY: Final = "local"
START_DEADLINE_S: Final = 60.0
HERE: Final = Path(__file__).parent
DATASET: Final = "state_of_the_union.parquet"
TEXT_SHOWN: Final = 60
JOB: Final = """\
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


@click.command
def demo() -> None:
    """Run a whole job on this machine: no key, no account, no cost.

    4,198 paragraphs of State of the Union addresses go to a server of the Batches API with a simulated model, which
    refuses a create, lets a batch expire, fails rows and breaks result lines. All of it is in .orchestrator/demo.
    """
    with stage() as (base_url, job_file):
        # The server refuses a few rows, as it was told to: without the option the exit code would be 4.
        command = ["run", str(job_file), "--work", str(PLACE), "--allow-failed"]
        say(f"$ orchestrator {' '.join(command)}\n")
        environment = os.environ | {"ONEROUTER_API_KEY": KEY}
        run = [sys.executable, "-P", "-m", "orchestrator", *command]
        code = subprocess.run(run, env=environment, check=False).returncode  # noqa: S603 - this program itself
        if code:
            sys.exit(code)
        show_rows(base_url)


@contextmanager
def stage() -> Iterator[tuple[str, Path]]:
    """Empty the demo's folder, run the gateway, and write the job file; yields the gateway's address and the file."""
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    with _gateway() as base_url:
        say(f"A server of the Batches API runs at {base_url} for the time of the demo.")
        job_file = PLACE / "sotu.toml"
        job_file.write_text(JOB.format(dataset=_dataset(), base_url=base_url), encoding="utf-8")
        yield base_url, job_file


def _dataset() -> Path:
    """Return where the dataset is: in the installed package, or in the clone that this is."""
    installed = HERE.parent / "examples" / DATASET
    return installed if installed.exists() else HERE.parents[1] / "examples" / "data" / DATASET


@contextmanager
def _gateway() -> Iterator[str]:
    """Run the gateway on a free port for the length of a block; yields its address. Raises ConfigError."""
    ready, log = PLACE / "gateway-ready.json", PLACE / "gateway.log"
    command = [sys.executable, "-P", "-m", "orchestrator.gateway", "--port", "0", "--api-key", KEY]
    command += ["--state", str(PLACE / "gateway"), "--ready-file", str(ready), "--duration-s", "3"]
    command += ["--faults", str(HERE / "demo_faults.toml")]
    command += ["--die-with-parent"] if sys.platform == "linux" else []
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)  # noqa: S603 - this program itself
    try:
        deadline = time.monotonic() + START_DEADLINE_S
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise ConfigError(f"the gateway did not start: see {log}")
            time.sleep(0.05)
        yield str(json.loads(ready.read_text(encoding="utf-8"))["url"])
    finally:
        process.terminate()
        process.wait()


def show_rows(base_url: str) -> None:
    """Print five joined rows, where they lie, and what the server says of the bill."""
    from orchestrator.api import commands

    [handle] = commands.jobs(work=PLACE)
    result = handle.results()
    show("\nFive of its rows, each with its answer:\n")
    for row in result.dataset().take([0, 1000, 2000, 3000, 4000]).to_pylist():
        text = row["text"] if len(row["text"]) < TEXT_SHOWN else f"{row['text'][: TEXT_SHOWN - 3]}..."
        show(f"  {row['year']}  {row['president']:<20.20}  {text}")
        show(f"        {row['llm_status']}, attempt {row['llm_attempts']}: {row['llm_response']}\n")
    show(f"All {result.counts['rows']:,} rows, as Parquet: {result.path}")
    show(f"  python -c \"import pandas; print(pandas.read_parquet('{result.path}'))\"")
    paid_twice, excused = _bill(base_url)
    show(f"Rows paid twice: {paid_twice - excused} by us, {excused} because the server kept their first answer back.")


def _bill(base_url: str) -> tuple[int, int]:
    """Ask the server which rows it was paid for twice, and for how many of them it has itself to blame."""
    asked = urllib.request.Request(f"{base_url}/admin/bill", headers={"Authorization": f"Bearer {KEY}"})  # noqa: S310
    with urllib.request.urlopen(asked) as answer:  # noqa: S310 - the gateway on this machine
        found = json.load(answer)
    return found["paid_twice"], found["excused"]


COMMANDS = (demo,)
