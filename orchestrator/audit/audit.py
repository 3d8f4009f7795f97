"""The audit of a job: which sources are compared, and in which order.

Rule: it is read-only and may run while workers run: unfinished work is reported as such, not as a difference.
"""

from __future__ import annotations

from typing import Final

from orchestrator.audit.chunk_files import check_files, damage
from orchestrator.audit.findings import Audit
from orchestrator.audit.ledger_totals import check_budget, check_entry, check_row_counts, check_shard
from orchestrator.audit.orphans import check_orphans
from orchestrator.audit.output import Published, check_output, check_rows, check_shares
from orchestrator.audit.provider_list import ProviderCheck
from orchestrator.audit.reparse import check_deep
from orchestrator.collector.join import Spent
from orchestrator.domain.canary import UNDECIDED
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import Job, JobId, JobState, ShardState
from orchestrator.engine.job_context import JobContext
from orchestrator.engine.opening import files_at
from orchestrator.engine.workspace import Workspace
from orchestrator.planner.plan import SLICE_ROWS
from orchestrator.ports import Provider
from orchestrator.storage.location import parent_and_name

ENDED: Final = frozenset({JobState.FINISHED, JobState.CANCELLED})


def audit_job(workspace: Workspace, job_id: JobId, *, deep: bool) -> Audit:
    """Compare a job's ledger with its files, its output, and the provider's list where there is one."""
    return audit_published(workspace, job_id, _published(workspace.context(job_id)), deep=deep)


def audit_published(workspace: Workspace, job_id: JobId, published: Published, *, deep: bool) -> Audit:
    """Do the same with an output that is where it is said to be."""
    job = workspace.ledger.job(job_id)
    context = workspace.context(job_id)
    audit = Audit(job_id=job_id, state=job.state.value, deep=deep)
    listed = ProviderCheck(audit, _provider(audit, context), deep, context.job_files)
    check_row_counts(audit, workspace.snapshot.balance(job_id))
    check_budget(audit, workspace.ledger.totals(job_id), workspace.ledger.job(job_id).policy.budget_usd)
    for shard in workspace.snapshot.uneven_shards(job_id):
        check_shard(audit, shard)
    is_early = False
    for entry in workspace.snapshot.entries(job_id):
        is_early |= bool(entry.attempts) and not entry.chunk.is_canary
        check_entry(audit, entry)
        check_files(audit, entry, context.job_files)
        listed.check(entry)
        if deep:
            check_deep(audit, entry, context.job_files, context.collecting)
    if is_early and workspace.ledger.job(job_id).canary in UNDECIDED:  # read last: it may have passed meanwhile
        audit.differ("job", "creates before the verdict on the canary", ledger="some", archive="none")
    snapshot = workspace.snapshot
    check_orphans(audit, context.job_files, lambda: snapshot.tokens(job_id), lambda: snapshot.files(job_id))
    _check_output(audit, job, workspace, published)
    return audit


def _provider(audit: Audit, context: JobContext) -> Provider | None:
    try:
        return context.provider
    except ConfigError as error:
        audit.notes.append(f"the provider was not asked: {error}")
        return None


def _published(context: JobContext) -> Published:
    parent, name = parent_and_name(context.output_folder)
    return Published(
        output=files_at(parent),
        folder=name,
        job_files=context.job_files,
        options=context.spec.output_options,
        job_digest=context.spec.digest,
        slice_rows=SLICE_ROWS,
        typed=context.typed,
    )


def _check_output(audit: Audit, job: Job, workspace: Workspace, published: Published) -> None:
    """Check the published output; an output that is being written is reported as under way."""
    if job.state not in ENDED or workspace.ledger.job(job.id) != job:
        audit.under_way["output"] += 1
        return
    check_output(audit, job, workspace.ledger.totals(job.id), published, deep=audit.deep)
    if not audit.deep:
        return
    spent = Spent()
    for shard in workspace.ledger.shards(job.id):
        if shard.state is ShardState.FINISHED:
            with damage(audit, f"shard {shard.shard_no}", "output, made anew"):
                spent.add(check_rows(audit, job, shard, workspace.ledger, published))
    check_shares(audit, spent, workspace.ledger.totals(job.id))
