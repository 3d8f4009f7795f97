"""`attach`, `pause`, `resume` and `stop` of a job that a fleet runs: real workers, broker and command line."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from orchestrator.domain.look import Activity
from tests.acceptance.command_line import CommandLine, ended
from tests.acceptance.datasets import check_exact, marked, read_output
from tests.workers.fleets import Fleet, a_fleet, until

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]
ROWS, CHUNK = 120, 10
TWO_AT_A_TIME: Final = {"chunk_requests_max": CHUNK, "batches_in_flight_max": 2}
AT_ONCE: Final = {"chunk_requests_max": CHUNK, "reuse": "never"}


@pytest.fixture
def slow_fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """A fleet whose batches take a while."""
    with a_fleet(tmp_path, monkeypatch, batch_s=1.0) as running:
        yield running


def terminal(fleet: Fleet) -> CommandLine:
    """Return a terminal beside the fleet, without a key."""
    settings = {name: value for name, value in fleet.settings.items() if name != "ONEROUTER_API_KEY"}
    return CommandLine(folder=fleet.folder, environment=settings)


def until_said(process: subprocess.Popen[str], what: str) -> None:
    """Read what a process says until it says this."""
    assert process.stderr is not None
    for line in process.stderr:
        if what in line:
            return
    pytest.fail(f"it never said: {what}")


def test_a_fleet_pauses_collects_and_goes_on_while_a_terminal_follows(slow_fleet: Fleet) -> None:
    """A pause sends nothing and collects what is in flight; a terminal that follows sees it all, to the end."""
    fleet = slow_fleet
    cli, job = terminal(fleet), fleet.submit(ROWS, policy=TWO_AT_A_TIME)
    fleet.start("worker")
    fleet.start("beat")
    until(lambda: job.status().workers_alive, "a worker")
    follows, leaves = cli.start("attach", job.job_id), cli.start("attach", job.job_id)
    until(lambda: len(fleet.gateway.batches()) >= 2, "two batches")

    paused = cli.run("pause", job.job_id)
    assert paused.code == 0, paused
    assert f"{job.job_id}: paused by you: nothing more is sent" in paused.out
    until(lambda: not job.status().look.rows.at_provider, "what is in flight to be collected")
    sent = len(fleet.gateway.batches())
    look = job.status().look
    assert (look.activity, look.rows.answered) == (Activity.PAUSED, sent * CHUNK)
    until_said(follows, "paused by you")

    until_said(leaves, "paused by you")
    leaves.send_signal(signal.SIGINT)
    assert ended(leaves).code == 130
    refused = cli.run("stop", job.job_id)
    assert (refused.code, "a fleet's workers run it: pause or cancel it" in refused.err) == (2, True)
    fleet.submit(20, policy=AT_ONCE, alongside=True).wait(
        60
    )  # the fleet is at work, and sends nothing of the first job meanwhile
    assert (len(fleet.gateway.batches()), job.status().look.activity) == (sent + 2, Activity.PAUSED)

    resumed = cli.run("resume", job.job_id)
    assert resumed.out.startswith(f"{job.job_id}: resumed. Its fleet's workers go on.\n"), resumed
    done = ended(follows)
    assert done.code == 0, done
    assert f"= {ROWS} succeeded + 0 failed" in done.out
    check_exact(read_output(job.results().path), marked(ROWS))
    bill = fleet.gateway.bill()
    assert (bill["creates"], bill["paid_twice"]) == (ROWS // CHUNK + 2, 0)
