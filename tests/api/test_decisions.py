"""A job that waits for a person's decision, as a user of the Python API and of the command line meets it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import orchestrator
from orchestrator.domain.changes import JobMoved
from orchestrator.domain.errors import LedgerError
from orchestrator.domain.model import JobId, JobState, Step
from orchestrator.engine.opening import opened_workspace
from orchestrator.testing import fake_provider

FRAME = pd.DataFrame({"text": ["a", "b"]})


def wait_for_decision(job: orchestrator.Job, work: Path) -> orchestrator.JobHandle:
    """Bring a job, of which nothing has been sent, into the state that a step would stop it in."""
    handle = orchestrator.submit(job)
    with opened_workspace(str(work)) as workspace:
        ledger, now = workspace.ledger, workspace.clock.now()
        [claim] = ledger.claim([Step.REVIEW], limit=1, now=now, lease_s=60)
        before = ledger.job(JobId(handle.job_id))
        stopped = replace(before, state=JobState.STOPPED, reason="all rows failed alike", decision="question")
        ledger.record(claim, JobMoved(before=before, after=stopped, due_at=now), now=now)
    return handle


def test_a_job_that_waits_for_a_decision_says_so_until_it_is_approved(tmp_path: Path) -> None:
    """`run`, `submit`, `resume` and `retry` repeat the reason and what to type, and send nothing."""
    with fake_provider() as fake:
        job = orchestrator.Job(dataset=FRAME, prompt="{text}", model="any", work=tmp_path, **fake.options)
        handle = wait_for_decision(job, tmp_path)
        told = []
        by_file = (lambda: orchestrator.run(job), lambda: orchestrator.submit(job))
        for go_on in (*by_file, handle.resume, handle.wait, handle.retry):
            with pytest.raises(orchestrator.JobNeedsDecision) as raised:
                go_on()
            told.append(str(raised.value))
        unsent = list(fake.requests)
        handle.approve()
        with pytest.raises(LedgerError, match="waits for no decision"):
            handle.approve()
        result = handle.run()

    assert unsent == []
    assert set(told) == {
        f"job {job_id} waits for your decision: all rows failed alike.\n"
        f"  to go on as it is:\n    orchestrator approve {job_id} --work {tmp_path}\n"
        f"  to end it, and keep what was answered:\n    orchestrator cancel {job_id} --work {tmp_path}"
        for job_id in [handle.job_id]
    }
    assert result.counts == {"rows": 2, "succeeded": 2, "failed": 0}
