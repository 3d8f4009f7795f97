"""The demo on a fleet of this machine's own: a broker, two workers, two beats, and the job submitted to them.

Nothing to install: the broker comes as a wheel. What the processes do, and how, is what they would do on many machines.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from orchestrator.cli.demo import KEY, PLACE, show_rows, stage

LOG = PLACE / "fleet.log"


@contextmanager
def fleet(environment: Mapping[str, str]) -> Iterator[None]:
    """Run a fleet for the length of a block; at its end everybody may finish the step under way."""
    command = [sys.executable, "-m", "orchestrator", "fleet", "--workers", "2", "--beats", "2"]
    with LOG.open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def main() -> int:
    """Run the demo and return its exit code."""
    with stage() as (base_url, job_file):
        environment = os.environ | {
            "ONEROUTER_API_KEY": KEY,
            "ORCHESTRATOR_WORK": str(PLACE.absolute()),
            "ORCHESTRATOR_TICK_S": "1",
            "ORCHESTRATOR_LOG": "info",
        }
        print(f"A broker, two workers and two beats are being started; what they say is in {LOG}.")
        command = ["submit", str(job_file), "--work", str(PLACE), "--wait", "--allow-failed"]
        print(f"$ orchestrator {' '.join(command)}\n", flush=True)
        with fleet(environment):
            submit = [sys.executable, "-m", "orchestrator", *command]
            own = {
                name: value for name, value in environment.items() if name != "ORCHESTRATOR_WORK"
            }  # as who pastes has it
            code = subprocess.run(submit, env=own, check=False).returncode
        if code == 0:
            show_rows(base_url)
    return code


if __name__ == "__main__":
    sys.exit(main())
