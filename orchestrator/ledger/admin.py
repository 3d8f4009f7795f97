"""Operator commands and reports: open, resume, approve, cancel, retry, resolve, list. Each is one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orchestrator import codec
from orchestrator.domain import lifecycle
from orchestrator.domain.canary import CANARY, UNDECIDED
from orchestrator.domain.changes import AttemptClosed, written
from orchestrator.domain.chosen import Choice, ChosenRows
from orchestrator.domain.errors import BatchTaken, CommandRefused
from orchestrator.domain.lifecycle import BatchCreated, Event, ProvedAbsent, ResultsGivenUp
from orchestrator.domain.model import (
    IN_FLIGHT,
    TERMINAL,
    Attempt,
    AttemptState,
    BatchId,
    Canary,
    Chunk,
    ChunkId,
    ChunkState,
    Job,
    JobId,
    JobState,
    ShardState,
    Step,
    is_usable_id,
)
from orchestrator.domain.reconcile import UNREADABLE
from orchestrator.domain.required import required
from orchestrator.domain.reread import Reading, Reread
from orchestrator.domain.row_kinds import ALL_FAILED, RowKind
from orchestrator.ledger import account_limits, creates, pausing, reread, timeline
from orchestrator.ledger.db import rows
from orchestrator.ledger.db.database import Database, asked
from orchestrator.ledger.db.locks import add_new, lock_accounts, lock_job
from orchestrator.ledger.db.schema import EPOCH, Utc, accounts, attempts, chunks, jobs, shards
from orchestrator.ledger.pausing import look_now, set_running, try_again
from orchestrator.ledger.retries import begin_revision, reopen_answered, reopen_chosen, reopen_failed, to_be_sent
from orchestrator.ledger.steps import note

C, J = chunks.c, jobs.c


class SqlAdmin:
    """The operator's commands on the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, job: Job, shard_count: int, *, now: datetime, writes_anew: bool = False) -> Job:
        """Insert a new job with its shards, or return the existing one, with the policy and the spec of `job`.

        Args:
            writes_anew: the output is to have other columns: where some of it is written, all is written again.
        """
        with self._database.write() as tx:
            add_new(tx, accounts, {"name": job.account})
            # Of two processes that open it at once, one inserts it and the other finds it.
            if not add_new(tx, jobs, rows.job_values(job) | {"created_at": now, "due_at": now}):
                known = _job(tx, job.id)
                more = job.policy.attempts_max - known.policy.attempts_max
                # The same job, but perhaps with another path or price, or opened by another version.
                spec = codec.keep_unknown(known.spec, job.spec)
                is_ended = job.policy.canary_rows == 0 and known.canary in UNDECIDED and not known.decision
                canary = Canary.NONE if is_ended else known.canary
                present = replace(known, policy=job.policy, spec=spec, rounds_max=known.rounds_max + more)
                present = replace(present, canary=canary)
                values = {
                    "canary": canary,
                    "policy": rows.policy_text(job.policy),
                    "rounds_max": present.rounds_max,
                    "spec": spec,
                }
                tx.execute(sa.update(jobs).where(J.id == job.id).values(**values, version=known.version + 1))
                return reread.write_again(tx, written(present), now=now) if writes_anew else written(present)
            for start in range(0, shard_count, 5_000):
                numbers = range(start, min(start + 5_000, shard_count))
                planning = {"job_id": job.id, "state": ShardState.PLANNING, "due_at": now}
                tx.execute(sa.insert(shards), [planning | {"shard_no": number} for number in numbers])
            note(tx, job.id, "job.opened", "", now, shards=shard_count)
        return job

    def resume(self, job_id: JobId, *, now: datetime) -> Job:
        """Resume a stopped job, and end the pause of its account; a job that needs a decision is not changed."""
        with self._database.write() as tx:
            job = _job_and_account(tx, job_id)
            if job.decision:
                return job
            if job.state is JobState.STOPPED:
                set_running(tx, job_id, now)
                note(tx, job_id, "job.resumed", "", now)
            try_again(tx, job, now)
            return _job(tx, job_id)

    def approve(self, job_id: JobId, *, now: datetime) -> str:
        """Let a job go on that is stopped for a person's decision, and return which decision it was.

        Raises CommandRefused where it waits for none.
        """
        with self._database.write() as tx:
            job = _job_and_account(tx, job_id)
            if not job.decision:
                raise CommandRefused(f"job {job_id} is {job.state} and waits for no decision: nothing to approve")
            set_running(tx, job_id, now)
            values: dict[str, Any] = {"approved": f"{job.approved} {job.decision}".strip()}
            if job.decision in (CANARY, UNREADABLE) and job.canary is Canary.OPEN:  # one look at it is enough
                values["canary"] = Canary.PASSED
            tx.execute(sa.update(jobs).where(J.id == job_id).values(**values))
            note(tx, job_id, "job.approved", "", now, decision=job.decision)
            try_again(tx, job, now)
            return job.decision

    def pause(self, job_id: JobId, *, now: datetime) -> None:
        """Begin no create of a job until `end_pause`; creates that were begun, and batches in flight, go on.

        Raises CommandRefused for a job that has ended or is being cancelled.
        """
        with self._database.write() as tx:
            pausing.pause(tx, _job(tx, job_id), now)

    def end_pause(self, job_id: JobId, *, now: datetime) -> None:
        """Let a paused job send again. Raises CommandRefused where it is not paused."""
        with self._database.write() as tx:
            pausing.end_pause(tx, _job(tx, job_id), now)

    def break_leases(self, job_id: JobId, *, now: datetime) -> None:
        """End every lease on units of a job. Only for a process that knows that no other begins its creates."""
        with self._database.write() as tx:
            lock_job(tx, job_id)
            for table, of_job in ((jobs, J.id), (shards, shards.c.job_id), (chunks, C.job_id)):
                held = (of_job == job_id, table.c.lease_until > EPOCH)
                tx.execute(sa.update(table).where(*held).values(lease_until=EPOCH))
            sending = (C.job_id == job_id, C.state == ChunkState.SUBMITTING)
            tx.execute(sa.update(chunks).where(*sending).values(due_at=now))

    def cancel(self, job_id: JobId, *, now: datetime) -> Job:
        """Cancel a job: its unsent chunks will be dropped and its batches in flight cancelled."""
        with self._database.write() as tx:
            job = _job(tx, job_id)
            if job.state not in (JobState.RUNNING, JobState.STOPPED):
                return job
            values = {"state": JobState.CANCELLING, "reason": "", "decision": "", "due": Step.REVIEW, "due_at": now}
            values |= {"paused_at": None, "ended_at": None}
            tx.execute(sa.update(jobs).where(J.id == job_id).values(**values, version=J.version + 1))
            # A running create keeps its version, so that its answer can be recorded; it is cancelled right after.
            # One statement for both kinds: between two statements a chunk could change its kind and be missed.
            sending = C.state == ChunkState.SUBMITTING
            wanted = {
                "cancel_requested": True,
                "due_at": sa.case((sending, C.due_at), else_=sa.bindparam("now", now, Utc())),
                "version": C.version + sa.case((sending, 0), else_=1),
            }
            tx.execute(sa.update(chunks).where(C.job_id == job_id, C.state.not_in(TERMINAL)).values(**wanted))
            planning = sa.and_(shards.c.job_id == job_id, shards.c.state == ShardState.PLANNING)
            tx.execute(sa.update(shards).where(planning).values(due_at=now))
            note(tx, job_id, "job.cancelling", "", now)
            return _job(tx, job_id)

    def retry(
        self,
        job_id: JobId,
        *,
        now: datetime,
        kind: RowKind = RowKind.FAILED,
        by_shard: Mapping[int, int] | None = None,
        changes: str = "",
        kept: Mapping[ChunkId, Mapping[int, int]] | None = None,
        pays_again: bool = False,
    ) -> int:
        """Schedule rows of an ended job to be sent again, for a new revision of its output; return how many.

        Rows that could not become a request (too large, skipped) stay failed.

        Args:
            kind: of the rows; those with an answer keep it until a new one is there.
            by_shard: how many rows of this kind each shard has; needed for a kind of answers.
            changes: of their requests: a `RequestChanges`, JSON.
            kept: the failed rows whose answer cannot be read, by chunk and shard: they stay failed.
            pays_again: send those, too, though they may have been answered.
        """
        with self._database.write() as tx:
            job = _ended_job(tx, job_id)
            mine = C.job_id == job_id
            of_kind = to_be_sent(kind, pays_again=pays_again)
            count = int(tx.execute(sa.select(sa.func.coalesce(sa.func.sum(of_kind), 0)).where(mine)).scalar_one())
            if count == 0 and (kind is not RowKind.FAILED or job.state is JobState.FINISHED):
                return 0
            if kind is RowKind.FAILED:
                reopen_failed(tx, job_id, None if pays_again else kept or {}, now)
            elif sum((by_shard or {}).values()) != count:
                raise CommandRefused(f"job {job_id}: its rows have changed meanwhile: type the command again")
            else:
                reopen_answered(tx, job_id, kind, by_shard or {}, now, pays_again=pays_again)
            retrying = ALL_FAILED if pays_again and kind is RowKind.FAILED else kind.value
            begin_revision(tx, job, retrying=retrying, changes=changes, now=now)
            note(tx, job_id, "job.retried", "", now, rows=count, kind=kind.value)
            return count

    def retry_chosen(
        self, job_id: JobId, revision: int, selection: str, chosen: Sequence[ChosenRows], *, changes: str, now: datetime
    ) -> int:
        """Schedule the rows of a selection to be sent again, whatever their kind; return how many.

        Args:
            revision: of the output that they were chosen by. Raises CommandRefused where there is a newer one.
        """
        with self._database.write() as tx:
            job = _ended_job(tx, job_id)
            count = sum(one.total for one in chosen)
            if job.revision != revision:
                raise CommandRefused(f"job {job_id}: its rows have changed meanwhile: type the command again")
            if count:
                reopen_chosen(tx, job_id, selection, chosen, now)
                begin_revision(tx, job, retrying=str(Choice(selection)), changes=changes, now=now)
                note(tx, job_id, "job.retried", "", now, rows=count, kind="chosen")
            return count

    def resolve(self, chunk_id: ChunkId, batch_id: BatchId | None, *, now: datetime) -> Chunk:
        """Resolve a create: it made `batch_id`, or (None) it made no batch and its chunk is sent again."""
        if batch_id is not None and not is_usable_id(batch_id):
            raise CommandRefused(f"{batch_id!r} cannot be the id of a batch: give it as the provider shows it")
        with self._database.write() as tx:
            chunk = _unresolved(tx, chunk_id)
            event = ProvedAbsent() if batch_id is None else BatchCreated(batch_id)
            state = AttemptState.ABSENT if batch_id is None else AttemptState.CREATED
            closed = AttemptClosed(token=required(chunk.token, "token"), state=state, batch_id=batch_id)
            try:
                creates.close_attempt(tx, chunk.job_id, closed, now)
            except BatchTaken as taken:
                raise CommandRefused(
                    f"batch {batch_id} was made from chunk {taken.owner or 'of another create'}: its answers belong to "
                    f"other rows. Name the batch that was made from {chunk_id} (--batch), or say that there is none "
                    "(--absent)"
                ) from None
            return _resolved(tx, chunk, event, now, batch=batch_id or "none")

    def give_up_results(self, chunk_id: ChunkId, *, now: datetime) -> Chunk:
        """Give up the results of a batch that the provider does not hand out: what is archived is collected, the other
        rows of its chunk have failed.
        """
        with self._database.write() as tx:
            chunk = _unresolved(tx, chunk_id)
            batch_id = tx.execute(sa.select(attempts.c.batch_id).where(attempts.c.token == chunk.token)).scalar()
            if batch_id is None:
                raise CommandRefused(
                    f"chunk {chunk_id}: it is not known whether its create made a batch, so there are no results to "
                    "give up. Say which batch it made (--batch), or that it made none (--absent)"
                )
            event = ResultsGivenUp(BatchId(batch_id))
            return _resolved(tx, chunk, event, now, batch=batch_id, results="given up")

    def unreadable(self, job_id: JobId) -> list[Chunk]:
        """Return the collected chunks with rows that cannot be read."""
        unread = C.unreadable_rows + C.unread_answers > 0
        query = sa.select(chunks).where(C.job_id == job_id, C.state == ChunkState.COLLECTED, unread)
        with self._database.read() as connection:
            return [rows.chunk_of(row) for row in connection.execute(query.order_by(C.id)).mappings()]

    def reread(self, job_id: JobId, found: Sequence[Reread], *, now: datetime) -> Reading:
        """Record new parts of collected chunks; a job that waits only for them to be read goes on."""
        with self._database.write() as tx:
            job = _job(tx, job_id)
            done = reread.record(tx, job, found, now=now)
            if done.is_released:
                set_running(tx, job_id, now)
            return done

    def confirm_same_account(self, job_id: JobId, key_mark: str, *, now: datetime) -> int:
        """Record that all creates of a job were sent from this key's account; return how many chunks waited for it.

        No version changes: a concurrent decision based on the older mark is only more careful.
        """
        with self._database.write() as tx:
            _job(tx, job_id)
            tx.execute(sa.update(attempts).where(attempts.c.job_id == job_id).values(key_mark=key_mark))
            count = int(tx.execute(look_now(job_id, now)).rowcount)
            note(tx, job_id, "job.account_confirmed", "", now, chunks=count)
            return count

    def jobs(self) -> list[Job]:
        """Return all jobs, the newest first."""
        with self._database.read() as connection:
            found = connection.execute(sa.select(jobs).order_by(J.created_at.desc(), J.id)).mappings()
            return [rows.job_of(row) for row in found]

    def unresolved(self, job_id: JobId) -> list[tuple[Chunk, Attempt]]:
        """Return the unresolved chunks, each with the create whose answer was lost."""
        query = (
            sa.select(chunks, attempts)
            .join(attempts, attempts.c.token == C.token_sent)
            .where(C.job_id == job_id, C.state == ChunkState.UNRESOLVED)
            .order_by(C.id)
            .set_label_style(sa.LABEL_STYLE_TABLENAME_PLUS_COL)
        )
        with self._database.read() as connection:
            unresolved_ids = [row["chunks_id"] for row in connection.execute(query).mappings()]
            pairs = []
            for chunk_id in unresolved_ids:
                chunk = rows.chunk_of(connection.execute(sa.select(chunks).where(C.id == chunk_id)).mappings().one())
                sent = sa.select(attempts).where(attempts.c.token == chunk.token)
                pairs.append((chunk, rows.attempt_of(connection.execute(sent).mappings().one())))
            return pairs

    def attempts(self, job_id: JobId) -> list[Attempt]:
        """Return every create of the job, in the order in which they were begun."""
        query = sa.select(attempts).where(attempts.c.job_id == job_id)
        with self._database.read() as connection:
            found = connection.execute(query.order_by(attempts.c.sent_at, attempts.c.token)).mappings()
            return [rows.attempt_of(row) for row in found]

    def others_in_flight(self, job_id: JobId) -> dict[JobId, Counter[ChunkState]]:
        """Return the chunks that other jobs of the account have in flight, by state; they share one limit."""
        account = sa.select(J.account).where(J.id == job_id).scalar_subquery()
        theirs = (C.account == account, C.state.in_(IN_FLIGHT), C.job_id != job_id)
        query = sa.select(C.job_id, C.state, sa.func.count()).where(*theirs).group_by(C.job_id, C.state)
        found: dict[JobId, Counter[ChunkState]] = {}
        with self._database.read() as connection:
            for other, state, count in connection.execute(query.order_by(C.job_id)):
                found.setdefault(JobId(other), Counter())[ChunkState(state)] = count
        return found

    def pause_reason(self, account: str, *, now: datetime) -> str:
        """Return why the account may not send at present, and until when, if that helps; "" where it may."""
        paused = (accounts.c.name == account, accounts.c.paused_until > now)
        query = sa.select(accounts.c.pause_reason, accounts.c.paused_until, accounts.c.needs_person).where(*paused)
        with self._database.read() as connection:
            found = connection.execute(query).mappings().first()
        return "" if found is None else account_limits.pause_words(found)

    def pause_needs_person(self, account: str, *, now: datetime) -> bool:
        """Return whether the account is paused and cannot go on with the key that a running process has."""
        paused = (accounts.c.name == account, accounts.c.paused_until > now, accounts.c.needs_person)
        with self._database.read() as connection:
            return connection.execute(sa.select(accounts.c.name).where(*paused)).first() is not None

    events = asked(timeline.events)


def _job_and_account(tx: sa.Connection, job_id: JobId) -> Job:
    """Return the job, and lock it and its account until the transaction ends."""
    account = tx.execute(sa.select(J.account).where(J.id == job_id)).scalar()
    lock_accounts(tx, () if account is None else (account,))
    return _job(tx, job_id)


def _ended_job(tx: sa.Connection, job_id: JobId) -> Job:
    job = _job(tx, job_id)
    if job.state not in (JobState.FINISHED, JobState.CANCELLED):
        raise CommandRefused(f"job {job_id} is {job.state}: run it to its end first, then its rows are retried")
    return job


def _unresolved(tx: sa.Connection, chunk_id: ChunkId) -> Chunk:
    """Return the unresolved chunk, and lock it and its job until the transaction ends. Raises CommandRefused."""
    job_id = tx.execute(sa.select(C.job_id).where(C.id == chunk_id)).scalar()
    if job_id is None:
        raise CommandRefused(f"the ledger knows no chunk {chunk_id}")
    lock_job(tx, JobId(job_id))
    chunk = rows.chunk_of(tx.execute(sa.select(chunks).where(C.id == chunk_id).with_for_update()).mappings().one())
    if chunk.state is not ChunkState.UNRESOLVED:
        raise CommandRefused(f"chunk {chunk_id} is {chunk.state}, not unresolved: there is nothing to resolve")
    return chunk


def _resolved(tx: sa.Connection, chunk: Chunk, event: Event, now: datetime, **details: str) -> Chunk:
    after = lifecycle.advance(chunk, event)
    values = rows.chunk_values(after) | {"due_at": now, "version": chunk.version + 1}
    tx.execute(sa.update(chunks).where(C.id == chunk.id).values(**values))
    note(tx, chunk.job_id, "chunk.resolved", chunk.name, now, **details)
    return written(after)


def _job(tx: sa.Connection, job_id: JobId) -> Job:
    """Return the job, and lock it until the transaction ends."""
    row = tx.execute(sa.select(jobs).where(J.id == job_id).with_for_update()).mappings().one_or_none()
    if row is None:
        raise CommandRefused(f"the ledger knows no job {job_id}")
    return rows.job_of(row)
