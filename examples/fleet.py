"""The demo on a fleet of this machine's own: a broker, two workers, two beats, and the job submitted to them.

Nothing to install: the broker comes as a wheel. What the processes do, and how, is what they would do on many machines.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from orchestrator.cli.demo import KEY, PLACE, show_rows, stage

LOG = PLACE / "fleet.log"
LOOK_S = 0.2


@contextmanager
def fleet(environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a fleet for the length of a block; at its end everybody may finish the step under way."""
    command = [sys.executable, "-m", "orchestrator", "fleet", "--workers", "2", "--beats", "2"]
    with LOG.open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def waited_for(submit: subprocess.Popen[bytes], fleet: subprocess.Popen[bytes]) -> int:
    """Return the exit code of the command that waits for the job; end it where the fleet has gone before."""
    while submit.poll() is None:
        if fleet.poll() is not None:
            submit.terminate()
            print(f"The fleet has ended, with exit code {fleet.returncode}. Its last words are in {LOG}.")
            return submit.wait() or 1
        time.sleep(LOOK_S)
    return submit.returncode


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
        with fleet(environment) as started:
            submit = [sys.executable, "-m", "orchestrator", *command]
            own = {
                name: value for name, value in environment.items() if name != "ORCHESTRATOR_WORK"
            }  # as who pastes has it
            code = waited_for(subprocess.Popen(submit, env=own), started)
        if code == 0:
            show_rows(base_url)
    return code


if __name__ == "__main__":
    sys.exit(main())
