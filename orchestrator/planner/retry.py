"""The step that retries failed rows: it gathers rows of many chunks into full retry chunks.

Rule 1: a row is sent again only once its last batch has ended and its results are collected.
Rule 2: a retry chunk holds rows of one round, so that the chunk's round is each row's number of sends.
Rule 3: while the job's canary is open, only rows of the canary are sent again.
Rule 4: the bytes sent again are the planned bytes, read from the request files; but once for a row whose answer was no
        use (see `amend`): such rows are in chunks of their own, so that they are changed once. And but for rows that
        a person has sent again with other parameters (see `changed_requests`).
Rule 5: rows that have an answer, of a kind that a person asked to send again, are in chunks of their own: where such a
        row fails, its answer stands.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from orchestrator.domain.causes import causes_more
from orchestrator.domain.changes import Change, ChunkAdded, ChunkMoved, JobMoved, RowsSettled, written
from orchestrator.domain.chosen import Choice, choice_in, given_back
from orchestrator.domain.errors import OutputError
from orchestrator.domain.model import Canary, Chunk, ChunkState, Claim, Job, JobState, Step
from orchestrator.domain.packing import Packer, text_bytes
from orchestrator.domain.policy import Limits
from orchestrator.domain.reopening import closed_again
from orchestrator.domain.request_changes import RequestChanges
from orchestrator.domain.row_kinds import ALL_FAILED, SENT_AS_FAILED
from orchestrator.job_files import records, request_files, result_parts
from orchestrator.job_files.changed_requests import Changing, changes_in, text_of
from orchestrator.job_files.chunk_rows import (
    answered_rows,
    chosen_in,
    later_in,
    unreadable_rows,
    waiting_rows,
)
from orchestrator.planner.amended import Amending, useless_answers
from orchestrator.planner.cost import Costing
from orchestrator.planner.duplicates import settle_duplicates

if TYPE_CHECKING:
    from orchestrator.domain.reconcile import RowKey
    from orchestrator.ports import Clock, JobFiles, Ledger

SOURCES_MAX: Final = 1_000  # chunks gathered from in one step
STEP_S_MAX: Final = 30.0  # then the duplicates that are left get their answers in another step


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathering:
    """What is needed to make retry chunks."""

    limits: Limits
    costing: Costing
    amending: Amending | None = None  # where answers may be no use
    changing: Changing | None = None  # where a person may give other parameters


def retry(claim: Claim, *, ledger: Ledger, job_files: JobFiles, gathering: Gathering, clock: Clock) -> None:
    """Gather waiting rows of the lowest round into retry chunks; if the job is being cancelled, they fail instead.

    Once none wait, duplicates get what their requests came to.
    """
    job = ledger.job(claim.unit.job_id)
    if job.due is not Step.RETRY:
        return
    is_canary = job.canary is Canary.OPEN and job.state is not JobState.CANCELLING
    if is_canary:
        waiting = [chunk for chunk in ledger.canary(job.id) if chunk.tally.waiting]
    else:
        waiting = ledger.waiting(job.id, limit=SOURCES_MAX)
    now, later = clock.now(), later_in(ledger, job_files)
    if job.state is JobState.CANCELLING:
        changes = [change for chunk in waiting for change in _give_up(chunk, later, job_files=job_files)]
        made = 0
    elif not waiting:
        changes, made = [], 0
    else:
        sources = _as_many_as_fit(waiting, gathering.limits.requests_max)
        rows = {chunk.name: waiting_rows(job_files, chunk, later) for chunk in sources}
        changes = [_resent(chunk, len(rows[chunk.name])) for chunk in sources]
        present = _changes(sources, job)
        retries = filled(sources, rows, present, job_files=job_files, gathering=gathering)
        made = len(retries)
        round_no = sources[0].round + 1 if sources else 1
        setbacks = max((source.setbacks for source in sources), default=0)
        added = []
        for number, ((amends, improves_reused), draft) in enumerate(retries, start=job.retry_count + 1):
            name = f"r{number:05d}"
            costing = gathering.costing.for_chunk(present, amends)
            chunk = replace(
                costing.chunk(job.id, name, draft.write(job_files, name, is_retry=True)),
                round=round_no,
                revision=job.revision,
                setbacks=setbacks,
                is_canary=is_canary,
                improves=_improved(sources[0]),
                improves_reused=improves_reused,
                amends=amends,
                changes=text_of(present),
            )
            added.append(ChunkAdded(chunk=chunk, rows_by_shard=draft.rows_by_shard, due_at=now))
        changes += added
        if added:
            taken = {name: len(keys) for name, keys in rows.items()}
            _keep_plan(job_files, job, added, sources[0], taken)
    if not waiting and not is_canary:
        job, changes = _copied_answers(claim, job, ledger=ledger, job_files=job_files, clock=clock)
    after = replace(job, due=Step.REVIEW, retry_count=job.retry_count + made)
    ledger.record(claim, JobMoved(before=job, after=after, due_at=now), *changes, now=now)


def _copied_answers(
    claim: Claim, job: Job, *, ledger: Ledger, job_files: JobFiles, clock: Clock
) -> tuple[Job, list[Change]]:
    """Give duplicates their answers; return the job as the ledger has it by then, and what it does not know yet."""
    began_at = clock.now()
    for changes in settle_duplicates(job, ledger=ledger, job_files=job_files):
        now = clock.now()
        if now - began_at > timedelta(seconds=STEP_S_MAX):
            return job, changes  # these are recorded with the step's end
        ledger.record(claim, JobMoved(before=job, after=job, due_at=now), *changes, now=now, keep=True)
        job = written(job)
    return job, []


def _keep_plan(
    job_files: JobFiles, job: Job, added: Sequence[ChunkAdded], source: Chunk, taken: Mapping[str, int]
) -> None:
    """Put the record of retry chunks in place; `source` is one of the chunks that their rows were taken from."""
    planned = tuple(records.PlannedChunk.of(one.chunk, one.rows_by_shard) for one in added)
    choice = choice_in(source.regather)
    plan = records.RetryPlan(
        chunks=planned,
        sources=taken,
        regather=_kind(source),
        selection="" if choice is None else choice.selection,
    )
    records.keep_retry(job_files, job.retry_count + 1, plan)


def _as_many_as_fit(waiting: list[Chunk], requests_max: int) -> list[Chunk]:
    """Return the first chunks, of one round and with rows of one kind, whose waiting rows fill a retry chunk."""
    sources: list[Chunk] = []
    rows = 0
    for chunk in waiting:
        if sources and (_alike(chunk) != _alike(sources[0]) or rows + chunk.tally.waiting > requests_max):
            break
        sources.append(chunk)
        rows += chunk.tally.waiting
    return sources


def _alike(chunk: Chunk) -> tuple[int, str, str, str, str]:
    return chunk.round, _kind(chunk), chunk.improves, chunk.amends, chunk.changes


def _changes(sources: list[Chunk], job: Job) -> RequestChanges:
    """Return how the requests of the retry chunks differ from those that were planned."""
    if not sources:
        return RequestChanges()
    earlier = changes_in(sources[0].changes)
    return changes_in(job.changes).after(earlier) if sources[0].regather else earlier


def _kind(source: Chunk) -> str:
    """Return the kind of rows that are gathered from a chunk because a person asked for it; "" of others."""
    choice = choice_in(source.regather)
    return source.regather if choice is None else choice.kinds[0]


def _improved(source: Chunk) -> str:
    """Return the kind of answers that the waiting rows of a chunk have; "" where they have none."""
    return "" if _kind(source) in SENT_AS_FAILED else _kind(source) or source.improves


def filled(
    sources: list[Chunk],
    rows: Mapping[str, Collection[RowKey]],
    changes: RequestChanges,
    *,
    job_files: JobFiles,
    gathering: Gathering,
) -> list[tuple[tuple[str, bool], request_files.LinesDraft]]:
    """Return the request files of the waiting rows of chunks.

    Each with why its requests are changed, and whether their rows' present answers are copies: rows are kept apart by
    these.

    Args:
        rows: the waiting rows, by the chunk's name.
    """
    packers: dict[tuple[str, bool], Packer] = {}
    retries: list[tuple[tuple[str, bool], request_files.LinesDraft]] = []
    present: dict[tuple[str, bool], request_files.LinesDraft] = {}
    for chunk in sources:
        wanted = set(rows[chunk.name])
        copied = _copied(chunk, wanted, job_files)
        useless = {} if gathering.amending is None else useless_answers(job_files, chunk)
        for one in request_files.keyed_requests_of(job_files, chunk):
            if one.key not in wanted:
                continue
            if gathering.changing is not None and chunk.regather and changes != RequestChanges():
                one = gathering.changing.request(one, changes)
            line, answer = one.line, useless.get(one.key)
            kind = (chunk.amends if answer is None else answer.amends.value, one.key in copied)
            packer = packers.setdefault(kind, Packer(gathering.limits))
            if answer is not None and gathering.amending is not None:
                changed = gathering.amending.line(line, answer)
                line = line if packer.too_large(len(changed), text_bytes(changed)) else changed
            if packer.starts_new(len(line), text_bytes(line)) or kind not in present:
                present[kind] = request_files.LinesDraft()
                retries.append((kind, present[kind]))
            present[kind].add(line, one.key, one.content_key)
    return retries


def _copied(chunk: Chunk, rows: Collection[RowKey], job_files: JobFiles) -> Collection[RowKey]:
    """Return those of a chunk's waiting rows whose present answers are copies, of other jobs or of equal requests."""
    if not _improved(chunk):
        return ()
    if chunk.state is ChunkState.REUSED:
        return rows
    if not chunk.improves_reused or not chunk.part:
        return rows if chunk.improves_reused else ()
    with job_files.open(chunk.part) as part:  # a row that it has an answer to has one of its own by now
        return set(rows).difference(result_parts.read_succeeded(part))


def _resent(chunk: Chunk, count: int) -> Change:
    tally = replace(chunk.tally, waiting=chunk.tally.waiting - count, resent=chunk.tally.resent + count)
    choice = choice_in(chunk.regather)
    rest = "" if choice is None else choice.rest
    if bool(rest) != bool(tally.waiting):
        raise OutputError(f"chunk {chunk.name}: {count} rows are to be sent, the ledger has {chunk.tally.waiting}")
    return ChunkMoved(before=chunk, after=replace(chunk, tally=tally, regather=rest), due_at=None)


def _give_up(chunk: Chunk, later: Callable[[Chunk], Iterable[Chunk]], *, job_files: JobFiles) -> list[Change]:
    if choice := choice_in(chunk.regather):
        return _give_back(chunk, choice, job_files=job_files)
    waiting = waiting_rows(job_files, chunk, later)
    settled = request_files.count_by_shard(waiting)
    own = len(set(waiting).intersection(answered_rows(job_files, chunk, chunk.regather))) if chunk.regather else 0
    pays_again = chunk.regather == ALL_FAILED or (chunk.regather == chunk.improves and not chunk.tally.unread_answers)
    unreadable = len(unreadable_rows(job_files, chunk)) if pays_again and chunk.regather else 0
    after = replace(chunk, tally=closed_again(chunk, own, unreadable), regather="")
    return [
        ChunkMoved(before=chunk, after=after, due_at=None),
        RowsSettled(chunk_id=chunk.id, by_shard=settled, failed={} if _improved(chunk) else settled),
    ]


def _give_back(chunk: Chunk, choice: Choice, *, job_files: JobFiles) -> list[Change]:
    """Leave the chosen rows of a chunk as they were."""
    found, codes = chosen_in(job_files, chunk, choice)
    after = replace(chunk, tally=given_back(chunk.tally, found), causes=causes_more(chunk.causes, codes), regather="")
    return [
        ChunkMoved(before=chunk, after=after, due_at=None),
        RowsSettled(chunk_id=chunk.id, by_shard=found.by_shard, failed=found.failed_by_shard),
    ]
