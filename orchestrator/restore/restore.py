"""Recovers a work folder: writes each job back whose ledger is lost, or older than its files.

Rule 1: the provider is not called; the ordinary steps resolve ambiguous creates.
Rule 2: no other process may work on the ledger, and a job is written back in one transaction.
Rule 3: a job that the ledger has, with every create that its files record, is not changed.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import pyarrow as pa
import pyarrow.fs as pafs

from orchestrator.batches.submit import NOT_UNDERSTOOD_CREATE
from orchestrator.collector.finish import revision_folder
from orchestrator.collector.seal import SUCCESS, sealed_at
from orchestrator.domain.canary import UNDECIDED
from orchestrator.domain.errors import ConfigError, LedgerBusy, StorageError
from orchestrator.domain.model import Canary, ChunkState, Job, JobId, JobState, Tally, provider_of
from orchestrator.domain.reconcile import UNREADABLE
from orchestrator.domain.recovery import Recovery
from orchestrator.domain.snapshot import RestoredJob
from orchestrator.engine import spec as specs
from orchestrator.engine.job_context import OUTPUT
from orchestrator.engine.locks import only_process
from orchestrator.engine.opening import SPEC, files_at
from orchestrator.engine.workspace import Workspace
from orchestrator.job_files import create_journal, records
from orchestrator.job_files.records import Command
from orchestrator.ledger.db import rows
from orchestrator.ports import JobFiles
from orchestrator.providers.private_errors import FOLDER as ANSWERS
from orchestrator.providers.private_errors import answer_name
from orchestrator.providers.registry import dialect_of
from orchestrator.restore.ledger_state import Rules, Units
from orchestrator.restore.planned import Plans, read_plans
from orchestrator.restore.submitted import Sent, read_sent, with_own_batches
from orchestrator.storage.arrow_fs import filesystem_of
from orchestrator.storage.location import join, parent_and_name

_PART: Final = re.compile(r"part-(\d+)(?:-\d+)?\.parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """A recovered job, or the reason why it was not recovered."""

    job_id: str
    state: str = ""  # "" where it was not changed
    chunks: Counter[str] = field(default_factory=Counter)
    reason: str = ""
    unexplained: tuple[str, ...] = ()  # batches whose chunk is unknown

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lost:
    """A job to be written back, as its files show it."""

    job_id: JobId
    spec: specs.Spec
    command: Command
    job_files: JobFiles
    sent: Sent
    is_known: bool  # the ledger has an older state of it
    began_at: datetime | None  # None: not known

    @property
    def account(self) -> str:
        return f"{self.spec.provider.name}/{self.spec.provider.api_key_env}"


def recover_work(workspace: Workspace) -> list[Recovered]:
    """Write back every job of the work folder that the ledger has lost. Raises LedgerBusy, ConfigError."""
    _refuse_others(workspace)
    if workspace.lock is None:
        return _recover_all(workspace)
    with only_process(workspace.lock):
        return _recover_all(workspace)


def _refuse_others(workspace: Workspace) -> None:
    alive = workspace.workers.alive(now=workspace.clock.now())
    if alive:
        who = ", ".join(f"{member.kind} {member.pid} on {member.host}" for member in alive[:5])
        raise LedgerBusy(f"other processes work on this ledger ({who}): stop them first, then recover")


def _recover_all(workspace: Workspace) -> list[Recovered]:
    known = {job.id for job in workspace.admin.jobs()}
    looked = [
        _look(workspace, JobId(name), is_known=name in known)
        for name in _folders(workspace.work)
        if files_at(join(workspace.work, name)).exists(SPEC)
    ]
    lost = {one.job_id: one for one in looked if isinstance(one, _Lost)}
    sent = with_own_batches(
        {one.job_id: (provider_of(one.account, one.command.spec), one.sent) for one in lost.values()},
        workspace.snapshot.made(but=lost),
    )
    found = [
        _rebuild(workspace, replace(one, sent=sent[one.job_id])) if isinstance(one, _Lost) else one for one in looked
    ]
    if not found:
        raise ConfigError(f"{workspace.work} holds no job (no folder with a {SPEC}): name the work folder with --work")
    if not any(one.state for one in found):
        reasons = "; ".join(f"{one.job_id}: {one.reason}" for one in found)
        raise ConfigError(f"there is nothing to recover in {workspace.work}: {reasons}")
    return found


def _folders(work: str) -> list[str]:
    store, folder = filesystem_of(work)
    try:
        entries = store.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
    except (pa.ArrowException, OSError) as error:
        # from None: in an object store the library's message may hold signed URLs.
        raise StorageError(f"{work} cannot be listed ({type(error).__name__})") from None
    return sorted(entry.base_name for entry in entries if entry.type == pafs.FileType.Directory)


def _look(workspace: Workspace, job_id: JobId, *, is_known: bool) -> Recovered | _Lost:
    """Read a job's files; return why it is not to be written back, or what they show."""
    job_files = files_at(join(workspace.work, job_id))
    commands = job_files.names(records.COMMANDS)
    if is_known and not _lacks_creates(workspace, job_id, job_files):
        return Recovered(job_id=job_id, reason="the ledger has this job and all of its creates")
    if not commands:
        return Recovered(job_id=job_id, reason=f"its folder has no record of the job in {records.COMMANDS}/")
    command = records.read_command(job_files, commands[-1])
    spec = specs.from_json(command.spec)
    if spec.job_id != job_id:
        return Recovered(job_id=job_id, reason=f"its command is of another job, {spec.job_id}: files were mixed up")
    return _Lost(
        job_id=job_id,
        spec=spec,
        command=command,
        job_files=job_files,
        sent=read_sent(job_files),
        is_known=is_known,
        began_at=records.command_time(commands[0]),
    )


def _lacks_creates(workspace: Workspace, job_id: JobId, job_files: JobFiles) -> bool:
    """Return whether the folder has a create that the ledger lacks: then the ledger is older than the folder."""
    names = [*job_files.names(create_journal.JOURNAL), *job_files.names(create_journal.INTENTS)]
    return not {create_journal.token_of(name) for name in names} <= workspace.snapshot.tokens(job_id)


def _rebuild(workspace: Workspace, lost: _Lost) -> Recovered:
    job_id, spec, command, job_files, sent = lost.job_id, lost.spec, lost.command, lost.job_files, lost.sent
    policy, now = rows.policy_of(command.policy), workspace.clock.now()
    plans = read_plans(job_files, sent)
    is_sealed, ended_at, parts = _published(workspace.work, job_id, spec.output, command.revision)
    ended = JobState.CANCELLED if command.is_cancelled else JobState.FINISHED
    job = Job(
        id=job_id,
        name=spec.name,
        account=lost.account,
        spec=command.spec,
        policy=policy,
        state=ended if is_sealed else JobState.RUNNING,
        canary=_canary(command, plans),
        approved=command.approved,
        paused_at=None if is_sealed or command.is_cancelled else command.paused_at,
        revision=command.revision,
        rounds_max=command.rounds_max,
        retry_count=plans.retry_count,
        retrying=command.retrying,
        changes=command.changes,
    )
    if not is_sealed and not command.is_cancelled and _is_unreadable(sent, command):
        reason = "most answers of a batch cannot be read (found when the ledger was recovered)"
        job = replace(job, state=JobState.STOPPED, reason=reason, decision=UNREADABLE)
    is_unknowable = dialect_of(spec.provider).traits.recovery is Recovery.UNKNOWABLE
    odd = _not_understood(sent, job_files) if is_unknowable else ""
    if odd and not is_sealed and not command.is_cancelled and job.state is JobState.RUNNING:
        reason = f"the answer to the create of chunk {odd} was not understood (found when the ledger was recovered)"
        job = replace(job, state=JobState.STOPPED, reason=reason, decision=NOT_UNDERSTOOD_CREATE)
    retried = command.revision > 1 and not is_sealed
    rules = Rules(
        is_cancelled=is_sealed and command.is_cancelled,
        revive_rounds=command.rounds_max - policy.attempts_max if retried else 0,
        retrying=command.retrying,
        is_unknowable=is_unknowable,
        now=now,
    )
    units = Units(job=job, plans=plans, rules=rules, shard_count=command.shard_count, output_parts=parts)
    restored = RestoredJob(job=job, began_at=lost.began_at, ended_at=ended_at)
    workspace.snapshot.restore(restored, units.chunks(), units.shards(), now=now, replace=lost.is_known)
    if command.is_cancelled and not is_sealed:
        workspace.admin.cancel(job_id, now=now)
    return Recovered(
        job_id=job_id,
        state=workspace.ledger.job(job_id).state.value,
        chunks=units.counts,
        reason=_advice(units.counts),
        unexplained=sent.unexplained,
    )


def _canary(command: Command, plans: Plans) -> Canary:
    """Return how far the job's canary is known to be. One that has come back is judged again, for nothing."""
    if command.canary not in UNDECIDED:
        return command.canary
    slices = (one for shard_no in range(command.shard_count) for one in plans.slices(shard_no) if one.chunks)
    first = next(slices, None)
    if first is None:
        return Canary.WANTED
    planned = [*first.chunks, *(chunk for retried in plans.retries for chunk in retried.chunks)]
    own = {leaf.name for chunk in planned if chunk.is_canary for leaf in plans.leaves(chunk)}
    if plans.sent.intents.keys() - own:
        return Canary.PASSED  # or nothing else would have been sent
    return Canary.OPEN if own else Canary.NONE


def _is_unreadable(sent: Sent, command: Command) -> bool:
    """Return whether the job had stopped, or would have, because its answers cannot be read."""
    tallies = (one.tally for one in sent.collected.values())
    is_mostly = any(map(_is_mostly_unreadable, tallies))
    return is_mostly and UNREADABLE not in command.approved.split()


def _is_mostly_unreadable(tally: Tally) -> bool:
    return 2 * (tally.unreadable_rows + tally.unread_answers) > (
        tally.succeeded + tally.standing + tally.failed + tally.waiting
    )


def _not_understood(sent: Sent, job_files: JobFiles) -> str:
    """Return a chunk whose last create may have made a batch by an answer that was not understood; "" for none."""
    kept = set(job_files.names(ANSWERS))
    for name, intents in sent.intents.items():
        last = intents[max(intents)]
        if last.token not in sent.batches and answer_name(last.token) in kept:
            return name
    return ""


def _advice(counts: Counter[str]) -> str:
    ambiguous = counts[ChunkState.AMBIGUOUS]
    return f"creates under way when the ledger was lost: {ambiguous}" if ambiguous else ""


def _published(work: str, job_id: JobId, output: str, revision: int) -> tuple[bool, datetime | None, dict[int, int]]:
    """Return whether the output is sealed and, if that is known, since when, and how many parts each shard has."""
    parent, name = parent_and_name(output or join(work, job_id, OUTPUT))
    files, folder = files_at(parent), revision_folder(name, revision)
    parts: Counter[int] = Counter()
    for file in files.names(folder):
        if found := _PART.fullmatch(file.rpartition("/")[2]):
            parts[int(found[1])] += 1
    if not files.exists(f"{folder}/{SUCCESS}"):
        return False, None, parts
    return True, sealed_at(files, folder), parts
