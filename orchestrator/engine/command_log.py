"""Records, in the work folder, of what people command: how a job is to run, and what became of unresolved creates.

Rule: a record is written right after the ledger has the command. A crash between the two loses nothing unless the
ledger is lost as well; then the person must give the command again.
"""

from __future__ import annotations

from orchestrator.domain.errors import LedgerError
from orchestrator.domain.model import BatchId, Chunk, JobId, JobState
from orchestrator.engine.workspace import Workspace
from orchestrator.job_files import create_journal, records
from orchestrator.ledger.db import rows

CANCELLED = frozenset({JobState.CANCELLING, JobState.CANCELLED})


def record_command(workspace: Workspace, job_id: JobId) -> None:
    """Record how the job is to run from now on: its spec, policy, revision, and whether it is cancelled."""
    job = workspace.ledger.job(job_id)
    command = records.Command(
        spec=job.spec,
        policy=rows.policy_text(job.policy),
        rounds_max=job.rounds_max,
        revision=job.revision,
        shard_count=workspace.snapshot.shard_count(job_id),
        is_cancelled=job.state in CANCELLED,
    )
    records.record_command(
        workspace.tools(job_id).job_files, command, at=workspace.clock.now(), mark=workspace.clock.token()
    )


def record_resolution(workspace: Workspace, chunk: Chunk, batch_id: BatchId | None) -> None:
    """Record what a person decided about the chunk's last create: it made `batch_id`, or (None) nothing."""
    if chunk.token is None:
        raise LedgerError(f"chunk {chunk.id} was never sent: there is nothing to resolve")
    job_files = workspace.tools(chunk.job_id).job_files
    if batch_id is not None:
        create_journal.replace_journal(job_files, chunk.token, batch_id)
    elif not job_files.exists(create_journal.journal_name(chunk.token)):
        create_journal.drop_intent(job_files, chunk.token)
