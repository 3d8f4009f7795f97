"""Reading a job's archived results again: see `JobHandle.reread`."""

from __future__ import annotations

from orchestrator.domain.model import JobId
from orchestrator.domain.reread import Reading
from orchestrator.engine.command_log import record_command
from orchestrator.engine.workspace import Workspace


def reread_job(workspace: Workspace, job_id: JobId) -> Reading:
    """Read the archived results of every chunk with unreadable rows again, with the present readers."""
    from orchestrator.collector.reread import reread  # it reads Parquet, which other commands do not need

    context = workspace.context(job_id)
    found = [
        one
        for chunk in workspace.admin.unreadable(job_id)
        if (one := reread(chunk, job_files=context.job_files, collecting=context.collecting)) is not None
    ]
    done = workspace.admin.reread(job_id, found, now=workspace.clock.now())
    record_command(workspace, job_id)
    return done
