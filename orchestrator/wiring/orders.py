"""What people ask of a job and say of its creates, kept in the work folder beside the ledger.

Rule: it is kept right after the ledger has it. A crash between the two loses nothing but what a person must say again,
and only where the ledger is lost as well.
"""

from __future__ import annotations

from orchestrator import records, spooled
from orchestrator.batches.submit import write_journal
from orchestrator.domain.model import BatchId, Chunk, JobId, JobState
from orchestrator.ledger import rows
from orchestrator.wiring.bench import Workbench

CANCELLED = frozenset({JobState.CANCELLING, JobState.CANCELLED})


def keep_order(bench: Workbench, job_id: JobId) -> None:
    """Keep how the job is to be run now: its spec, its policy, its revision, whether it is cancelled."""
    job = bench.ledger.job(job_id)
    order = records.Order(
        spec=job.spec,
        policy=rows.policy_text(job.policy),
        rounds_max=job.rounds_max,
        revision=job.revision,
        shard_count=bench.census.shard_count(job_id),
        is_cancelled=job.state in CANCELLED,
    )
    records.keep_order(bench.tools(job_id).spool, order, at=bench.clock.now(), mark=bench.clock.token())


def keep_word(bench: Workbench, chunk: Chunk, batch_id: BatchId | None) -> None:
    """Keep what a person said became of the chunk's last create."""
    assert chunk.token is not None
    spool = bench.tools(chunk.job_id).spool
    if batch_id is None:
        if not spool.exists(spooled.journal_name(chunk.token)):
            records.drop_intent(spool, chunk.token)
    else:
        spool.remove(spooled.journal_name(chunk.token))  # it may name a batch that the provider no longer knows
        write_journal(spool, chunk.token, batch_id)
