"""What a person is told about a job that waits for a decision, with commands that work where they are pasted."""

from __future__ import annotations

import os
import shlex

from orchestrator import settings as configuration
from orchestrator.domain.errors import JobNeedsDecision
from orchestrator.domain.model import Job, JobId
from orchestrator.engine.workspace import Workspace


def command(workspace: Workspace, name: str, job_id: JobId) -> str:
    """Return a command that works where it is pasted: with the work folder, unless it is the default one."""
    is_default = workspace.work == configuration.load(os.environ).work
    return f"orchestrator {name} {job_id}" + ("" if is_default else f" --work {shlex.quote(workspace.work)}")


def refuse_undecided(workspace: Workspace, job: Job) -> None:
    """Raise JobNeedsDecision for a job that goes on only once a person has approved it."""
    if job.decision:
        raise JobNeedsDecision(
            f"job {job.id} waits for your decision: {job.reason}. To go on: `{command(workspace, 'approve', job.id)}`. "
            f"To end it and keep what was answered: `{command(workspace, 'cancel', job.id)}`"
        )
