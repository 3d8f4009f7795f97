"""Recovery of a work folder: each job whose ledger is gone, or older than its files, written back from them.

Rule 1: nothing is sent, and nothing is asked; what is in doubt afterwards the ordinary steps find out, or hold.
Rule 2: it is alone at the ledger, and a job is written back whole or not at all.
Rule 3: a job that the ledger has, with every create that its files know, is left as it is.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.fs as pafs

from orchestrator import records
from orchestrator import spec as specs
from orchestrator.collector.finish import revision_folder
from orchestrator.collector.seal import SUCCESS
from orchestrator.domain.errors import ConfigError, LedgerBusy, StorageError
from orchestrator.domain.model import ChunkState, Job, JobId, JobState
from orchestrator.filesystems import filesystem_of
from orchestrator.handle import alone
from orchestrator.location import join, parent_and_name
from orchestrator.ports import Spool
from orchestrator.rebuilding.plans import read_plans
from orchestrator.rebuilding.sent import read_sent
from orchestrator.rebuilding.units import Rules, Units
from orchestrator.records import Order
from orchestrator.wiring.bench import Workbench
from orchestrator.wiring.opening import files_at
from orchestrator.wiring.tools import OUTPUT

SPEC: Final = "job.json"
_PART: Final = re.compile(r"part-(\d+)(?:-\d+)?\.parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """A job written back, or why it was not."""

    job_id: str
    state: str = ""  # "" where it was left as it is
    chunks: Counter[str] = field(default_factory=Counter)
    reason: str = ""
    unexplained: tuple[str, ...] = ()  # batches of which nobody knows what they were made from

    def as_dict(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return {
            "job_id": self.job_id,
            "recovered": bool(self.state),
            "state": self.state,
            "chunks": dict(self.chunks),
            "reason": self.reason,
            "unexplained_batches": list(self.unexplained),
        }


def recover_work(bench: Workbench) -> list[Recovered]:
    """Write back every job of the work folder that the ledger has lost. Raises LedgerBusy, ConfigError."""
    _refuse_company(bench)
    if bench.lock is None:
        return _recover_all(bench)
    with alone(bench):
        return _recover_all(bench)


def _refuse_company(bench: Workbench) -> None:
    alive = bench.fleet.alive(now=bench.clock.now())
    if alive:
        who = ", ".join(f"{member.kind} {member.pid} on {member.host}" for member in alive[:5])
        raise LedgerBusy(f"others are at work on this ledger ({who}): stop them first, then recover")


def _recover_all(bench: Workbench) -> list[Recovered]:
    known = {job.id for job in bench.desk.jobs()}
    found = [
        _recover(bench, JobId(name), is_known=name in known)
        for name in _folders(bench.work)
        if files_at(join(bench.work, name)).exists(SPEC)
    ]
    if not found:
        raise ConfigError(f"{bench.work} holds no job (no folder with a {SPEC}): name the work folder with --work")
    if not any(one.state for one in found):
        told = "; ".join(f"{one.job_id}: {one.reason}" for one in found)
        raise ConfigError(f"nothing is to be recovered in {bench.work}: {told}")
    return found


def _folders(work: str) -> list[str]:
    store, folder = filesystem_of(work)
    try:
        entries = store.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
    except (pa.ArrowException, OSError) as error:
        # from None: in an object store the library's words may hold signed URLs.
        raise StorageError(f"{work} cannot be listed ({type(error).__name__})") from None
    return sorted(entry.base_name for entry in entries if entry.type == pafs.FileType.Directory)


def _recover(bench: Workbench, job_id: JobId, *, is_known: bool) -> Recovered:
    spool = files_at(join(bench.work, job_id))
    orders = spool.names(records.ORDERS)
    if is_known and not _forgotten(bench, job_id, spool):
        return Recovered(job_id=job_id, reason="the ledger has this job, and knows all of its creates")
    if not orders:
        words = "it was made by an older version, which kept no records to recover from"
        return Recovered(job_id=job_id, reason=words)
    order = records.read_order(spool, orders[-1])
    spec = specs.from_json(order.spec)
    if spec.job_id != job_id:
        return Recovered(job_id=job_id, reason=f"its order is of another job, {spec.job_id}: files were mixed up")
    return _rebuild(bench, job_id, order, spool, replace=is_known)


def _forgotten(bench: Workbench, job_id: JobId, spool: Spool) -> bool:
    """Say whether the folder knows a create that the ledger does not: then the ledger is older than the folder."""
    names = [*spool.names(records.JOURNAL), *spool.names(records.INTENTS)]
    return not {records.token_of(name) for name in names} <= bench.census.tokens(job_id)


def _rebuild(bench: Workbench, job_id: JobId, order: Order, spool: Spool, *, replace: bool) -> Recovered:
    spec, policy, now = specs.from_json(order.spec), bench.restoration.policy(order.policy), bench.clock.now()
    sent = read_sent(spool)
    plans = read_plans(spool, job_id, sent)
    is_sealed, parts = _published(bench.work, job_id, spec.output, order.revision)
    ended = JobState.CANCELLED if order.is_cancelled else JobState.FINISHED
    job = Job(
        id=job_id,
        name=spec.name,
        account=f"{spec.provider.name}/{spec.provider.api_key_env}",
        spec=order.spec,
        policy=policy,
        state=ended if is_sealed else JobState.RUNNING,
        revision=order.revision,
        rounds_max=order.rounds_max,
        retry_count=plans.retry_count,
    )
    retried = order.revision > 1 and not is_sealed
    rules = Rules(
        let_die=is_sealed and order.is_cancelled,
        revive_rounds=order.rounds_max - policy.attempts_max if retried else 0,
        now=now,
    )
    units = Units(job=job, plans=plans, rules=rules, shard_count=order.shard_count, output_parts=parts)
    bench.restoration.restore(job, units.chunks(), units.shards(), now=now, replace=replace)
    if order.is_cancelled and not is_sealed:
        bench.desk.cancel(job_id, now=now)
    return Recovered(
        job_id=job_id,
        state=bench.ledger.job(job_id).state.value,
        chunks=units.counts,
        reason=_advice(units.counts),
        unexplained=sent.unexplained,
    )


def _advice(counts: Counter[str]) -> str:
    doubtful = counts[ChunkState.IN_DOUBT]
    return f"creates under way when the ledger was lost: {doubtful}" if doubtful else ""


def _published(work: str, job_id: JobId, output: str, revision: int) -> tuple[bool, dict[int, int]]:
    """Return whether the output is sealed, and how many parts of each shard are in place."""
    parent, name = parent_and_name(output or join(work, job_id, OUTPUT))
    files, folder = files_at(parent), revision_folder(name, revision)
    parts: Counter[int] = Counter()
    for file in files.names(folder):
        if found := _PART.fullmatch(file.rpartition("/")[2]):
            parts[int(found[1])] += 1
    return files.exists(f"{folder}/{SUCCESS}"), parts
