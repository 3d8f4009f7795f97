"""What people ask of a job and say of its creates, kept in the work folder beside the ledger.

Rule: it is kept right after the ledger has it. A crash between the two loses nothing but what a person must say again,
and only where the ledger is lost as well.
"""

from __future__ import annotations

from orchestrator.domain.errors import LedgerError
from orchestrator.domain.model import BatchId, Chunk, JobId, JobState
from orchestrator.engine.workspace import Workspace
from orchestrator.job_files import records, request_files
from orchestrator.ledger.db import rows

CANCELLED = frozenset({JobState.CANCELLING, JobState.CANCELLED})


def record_command(workspace: Workspace, job_id: JobId) -> None:
    """Keep how the job is to be run now: its spec, its policy, its revision, whether it is cancelled."""
    job = workspace.ledger.job(job_id)
    order = records.Command(
        spec=job.spec,
        policy=rows.policy_text(job.policy),
        rounds_max=job.rounds_max,
        revision=job.revision,
        shard_count=workspace.snapshot.shard_count(job_id),
        is_cancelled=job.state in CANCELLED,
    )
    records.record_command(
        workspace.tools(job_id).job_files, order, at=workspace.clock.now(), mark=workspace.clock.token()
    )


def record_resolution(workspace: Workspace, chunk: Chunk, batch_id: BatchId | None) -> None:
    """Keep what a person said became of the chunk's last create."""
    from orchestrator.batches.submit import write_journal

    if chunk.token is None:
        raise LedgerError(f"chunk {chunk.id} has no create to resolve")
    job_files = workspace.tools(chunk.job_id).job_files
    if batch_id is None:
        if not job_files.exists(request_files.journal_name(chunk.token)):
            records.drop_intent(job_files, chunk.token)
    else:
        job_files.remove(request_files.journal_name(chunk.token))  # the batch in it may be gone at the provider
        write_journal(job_files, chunk.token, batch_id)
