"""How long it takes to be at work again after everything was killed at once (T17).

The first useful step is the first thing that a job's numbers show: a chunk that has moved, a row that is settled. The
clock runs from the moment in which the first process is started again, and the servers come first.

Nothing here is a test: how long is long depends on the machine. It is measured and printed.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.chaos.run import Size, submit
from benchmarks.chaos.stage import set_stage
from orchestrator import JobHandle
from orchestrator.domain.errors import ConfigError, LedgerError
from tests.acceptance.command_line import kill
from tests.acceptance.datasets import marked
from tests.gateway_process import API_KEY
from tests.kills.jobs import SmallJob, Workspace
from tests.kills.outcomes import Campaign, judged
from tests.sums import sums

SIZE: Final = Size(batches=400, rows=5, in_flight_max=20)
LOOK_S: Final = 0.02
DEADLINE_S: Final = 300.0
KEY: Final = "OPENAI_API_KEY"
AMBIGUOUS: Final = ("submitting", "ambiguous")
BUSY: Final = frozenset({"workers_alive", "beats_alive"})


def fleet(folder: Path, *, ledger: str) -> Campaign:
    """Kill broker, database, worker and beat at once; measure until the first useful step after their start.

    One host: what a second one does on the same cores would only be in its way.
    """
    campaign = Campaign(name=f"everything killed, fleet, {ledger}", trials=1)
    with campaign.timed(), set_stage(folder, ledger=ledger, host_count=1) as stage:
        job = submit(stage.gateway, stage.work, marked(SIZE.batches * SIZE.rows), SIZE)
        for process in stage.processes:
            process.start()
        _until(lambda: _numbers(job).get("succeeded", 0) >= SIZE.rows * 20, "some chunks to be collected")
        for process in stage.processes:
            process.kill()
        stage.broker.kill()
        if stage.database is not None:
            stage.database.kill()
        begun = time.monotonic()
        if stage.database is not None:
            stage.database.start()
        stage.broker.start()
        before = _numbers(job)
        for process in stage.processes:
            process.start()
        _until(lambda: _numbers(job) not in ({}, before), "a first step")
        campaign.figures["seconds to the first useful step"] = round(time.monotonic() - begun, 2)
    return campaign


def alone(workspace: Workspace) -> Campaign:
    """Kill `orchestrator run`; measure until the first useful step of the next one, its start included."""
    campaign = Campaign(name="everything killed, one process", trials=1)
    job = workspace.job("alone", rows=800)
    with campaign.timed():
        first = job.cli.start("run", job.file)
        _until(lambda: len(workspace.gateway.batches()) >= 20, "some batches")
        kill(first)
        handle = replace(job, disk=job.folder).handle()
        before, begun = _numbers(handle), time.monotonic()
        again = job.cli.start("run", job.file)
        _until(lambda: _numbers(handle) not in ({}, before), "a first step")
        campaign.figures["seconds to the first useful step"] = round(time.monotonic() - begun, 2)
        kill(again)
        again.communicate()
    return campaign


def doubts(workspace: Workspace, *, count: int) -> Campaign:
    """Leave so many creates in doubt at a provider of class B1; measure until each is known to be there or not.

    The provider has half of them. What the others need most is time: two waits for what a list may show late.
    """
    campaign = Campaign(name=f"{count} creates in doubt, class B1", trials=1)
    with campaign.timed():
        found: list[str] = []
        with judged(found):
            campaign.figures |= _reconcile(workspace, count)
        campaign.failures += found
    return campaign


def _reconcile(workspace: Workspace, count: int) -> Mapping[str, Any]:
    job = _in_b1(workspace, count)
    gateway = workspace.gateway
    # Every create is cut off; nobody can be asked meanwhile.
    unheard = {"create": {"lost": count // 2, "late": 1.0, "late_s": 86_400.0}}
    away = {"list": {"refuse": {"503": 1.0}}, "files": {"refuse": {"503": 1.0}}, "delete": {"refuse": {"503": 1.0}}}
    gateway.set_faults({**unheard, **away})
    before = len(gateway.batches())
    process = _started(job)
    _until(lambda: _states(job).get("ambiguous", 0) >= count, f"{count} creates in doubt")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    made = len(gateway.batches()) - before
    gateway.set_faults({})
    _all_due(job)
    begun = time.monotonic()
    process = _started(job)
    _until(lambda: not any(_states(job).get(state) for state in AMBIGUOUS), "every create to be known")
    took_s = time.monotonic() - begun
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    bill = workspace.check_bill()
    return {
        "the provider had": made,
        "seconds until all are known": round(took_s, 1),
        "rows paid twice": bill["paid_twice"],
    }


def _in_b1(workspace: Workspace, count: int) -> SmallJob:
    policy = {"chunk_requests_max": 1, "batches_in_flight_max": count, "chunks_ahead_max": count}
    provider = {"create_s_max": 20.0, "list_lag_s": 1.0}
    return workspace.job(
        "doubts", rows=count, shard_rows=count, policy=policy, job={"provider": "openai"}, provider=provider
    )


def _started(job: SmallJob) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "orchestrator", "run", str(job.file), "--work", str(job.work)]
    with (job.folder / "said").open("ab") as said:
        return subprocess.Popen(
            command,
            cwd=job.folder,
            env={**job.cli.environment, KEY: API_KEY},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


def _states(job: SmallJob) -> dict[str, int]:
    try:
        with closing(sqlite3.connect(f"file:{job.work / 'ledger.db'}?mode=ro", uri=True, timeout=30)) as ledger:
            return dict(ledger.execute("SELECT state, count(*) FROM chunks GROUP BY state").fetchall())
    except sqlite3.OperationalError:  # it is only being made
        return {}


def _all_due(job: SmallJob) -> None:
    """Let nobody wait because the provider could not be asked before: what is measured is the asking."""
    with closing(sqlite3.connect(job.work / "ledger.db", timeout=30)) as ledger, ledger:
        ledger.execute("UPDATE chunks SET due_at = 0 WHERE state IN ('submitting', 'ambiguous')")


def _numbers(job: JobHandle) -> dict[str, Any]:
    """Return a job's numbers; nothing while the ledger cannot be reached."""
    try:
        found = sums(job.status().as_dict())
    except (LedgerError, ConfigError):
        return {}
    return {name: value for name, value in found.items() if name not in BUSY}


def _until(is_so: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(LOOK_S)
