"""Reading a job's archived results again (see `JobHandle.reread`), and the parts, to send rows again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.api.decision import refuse_unread_answers, refuse_unreadable
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import ChunkId, JobId
from orchestrator.domain.reread import Reading
from orchestrator.domain.row_kinds import ALL_FAILED, RowKind
from orchestrator.engine.command_log import record_command
from orchestrator.engine.workspace import Workspace

if TYPE_CHECKING:
    from orchestrator.domain.model import Chunk
    from orchestrator.domain.reconcile import RowKey


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


def send_failed_again(workspace: Workspace, job_id: JobId, *, changes: str = "", pays_again: bool = False) -> None:
    """Schedule the failed rows of an ended job to be sent again; `pays_again`: also those that cannot be read.

    Raises ConfigError where there are no others.
    """
    kept = {}
    if not pays_again:
        refuse_unreadable(workspace, job_id)
        kept = _unreadable_by_shard(workspace, job_id)
    workspace.admin.retry(job_id, now=workspace.clock.now(), changes=changes, kept=kept, pays_again=pays_again)


def _unreadable_by_shard(workspace: Workspace, job_id: JobId) -> dict[ChunkId, Counter[int]]:
    """Return how many rows of each chunk and shard have an answer that cannot be read."""
    from orchestrator.job_files.chunk_rows import unreadable_rows  # it reads Parquet, which other commands do not need
    from orchestrator.job_files.request_files import count_by_shard

    found = [chunk for chunk in workspace.admin.unreadable(job_id) if chunk.tally.unreadable_rows]
    job_files = workspace.context(job_id).job_files if found else None
    return {
        chunk.id: Counter(count_by_shard(unreadable_rows(job_files, chunk))) for chunk in found if job_files is not None
    }


def send_answers_again(
    workspace: Workspace, job_id: JobId, kind: RowKind, *, changes: str = "", pays_again: bool = False
) -> None:
    """Schedule the answers of this kind to be sent again; `pays_again`: also where a newer one cannot be read.

    Raises ConfigError where there are no others.
    """
    counts = _answers_by_shard(workspace, job_id, kind, pays_again=pays_again)
    if not counts:
        refuse_unread_answers(workspace, job_id, kind)
    workspace.admin.retry(
        job_id, now=workspace.clock.now(), kind=kind, by_shard=counts, changes=changes, pays_again=pays_again
    )


def _answers_by_shard(workspace: Workspace, job_id: JobId, kind: RowKind, *, pays_again: bool) -> Counter[int]:
    """Return how many answers of this kind each shard of an ended job has. Raises ConfigError for typed answers."""
    from orchestrator.job_files.request_files import count_by_shard  # likewise

    if workspace.context(job_id).spec.response:
        raise ConfigError(
            f"job {job_id} has typed answers: rows whose answers are {kind.value} have failed, like those that are not "
            f"of the schema. Send them again with `orchestrator retry {job_id} --rows failed`"
        )
    counts = Counter[int]()
    for _, keys in rows_to_send(workspace, job_id, kind, pays_again=pays_again):
        counts.update(count_by_shard(keys))
    return counts


def rows_to_send(
    workspace: Workspace, job_id: JobId, kind: RowKind, *, pays_again: bool
) -> Iterator[tuple[Chunk, list[RowKey]]]:
    """Yield the rows of an ended job that a retry of this kind sends again, with the chunk that counts them."""
    from orchestrator.job_files.chunk_rows import later_in, rows_of_kind  # likewise

    job_files = workspace.context(job_id).job_files
    later = later_in(workspace.ledger, job_files)
    for entry in workspace.snapshot.entries(job_id):
        chunk = entry.chunk
        if pays_again:
            chunk = replace(chunk, tally=replace(chunk.tally, unread_answers=0, unreadable_rows=0))
        name: str = ALL_FAILED if kind is RowKind.FAILED and pays_again else kind
        if kind is RowKind.FAILED:
            count = chunk.tally.failed - chunk.tally.unreadable_rows
        else:
            count = getattr(chunk.tally, f"{kind}_answers") - chunk.unread(kind)
        if count and chunk.requests:
            yield chunk, rows_of_kind(job_files, chunk, name, count, later)
