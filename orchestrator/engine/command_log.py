"""Records people's commands, and their resolutions of creates, in the work folder beside the ledger.

Rule: a command is recorded right after the ledger has it. A crash between the two costs one repeated command, and only
where the ledger is lost as well.
"""

from __future__ import annotations

from orchestrator.domain.model import BatchId, Chunk, JobId, JobState
from orchestrator.domain.required import required
from orchestrator.engine.workspace import Workspace
from orchestrator.job_files import create_journal, records
from orchestrator.ledger.db import rows

CANCELLED = frozenset({JobState.CANCELLING, JobState.CANCELLED})


def record_command(workspace: Workspace, job_id: JobId) -> None:
    """Record how the job is to be run: its spec, its policy, its revision, whether it is cancelled or paused."""
    job = workspace.ledger.job(job_id)
    command = records.Command(
        spec=job.spec,
        policy=rows.policy_text(job.policy),
        rounds_max=job.rounds_max,
        revision=job.revision,
        retrying=job.retrying,
        changes=job.changes,
        shard_count=workspace.snapshot.shard_count(job_id),
        is_cancelled=job.state in CANCELLED,
        canary=job.canary,
        approved=job.approved,
        paused_at=job.paused_at,
    )
    records.record_command(
        workspace.context(job_id).job_files, command, at=workspace.clock.now(), mark=workspace.clock.token()
    )


def record_resolution(workspace: Workspace, chunk: Chunk, batch_id: BatchId | None) -> None:
    """Record how a person resolved the chunk's last create: it made `batch_id`, or no batch (None)."""

    token, job_files = required(chunk.token, "token"), workspace.context(chunk.job_id).job_files
    if batch_id is not None:
        create_journal.replace_journal(job_files, token, batch_id)
    elif not job_files.exists(create_journal.journal_name(token)):
        create_journal.drop_intent(job_files, token)
