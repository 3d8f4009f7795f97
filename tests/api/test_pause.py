"""A pause as a user of the Python API and of the command line meets it: real processes, a real server."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

import pandas as pd
import pytest
from click.testing import CliRunner

import orchestrator
from orchestrator.cli.main import app
from orchestrator.domain.errors import CommandRefused
from orchestrator.domain.look import Activity, Look
from orchestrator.testing import fake_provider

ROWS: Final = 12
FRAME: Final = pd.DataFrame({"text": [f"row {number}" for number in range(ROWS)]})
POLICY: Final = {"chunk_requests_max": 2, "batches_in_flight_max": 1}


@pytest.mark.slow
def test_a_running_job_is_paused_and_goes_on_in_the_same_process(tmp_path: Path) -> None:
    """What is in flight comes home meanwhile, nothing is sent, and the run says for whom it waits."""
    job_ids, unsent = list[str](), list[int]()

    def answer(_body: object) -> str:
        while job_ids:
            orchestrator.open_job(job_ids.pop(), work=tmp_path).pause()
        return "fine"

    def look(now: Look) -> None:
        if not fake.requests:
            job_ids[:] = [now.job_id]
        elif now.activity is Activity.PAUSED and not now.rows.at_provider:
            unsent.append(len(fake.requests))
            if len(unsent) == 3:
                orchestrator.open_job(now.job_id, work=tmp_path).resume()

    with fake_provider(answer) as fake:
        job = orchestrator.Job(
            dataset=FRAME, prompt="{text}", model="any", work=tmp_path, policy=POLICY, **fake.options
        )
        result = orchestrator.run(job, progress=look)

        assert len(unsent) >= 3
        assert set(unsent) == {unsent[0]}
        assert unsent[0] < ROWS
        assert result.counts == {"rows": ROWS, "succeeded": ROWS, "failed": 0}
        assert len(fake.requests) == ROWS


@pytest.mark.slow
def test_a_pause_survives_the_process_and_the_ledger(tmp_path: Path) -> None:
    """A run that begins while it is paused sends nothing, and waits; so does one after the ledger was made anew."""
    with fake_provider() as fake:
        job = orchestrator.Job(dataset=FRAME, prompt="{text}", model="any", work=tmp_path, **fake.options)
        handle = orchestrator.submit(job)
        handle.pause()
        stop = threading.Event()

        def leave(now: Look) -> None:
            if now.activity is Activity.PAUSED and now.rows.waiting:
                stop.set()

        with pytest.raises(orchestrator.JobInterrupted):
            orchestrator.run(job, progress=leave, stop=stop)
        (tmp_path / "ledger.db").unlink()
        orchestrator.recover(work=tmp_path)
        assert handle.status().look.activity is Activity.PAUSED
        assert fake.requests == []

        handle.resume()
        assert handle.run().counts["succeeded"] == ROWS


def test_the_commands_say_what_happens_and_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with fake_provider() as fake:
        job = orchestrator.Job(dataset=FRAME, prompt="{text}", model="any", work=".orchestrator", **fake.options)
        job_id = orchestrator.submit(job).job_id
    paused, again, status, resumed = (
        CliRunner().invoke(app, [name, job_id], catch_exceptions=False).output
        for name in ("pause", "pause", "status", "resume")
    )

    way = f"  to send again:\n    orchestrator resume {job_id}\n"
    assert paused == again == f"{job_id}: paused by you: nothing more is sent.\n{way}"
    assert status.startswith(f"{job_id}  paused by you, 0:0")
    assert status.endswith(way)
    assert resumed == f"{job_id}: resumed. Next:\n  orchestrator run {job_id}\n"
    with pytest.raises(CommandRefused, match="not paused: there is nothing to resume"):
        CliRunner().invoke(app, ["resume", job_id], catch_exceptions=False)
