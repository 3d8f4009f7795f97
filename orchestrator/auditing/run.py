"""An audit from its first look to its last: what is compared with what, and in which order.

Rule: it only reads, and may run while others are at work: what is under way is named as that, and is no difference.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from orchestrator import records
from orchestrator.auditing.archive import Folder, check_files, damage
from orchestrator.auditing.asking import Asker
from orchestrator.auditing.books import check_balance, check_entry, check_shard
from orchestrator.auditing.deep import check_deep
from orchestrator.auditing.findings import Audit
from orchestrator.auditing.output import Published, check_output, check_rows
from orchestrator.auditing.strays import check_strays
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import Job, JobId, JobState, ShardState
from orchestrator.location import parent_and_name
from orchestrator.planner.plan import SLICE_ROWS
from orchestrator.ports import Provider
from orchestrator.prepare import keyless
from orchestrator.wiring.bench import Workbench
from orchestrator.wiring.opening import files_at
from orchestrator.wiring.tools import JobTools

ENDED: Final = frozenset({JobState.FINISHED, JobState.CANCELLED})


def audit_job(bench: Workbench, job_id: JobId, *, deep: bool) -> Audit:
    """Hold a job's ledger against its files, its output, and the provider's list where there is one."""
    job = bench.ledger.job(job_id)
    tools = bench.tools(job_id)
    reading = replace(tools, connect=keyless)  # what is parsed needs to know the provider, not its key
    audit = Audit(job_id=job_id, state=job.state.value, deep=deep)
    folder = Folder(spool=tools.spool, has_records=bool(tools.spool.names(records.ORDERS)))
    if not folder.has_records:
        audit.notes.append("the job was opened by an older version, which kept no records: less can be compared")
    asker = Asker(audit, _asked(audit, tools), deep, tools.spool)
    check_balance(audit, bench.census.balance(job_id))
    for shard in bench.census.uneven_shards(job_id):
        check_shard(audit, shard)
    for entry in bench.census.entries(job_id):
        check_entry(audit, entry)
        check_files(audit, entry, folder)
        asker.check(entry)
        if deep:
            check_deep(audit, entry, folder, reading.collecting)
    census = bench.census
    check_strays(audit, tools.spool, lambda: census.tokens(job_id), lambda: census.files(job_id))
    _check_output(audit, job, bench, tools)
    return audit


def _asked(audit: Audit, tools: JobTools) -> Provider | None:
    try:
        return tools.provider
    except ConfigError as error:
        audit.notes.append(f"the provider was not asked: {error}")
        return None


def _check_output(audit: Audit, job: Job, bench: Workbench, tools: JobTools) -> None:
    """Check what is published; an output in the making is under way."""
    parent, name = parent_and_name(tools.output_folder)
    published = Published(
        output=files_at(parent),
        folder=name,
        spool=tools.spool,
        options=tools.spec.output_options,
        job_digest=tools.spec.digest,
        slice_rows=SLICE_ROWS,
    )
    if job.state not in ENDED or bench.ledger.job(job.id) != job:
        audit.under_way["output"] += 1
        return
    check_output(audit, job, bench.overview.totals(job.id), published, deep=audit.deep)
    if not audit.deep:
        return
    for shard in bench.overview.shards(job.id):
        if shard.state is ShardState.FINISHED:
            with damage(audit, f"shard {shard.shard_no}", "output, made anew"):
                check_rows(audit, job, shard, bench.overview, published)
