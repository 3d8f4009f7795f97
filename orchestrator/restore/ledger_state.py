"""Rebuilds the chunks and shards of a job from their plans and the records of their creates.

Rule 1: a chunk with collected results is collected; one with a batch is submitted; one that may have been sent is
        ambiguous; any other is planned. The ordinary steps continue from there.
Rule 2: chunks are rebuilt first, one by one; the counts of the shards are computed from them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from orchestrator.collector.finish import slice_count
from orchestrator.domain.causes import causes_left, causes_less
from orchestrator.domain.chosen import CHOSEN_KINDS, WHOLE, Choice, choice_in, waiting_again
from orchestrator.domain.lifecycle import given_up
from orchestrator.domain.model import (
    Attempt,
    Chunk,
    ChunkState,
    Job,
    Shard,
    ShardState,
    Tally,
)
from orchestrator.domain.policy import OnAmbiguous
from orchestrator.domain.recovery import NOT_UNDERSTOOD
from orchestrator.domain.reopening import closed_again, reopened
from orchestrator.domain.row_kinds import ALL_FAILED, FLAWED, INVALID, SENT_AS_FAILED, RowKind
from orchestrator.domain.snapshot import Restored
from orchestrator.job_files import records, request_files
from orchestrator.job_files.chunk_rows import (
    answered_rows,
    chosen_in,
    moved_rows,
    rows_of_kind,
)
from orchestrator.job_files.selections import has_selections
from orchestrator.planner.plan import SLICE_ROWS
from orchestrator.providers.private_errors import answer_name
from orchestrator.restore.creates import Creates
from orchestrator.restore.moved import causes_without_moved, retry_chunks, without_moved

if TYPE_CHECKING:
    from orchestrator.job_files.create_journal import Intent
    from orchestrator.job_files.records import Collected, GivenUp, PlannedChunk
    from orchestrator.restore.planned import Plans

LOST: Final = "the ledger was lost while this create was under way"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The facts about the whole job that decide the states of its chunks."""

    is_cancelled: bool  # and sealed: waiting rows have failed, unsent chunks are cancelled
    revive_rounds: int  # rows of these rounds wait again: a retry was commanded and is not sealed
    retrying: str  # the kind of rows that it sends again
    is_unknowable: bool  # the provider cannot be asked for a lost create
    now: datetime


@dataclass(slots=True)
class _ShardSums:
    row_count: int = 0
    chunk_count: int = 0
    slice_count: int = 0
    refused_count: int = 0
    causes: str = ""
    is_planned: bool = False


@dataclass(slots=True, kw_only=True)
class Units:
    """A job's chunks, and then its shards."""

    job: Job
    plans: Plans
    rules: Rules
    shard_count: int
    output_parts: Mapping[int, int]  # a shard's number: how many output parts it has
    counts: Counter[str] = field(default_factory=Counter)  # chunks by state, for people
    _sums: dict[int, _ShardSums] = field(default_factory=dict)
    _settled: Counter[int] = field(default_factory=Counter)
    _resent: Counter[tuple[str, str]] = field(default_factory=Counter)  # a chunk's name, the kind of rows: how many
    _gathered: set[tuple[str, str, str]] = field(default_factory=set)  # selection, chunk's name, kind of rows

    def chunks(self) -> Iterator[Restored]:
        """Return all chunks."""
        for plan in self.plans.retries:
            self._resent.update({(name, plan.regather): count for name, count in plan.sources.items()})
            self._gathered.update((plan.selection, name, plan.regather) for name in plan.sources)
            if plan.regather in (*FLAWED, WHOLE):  # they had been settled
                for planned in plan.chunks:
                    self._settled.subtract(planned.rows_by_shard)
        for shard_no in range(self.shard_count):
            sums = self._sums[shard_no] = _ShardSums()
            for one in self.plans.slices(shard_no):
                sums.row_count, sums.is_planned = one.row_end, one.last
                sums.chunk_count += len(one.chunks)
                sums.slice_count += 1
                sums.refused_count += one.refused_count
                sums.causes = one.causes
                for planned in one.chunks:
                    yield from self._restored(planned)
        for retried in self.plans.retries:
            for planned in retried.chunks:
                yield from self._restored(planned)

    def shards(self) -> Iterator[Shard]:
        """Return all shards; call it after all chunks have been read."""
        for shard_no, sums in self._sums.items():
            settled = sums.refused_count + self._settled[shard_no]
            parts = self.output_parts.get(shard_no, 0) if sums.is_planned and settled == sums.row_count else 0
            wanted = slice_count(sums.row_count, SLICE_ROWS)
            state = ShardState.PLANNED if sums.is_planned else ShardState.PLANNING
            yield Shard(
                job_id=self.job.id,
                shard_no=shard_no,
                state=ShardState.FINISHED if parts >= wanted else state,
                row_count=sums.row_count,
                chunk_count=sums.chunk_count,
                slice_count=sums.slice_count,
                refused_count=sums.refused_count,
                causes=sums.causes,
                settled_count=settled,
                finished_slice_count=min(parts, wanted),
            )

    @property
    def _creates(self) -> Creates:
        resubmits = self.job.policy.on_ambiguous is OnAmbiguous.RESUBMIT
        return Creates(batches=self.plans.sent.batches, resubmits=resubmits, now=self.rules.now)

    def _restored(self, planned: PlannedChunk) -> Iterator[Restored]:
        for one in self.plans.leaves(planned):
            restored = self._one(one)
            self.counts[restored.chunk.state] += 1
            yield restored

    def _chunk(self, planned: PlannedChunk) -> Chunk:
        return planned.chunk(self.job.id)

    def _one(self, planned: PlannedChunk) -> Restored:
        chunk, sent = self._chunk(planned), self.plans.sent
        if chunk.state is ChunkState.DUPLICATE:
            return self._duplicate(planned)
        if chunk.state is ChunkState.REUSED:
            return self._reused(planned)
        if chunk.name in self.plans.halves:
            return _plain(replace(chunk, state=ChunkState.SPLIT), planned)
        intents = sent.intents.get(chunk.name, {})
        collected = sent.collected.get(chunk.name)
        number = max([*intents, 0 if collected is None else collected.attempt])
        if collected is not None and collected.attempt == number:
            return self._collected(planned, collected, self._creates.of(chunk, number, intents, collected))
        why = records.read_given_up(self.plans.job_files, chunk.name)
        if why is not None:
            return self._given_up(planned, number, intents, why)
        if number == 0:
            if self.rules.is_cancelled:
                return self._failed(planned, ChunkState.CANCELLED, "cancelled", "the job was cancelled")
            return _plain(chunk, planned)
        return self._sent(planned, number, intents)

    def _sent(self, planned: PlannedChunk, number: int, intents: Mapping[int, Intent]) -> Restored:
        """A chunk whose last create was answered, or may have been sent."""
        intent = intents[number]
        batch_id = self.plans.sent.batches.get(intent.token)
        is_odd = batch_id is None and self.plans.job_files.exists(answer_name(intent.token))
        state = ChunkState.AMBIGUOUS if batch_id is None else ChunkState.SUBMITTED
        if is_odd and self.rules.is_unknowable:
            state = ChunkState.UNRESOLVED
        after = replace(
            self._chunk(planned),
            state=state,
            attempt=number,
            token=intent.token,
            key_mark=intent.key_mark,
            file_id=intent.file_id,
            sent_at=intent.sent_at,
            batch_id=batch_id,
            setbacks=intent.setbacks,
            error_code=NOT_UNDERSTOOD if is_odd else "",
            error=LOST if batch_id is None else "",
        )
        return replace(_plain(after, planned), attempts=self._creates.of(self._chunk(planned), number, intents, None))

    def _collected(self, planned: PlannedChunk, record: Collected, attempts: tuple[Attempt, ...]) -> Restored:
        """A chunk with results; whether its failed rows were sent again follows from the retry chunks."""
        tally, moved_answers = self._without_reopened(planned, record.tally, record.part)
        covered = planned.rows_by_shard
        moved = sum(self._resent[planned.name, kind] for kind in ("", *SENT_AS_FAILED))
        from_waiting = min(moved, tally.waiting)
        waiting, failed = tally.waiting - from_waiting, max(0, tally.failed - (moved - from_waiting))
        settled, failed_by_shard = Counter(record.settled), Counter(record.failed)
        if moved > from_waiting:
            left = self._failed_by_shard(planned, record, failed)
            settled, failed_by_shard = settled - failed_by_shard + left, left
            if self._resent[planned.name, ALL_FAILED]:
                tally = replace(tally, unreadable_rows=0)
        if tally.waiting < record.tally.waiting:  # a cancel settled them, before they were sent again on demand
            settled += Counter(covered) - settled
        tally, regather = replace(tally, waiting=waiting, failed=failed, resent=moved + moved_answers), ""
        kept = tally.unreadable_rows if self.rules.retrying == RowKind.FAILED else 0
        if failed > kept and self._revives(planned, self._kind_of_failed):
            regather = self._kind_of_failed
            tally = replace(tally, waiting=waiting + failed - kept, failed=kept, unreadable_rows=kept)
            left = self._failed_by_shard(planned, record, kept)
            settled, failed_by_shard = settled - failed_by_shard + left, left
        elif self.rules.is_cancelled and waiting:
            rest = Counter(covered) - settled
            tally = closed_again(replace(self._chunk(planned), tally=tally), 0)
            settled += rest
            failed_by_shard = failed_by_shard if planned.improves else failed_by_shard + rest
        causes = self._causes_left(planned, record.causes, record.part)
        causes = causes_left(causes, tally.failed, tally.unreadable_rows)
        before = replace(self._chunk(planned), part=record.part, tally=tally, causes=causes)
        after, chosen = self._reopened_now(planned, before)
        failed_by_shard -= chosen
        self._settled.update(settled)
        after = replace(
            after,
            state=ChunkState.COLLECTED,
            round=record.round,
            setbacks=record.setbacks,
            attempt=record.attempt,
            token=record.token,
            sent_at=attempts[-1].sent_at,
            batch_id=record.batch_id,
            outcome=record.outcome,
            ended_at=record.ended_at,
            fees_usd=record.fees_usd,
            regather=after.regather or regather,
        )
        restored = Restored(chunk=after, attempts=attempts, rows_by_shard=covered, failed_by_shard=failed_by_shard)
        return replace(restored, collected_at=record.collected_at)

    def _failed_by_shard(self, planned: PlannedChunk, record: Collected, count: int) -> Counter[int]:
        """Return how many rows of each shard are failed still, after others were sent again."""
        chunk = replace(self._chunk(planned), part=record.part)
        keys = rows_of_kind(self.plans.job_files, chunk, ALL_FAILED, count, self._retry_chunks) if count else []
        return Counter(request_files.count_by_shard(keys))

    def _duplicate(self, planned: PlannedChunk) -> Restored:
        """A chunk that gets what equal requests came to: that is still to be copied, or to be copied once more."""
        found = records.read_copied(self.plans.job_files, planned.name)
        if found is None:
            return _plain(self._chunk(planned), planned)
        revision, copied = found
        is_alone = not any(self._resent[copied.name, kind] for kind in (*RowKind, ALL_FAILED, INVALID, WHOLE))
        is_older = revision < self.job.revision
        if copied.tally.failed and is_alone and is_older and self._revives(copied, self._kind_of_failed):
            return _plain(self._chunk(planned), planned)
        return self._reused(copied, revives_failed=is_older)

    def _reused(self, planned: PlannedChunk, *, revives_failed: bool = True) -> Restored:
        """A chunk that was never sent; some of its rows may have been sent since, on demand."""
        tally, moved_answers = self._without_reopened(planned, planned.tally, planned.part)
        moved = sum(self._resent[planned.name, kind] for kind in SENT_AS_FAILED)
        settled = Counter(planned.rows_by_shard)
        tally = replace(tally, failed=tally.failed - moved, resent=moved + moved_answers)
        [shard_no] = planned.rows_by_shard
        settled[shard_no] -= moved
        regather = ""
        if tally.failed and revives_failed and self._revives(planned, self._kind_of_failed):
            settled[shard_no] -= tally.failed
            regather, tally = self._kind_of_failed, replace(tally, waiting=tally.failed, failed=0)
        self._settled.update(settled)
        causes = self._causes_left(planned, planned.causes, planned.part) if tally.failed else ""
        before = replace(self._chunk(planned), tally=tally, regather=regather, causes=causes)
        after, _ = self._reopened_now(planned, before)
        failed = after.tally.failed
        return replace(_plain(after, planned), failed_by_shard={shard_no: failed} if failed else {})

    def _reopened_now(self, planned: PlannedChunk, chunk: Chunk) -> tuple[Chunk, Counter[int]]:
        """Return a chunk whose answers of a kind, or chosen rows, are to be sent again, if that is under way; they are
        not settled. And how many of these rows had failed, by shard.
        """
        if choice := choice_in(self.rules.retrying):
            return self._chosen_now(chunk, choice.selection)
        for kind in FLAWED:
            count: int = getattr(chunk.tally, f"{kind}_answers") - chunk.unread(kind)
            if count and self._revives(planned, kind):
                keys = rows_of_kind(self.plans.job_files, chunk, kind, count, self._retry_chunks)
                self._settled.subtract(request_files.count_by_shard(keys))
                chunk = replace(chunk, tally=reopened(chunk, kind), regather=kind.value)
        return chunk, Counter()

    def _chosen_now(self, chunk: Chunk, selection: str) -> tuple[Chunk, Counter[int]]:
        left = tuple(kind for kind in CHOSEN_KINDS if (selection, chunk.name, kind) not in self._gathered)
        found, codes = chosen_in(self.plans.job_files, chunk, Choice(selection, left))
        if not found.total or not self.rules.revive_rounds:
            return chunk, Counter()
        found = replace(found, causes=causes_less(chunk.causes, Counter(codes.values())))
        self._settled.subtract(found.by_shard)
        regather = str(Choice(selection, tuple(found.of(left))))
        return replace(waiting_again(chunk, found), regather=regather), Counter(found.failed_by_shard)

    def _retry_chunks(self, chunk: Chunk) -> Iterator[Chunk]:
        return retry_chunks(self.plans, chunk.job_id)

    def _causes_left(self, planned: PlannedChunk, causes: str, part: str) -> str:
        return causes_without_moved(self.plans, replace(self._chunk(planned), part=part, causes=causes))

    def _without_reopened(self, planned: PlannedChunk, tally: Tally, part: str) -> tuple[Tally, int]:
        """Return the tally without the answers whose rows are in retry chunks, and how many those are."""
        moved_answers = 0
        if has_selections(self.plans.job_files):
            by_kind = {kind: self._resent[planned.name, kind] for kind in (*FLAWED, WHOLE)}
            return without_moved(self.plans, replace(self._chunk(planned), part=part, tally=tally), by_kind)
        for kind in FLAWED:
            moved = self._resent[planned.name, kind]
            if moved:
                chunk = replace(self._chunk(planned), tally=tally, part=part)
                left: int = getattr(tally, f"{kind}_answers") - moved
                tally = reopened(chunk, kind, pays_again=True)
                tally = replace(tally, waiting=tally.waiting - moved)
                moved_answers += moved
                if left:
                    tally = self._with_answers(tally, chunk, kind, left)
        return tally, moved_answers

    def _with_answers(self, tally: Tally, chunk: Chunk, kind: str, left: int) -> Tally:
        """Return the tally with answers back from the rows that wait: they were read after the others were sent again,
        or an unreadable answer is kept beside them. `chunk` is as it was before.
        """
        name, unread, own = f"{kind}_answers", chunk.unread(kind), left
        if chunk.improves == kind:
            own = 0 if left == unread else len(answered_rows(self.plans.job_files, chunk, kind))
        return replace(
            tally,
            succeeded=tally.succeeded + own,
            reopened=tally.reopened - own,
            standing=tally.standing + left - own,
            waiting=tally.waiting - left,
            unread_answers=tally.unread_answers + unread,
            **{name: getattr(tally, name) + left},
        )

    @property
    def _kind_of_failed(self) -> str:
        """The kind of failed rows that the present revision sends again, if it does."""
        return self.rules.retrying if self.rules.retrying in SENT_AS_FAILED else RowKind.FAILED.value

    def _revives(self, planned: PlannedChunk, kind: str) -> bool:
        """Return whether rows of this kind, in this chunk, are to be sent again by a retry that is under way."""
        is_older = planned.revision < self.job.revision
        return kind == self.rules.retrying and planned.round <= self.rules.revive_rounds and is_older

    def _given_up(self, planned: PlannedChunk, number: int, intents: Mapping[int, Intent], why: GivenUp) -> Restored:
        attempts = self._creates.of(self._chunk(planned), number, intents, None, over=True)
        return replace(self._failed(planned, ChunkState.FAILED, why.error_code, why.error), attempts=attempts)

    def _failed(self, planned: PlannedChunk, state: ChunkState, code: str, words: str) -> Restored:
        """A chunk without a batch; its rows have failed, or were gathered into a retry chunk."""
        count = planned.request_count
        kind = planned.improves or self._kind_of_failed
        kinds = ("", planned.improves) if planned.improves else ("", *SENT_AS_FAILED)
        moved = sum(self._resent[planned.name, which] for which in kinds)
        left, left_by_shard = count - moved, Counter(planned.rows_by_shard)
        if moved:
            chunk, files = self._chunk(planned), self.plans.job_files
            moved_keys = moved_rows(files, chunk, self._retry_chunks(chunk))
            left_by_shard -= Counter(request_files.count_by_shard(moved_keys))
        revived = left > 0 and self._revives(planned, kind)
        tally = Tally(waiting=left) if revived else given_up(left, planned.improves)
        after = replace(self._chunk(planned), state=state, error_code=code, error=words)
        after = replace(after, tally=replace(tally, resent=moved), regather=kind if revived else "")
        # Rows with an earlier answer were taken off where they are in retry chunks.
        moved_by_shard = Counter(planned.rows_by_shard) - left_by_shard
        self._settled.update(moved_by_shard if planned.improves else {})
        self._settled.update({} if revived else left_by_shard)
        failed = Counter() if revived or planned.improves else left_by_shard
        after, chosen = self._reopened_now(planned, after) if not revived else (after, Counter[int]())
        return replace(_plain(after, planned), failed_by_shard=dict(failed - chosen))


def _plain(chunk: Chunk, planned: PlannedChunk) -> Restored:
    return Restored(chunk=chunk, attempts=(), rows_by_shard=planned.rows_by_shard, failed_by_shard={})
