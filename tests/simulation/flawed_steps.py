"""Steps and decisions with a flaw, each to be put in the place of the real one."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.batches import poll, recover
from orchestrator.batches.submit import submission_of
from orchestrator.collector.typed_answers import TypedAnswers
from orchestrator.domain import lifecycle, recovery
from orchestrator.domain.budget import Spending
from orchestrator.domain.changes import AttemptClosed, AttemptOpened, Change, ChunkMoved, written
from orchestrator.domain.errors import CreateAmbiguous, CreateRefused, Gone, ProviderError
from orchestrator.domain.faults import Fault
from orchestrator.domain.lifecycle import RESULTS_LOST, BatchCreated, BatchRejected, SubmissionBegun
from orchestrator.domain.model import (
    Attempt,
    AttemptState,
    AttemptToken,
    BatchId,
    Chunk,
    ChunkState,
    Claim,
    Job,
    JobId,
    Shard,
    Tally,
)
from orchestrator.domain.policy import OnAmbiguous, Policy
from orchestrator.domain.reconcile import Answer, Placed, Reconciliation
from orchestrator.domain.recovery import Absent, Bounds, Decision, Evidence, LookAgain, NeedsPerson, Recovery
from orchestrator.job_files import chunk_rows, request_files
from orchestrator.ledger import creates
from orchestrator.ledger.db.schema import NANO, attempts, jobs
from orchestrator.planner import plan

SPENDING: Final = creates.spending
REAL_DECIDE: Final = recovery.decide
REAL_PROVE: Final = recovery._prove
REAL_WAGER: Final = recovery._resubmit
REAL_PLACE: Final = Reconciliation.place
REAL_ADOPT: Final = recover._adopt
REAL_FAILED: Final = poll._failed
REAL_CLOSE: Final = plan._close
REAL_CHECKING: Final = TypedAnswers.checking
REAL_CHOSEN: Final = chunk_rows.chosen_rows


def checked_for_ever(self: TypedAnswers, read_line: Any, *, resends: bool) -> Any:  # noqa: ARG001 - as the real one
    """Have a row sent again whose request was changed before."""
    return REAL_CHECKING(self, read_line, resends=True)


def line_as_it_was(self: Any, line: bytes, answer: Any) -> bytes:  # noqa: ARG001 - likewise
    """Send the request again as it was."""
    return line


def request_as_it_was(self: Any, one: Any, changes: Any) -> Any:  # noqa: ARG001 - likewise
    """Forget what a person has set."""
    return one


def whole_chunk(job_files: Any, selection: str, chunk: Chunk) -> Any:
    """Take other rows of the chunk for those that were chosen."""
    found = REAL_CHOSEN(job_files, selection, chunk)
    rest = iter(request_files.row_keys(job_files, chunk))
    return {kind: [next(rest) for _ in keys] for kind, keys in found.items()}


def close_as_canary(shard: Shard, planned: Any, **named: Any) -> None:
    """Let a chunk be sent before the verdict on the canary."""
    REAL_CLOSE(shard, planned, **named)
    planned.chunks[-1] = replace(planned.chunks[-1], is_canary=True)


def one_for_each_job(tx: sa.Connection, job_id: JobId) -> str:  # noqa: ARG001 - as the real one
    """Return a provider of the job's own: no other job's batches are seen."""
    return job_id


def unread_again(self: Reconciliation, name: str, answer: Answer) -> Placed:
    """Send a row again whose answer cannot be read."""
    is_unread = answer.fault is Fault.UNREADABLE
    return REAL_PLACE(self, name, answer._replace(fault=Fault.TRANSIENT, retryable=True) if is_unread else answer)


def no_refusal(_self: Reconciliation) -> None:
    """Take what the account is refused for as the rows' own failure."""


def nothing_stands(tally: Tally, _kind: str) -> Tally:
    """Forget the answers that rows had before they were sent again."""
    return tally


def create_before_intent(claim: Claim, **tools: Any) -> None:
    """Submit, and write down afterwards what was meant to be done."""
    ledger, clock = tools["ledger"], tools["clock"]
    assert claim.unit.chunk_id is not None
    chunk = ledger.chunk(claim.unit.chunk_id)
    if chunk.state is not ChunkState.PLANNED:
        return
    token, now = AttemptToken(clock.token()), clock.now()
    begun = lifecycle.advance(chunk, SubmissionBegun(token, now))
    try:
        batch_id = tools["provider"].create(submission_of(chunk, token, tools["job_files"]))
    except (CreateRefused, CreateAmbiguous):
        ledger.record(claim, ChunkMoved(before=chunk, after=chunk, due_at=now + timedelta(seconds=60)), now=now)
        return
    attempt = Attempt(
        token=token,
        chunk_id=chunk.id,
        number=begun.attempt,
        state=AttemptState.OPEN,
        reserved_usd=chunk.cost_usd_max or Decimal(0),
        sent_at=now,
        digest=request_files.content_digest(chunk.requests),
    )
    created = ChunkMoved(
        before=written(begun), after=lifecycle.advance(written(begun), BatchCreated(batch_id)), due_at=clock.now()
    )
    ledger.record(
        claim,
        ChunkMoved(before=chunk, after=begun, due_at=now),
        AttemptOpened(attempt=attempt, budget_usd=None),
        created,
        AttemptClosed(token=token, state=AttemptState.CREATED, batch_id=batch_id),
        now=clock.now(),
    )


def absent_at_once(chunk: Chunk, evidence: Evidence, **rules: Any) -> Decision:
    """Decide as production does, but take one empty list for a proof."""
    decided = REAL_DECIDE(chunk, evidence, **rules)
    if chunk.state is ChunkState.AMBIGUOUS and not isinstance(decided, recovery.Adopt):
        return Absent()
    return decided


def held_no_longer(chunk: Chunk, evidence: Evidence, **rules: Any) -> Decision:
    """Decide as production does, but do not wait for a person."""
    decided = REAL_DECIDE(chunk, evidence, **rules)
    return Absent() if chunk.state is ChunkState.UNRESOLVED and not isinstance(decided, recovery.Adopt) else decided


def one_look(chunk: Chunk, sent_at: datetime, evidence: Evidence, recovery: Recovery, bounds: Bounds) -> Decision:
    """Prove an absence by one look after one wait."""
    proved = REAL_PROVE(chunk, sent_at, evidence, recovery, bounds)
    return Absent() if isinstance(proved, LookAgain) else proved


def wager_all(chunk: Chunk, evidence: Evidence, policy: Policy) -> NeedsPerson | Absent:
    """Send again, whatever it may cost."""
    resubmit = REAL_WAGER(chunk, evidence, policy)
    return Absent(abandoned=True) if policy.on_ambiguous is OnAmbiguous.RESUBMIT else resubmit


def adopt_alone(chunk: Chunk, job: Job, batch_id: BatchId, _twins: tuple[BatchId, ...], **tools: Any) -> list[Change]:
    """Adopt a batch, and let its twins run."""
    return REAL_ADOPT(chunk, job, batch_id, (), **tools)


def gone_is_rejected(chunk: Chunk, job: Job, error: ProviderError, *, clock: Any) -> list[Change]:
    """Take "no such batch" for a refusal."""
    if not isinstance(error, Gone):
        return REAL_FAILED(chunk, job, error, clock=clock)
    assert chunk.token is not None
    closed = AttemptClosed(token=chunk.token, state=AttemptState.REFUSED)
    return [ChunkMoved(before=chunk, after=lifecycle.advance(chunk, BatchRejected("")), due_at=clock.now()), closed]


def last_wins(self: Reconciliation, name: str, answer: Answer) -> Placed:
    """Place an answer over whatever was there."""
    placed = REAL_PLACE(self, name, answer)
    key = self._keys.get(name)
    if key is not None:
        self._answers[key] = answer
    return placed


def by_position(self: Reconciliation, name: str, answer: Answer) -> Placed:
    """Give the n-th line to the n-th row."""
    open_keys = [key for key, present in self._answers.items() if present is None]
    names = {key: name for name, key in self._keys.items()}
    return REAL_PLACE(self, names[open_keys[0]] if open_keys and name in self._keys else name, answer)


def foreign_taken_in(self: Reconciliation, name: str, answer: Answer) -> Placed:
    """Give a line that names no row of ours to one that has no answer yet."""
    open_keys = [key for key, present in self._answers.items() if present is None]
    names = {key: name for name, key in self._keys.items()}
    return REAL_PLACE(self, names[open_keys[0]] if open_keys and name not in self._keys else name, answer)


def settled_only_usd(tx: sa.Connection, job_id: JobId) -> Decimal:
    """Count what is settled, and nothing that is only reserved."""
    known = (attempts.c.job_id == job_id, attempts.c.state == AttemptState.CREATED)
    query = sa.select(sa.cast(sa.func.coalesce(sa.func.sum(attempts.c.cost_usd), 0), sa.BigInteger)).where(*known)
    return int(tx.execute(query).scalar_one()) * NANO


def nothing_is_freed(*arguments: Any, **keywords: Any) -> Spending:
    """Take what is reserved for spent, as if no batch could cost less."""
    found = SPENDING(*arguments, **keywords)
    return replace(found, settled=found.settled + found.in_flight, in_flight=Decimal(0))


def pause_unseen(tx: sa.Connection, job: Job, now: datetime) -> None:
    """Pause a job so that a step under way, which has looked before, does not notice."""
    tx.execute(sa.update(jobs).where(jobs.c.id == job.id).values(paused_at=now))


def believed(*_marks: str) -> bool:
    """Take every key for one of the same account."""
    return False


def nothing(*_arguments: Any, **_keywords: Any) -> None:
    """Do nothing."""


def given_up(chunk: Chunk, _error: ProviderError, *, clock: Any) -> ChunkMoved:
    """Give up results at once that are not there yet."""
    return ChunkMoved(before=chunk, after=replace(chunk, error_code=RESULTS_LOST), due_at=clock.now())
