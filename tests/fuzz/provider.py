"""A small provider of each class that keeps its own record: what was sent, what was made, what it cost.

Rule: it believes nothing of the ledger; each create is answered as the test says, whatever it did.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

from orchestrator.domain.batch import BatchStatus, Listed, LostCreate, ResultFile, Submission, Traits
from orchestrator.domain.errors import (
    BadRequest,
    CreateAmbiguous,
    CreateRefused,
    Gone,
    NotAuthorized,
    RateLimited,
    TooLarge,
    Unavailable,
)
from orchestrator.domain.input_file import InputState
from orchestrator.domain.model import AttemptToken, BatchId, FileId, Outcome
from orchestrator.domain.recovery import Recovery
from orchestrator.domain.results_at import Inline, ResultsAt
from orchestrator.ports import Clock
from tests.fakes.answers import failure, success
from tests.fakes.capabilities import Capabilities

FEE_USD: Final = Decimal("0.001")  # of an answer


class Crash(BaseException):
    """The process dies here."""


class How(StrEnum):
    """How a call goes."""

    WELL = "well"
    LOST_BEFORE = "lost before"  # nothing was done, and nobody knows
    LOST_AFTER = "lost after"  # it was done, and nobody knows
    DIES_BEFORE = "dies before"
    DIES_AFTER = "dies after"
    RATE_LIMITED = "rate limited"
    NOT_AUTHORIZED = "not authorized"
    TOO_LARGE = "too large"
    BAD_REQUEST = "bad request"


REFUSALS: Final = {
    How.RATE_LIMITED: RateLimited("slow down", status=429, retry_after_s=5.0),
    How.NOT_AUTHORIZED: NotAuthorized("no credit", status=402),
    How.TOO_LARGE: TooLarge("too large", status=413),
    How.BAD_REQUEST: BadRequest("malformed", status=400),
}


@dataclass(slots=True, kw_only=True)
class Batch:
    """One batch, in truth."""

    id: BatchId
    token: AttemptToken
    requests: dict[str, bytes]
    file_id: FileId | None
    created_at: datetime
    outcome: Outcome | None = None
    failed: frozenset[str] = frozenset()
    fees_usd: Decimal = Decimal(0)

    @property
    def answered(self) -> list[str]:
        """The requests that were answered, and paid for."""
        return (
            [] if self.outcome is not Outcome.COMPLETED else [name for name in self.requests if name not in self.failed]
        )


@dataclass(slots=True, kw_only=True)
class SmallProvider(Capabilities):
    """One account."""

    recovery: Recovery
    clock: Clock
    how: How = How.WELL
    batches: dict[BatchId, Batch] = field(default_factory=dict)
    stored: dict[FileId, bytes | None] = field(default_factory=dict)
    posts: dict[AttemptToken, int] = field(default_factory=dict)

    @property
    def traits(self) -> Traits:
        """The provider's traits."""
        return Traits(name="booked", recovery=self.recovery, settle_s=30.0)

    def upload(self, submission: Submission) -> FileId:
        """Store the requests."""
        self._before()
        file_id = FileId(f"file-{len(self.stored)}")
        self.stored[file_id] = b"".join(submission.blocks())
        self._after()
        return file_id

    def create(self, submission: Submission) -> BatchId:
        """Make a batch, and say so, or not."""
        self.posts[submission.token] = self.posts.get(submission.token, 0) + 1
        if self.how is How.DIES_BEFORE:
            raise Crash
        if self.how is How.LOST_BEFORE:
            raise CreateAmbiguous("reset")
        if self.how in REFUSALS:
            raise CreateRefused(REFUSALS[self.how])
        content = b"".join(submission.blocks())
        if submission.file_id is not None:
            stored = self.stored[submission.file_id]
            if stored is None:
                raise CreateRefused(Unavailable("there is no such file", status=400))
            content = stored
        batch = Batch(
            id=BatchId(f"batch-{len(self.batches)}"),
            token=submission.token,
            requests=dict(_request(line) for line in content.splitlines()),
            file_id=submission.file_id,
            created_at=self.clock.now(),
        )
        self.batches[batch.id] = batch
        if self.how is How.DIES_AFTER:
            raise Crash
        if self.how is How.LOST_AFTER:
            raise CreateAmbiguous("timed out")
        return batch.id

    def status(self, batch_id: BatchId) -> BatchStatus:
        """Say how a batch stands."""
        self._before()
        batch = self.batches[batch_id]
        self._after()
        if batch.outcome is None:
            return BatchStatus(outcome=None)
        done_count = len(batch.answered)
        failed_count = len(batch.failed)
        where = Inline() if done_count or failed_count else None
        return BatchStatus(
            outcome=batch.outcome,
            results=where,
            done_count=done_count,
            failed_count=failed_count,
            fees_usd=batch.fees_usd,
        )

    def results(self, batch_id: BatchId, where: ResultsAt) -> Iterator[ResultFile]:
        """Give the results."""
        assert where
        self._before()
        batch = self.batches[batch_id]
        lines = [success(name, batch.requests[name]) for name in batch.answered]
        lines += [failure(name, 500 if number % 2 else 400) for number, name in enumerate(sorted(batch.failed))]
        yield ResultFile(name="results", blocks=iter([b"".join(line + b"\n" for line in lines)]))
        self._after()

    def cancel(self, batch_id: BatchId) -> None:
        """Stop a batch, unanswered."""
        self._before()
        if self.batches[batch_id].outcome is None:
            self.batches[batch_id].outcome = Outcome.CANCELLED
        self._after()

    def find(self, lost: LostCreate) -> Sequence[Listed]:
        """List the batches of an attempt."""
        self._before()
        if self.recovery is Recovery.UNKNOWABLE:
            return []
        return [
            Listed(batch_id=batch.id, created_at=batch.created_at)
            for batch in self.batches.values()
            if lost.since <= batch.created_at
            and (batch.token == lost.token or (lost.file_id and batch.file_id == lost.file_id))
        ]

    def delete(self, file_id: FileId) -> None:
        """Delete an input file."""
        self._before()
        self.stored[file_id] = None
        self._after()

    def state(self, file_id: FileId) -> InputState:
        """Say how an input file stands."""
        return InputState.READY if self.stored[file_id] is not None else InputState.MISSING

    def end(self, batch: Batch, failed_count: int) -> None:
        """Let a batch come to its end."""
        batch.outcome = Outcome.COMPLETED
        batch.failed = frozenset(sorted(batch.requests)[:failed_count])
        batch.fees_usd = FEE_USD * len(batch.answered)

    def _before(self) -> None:
        if self.how is How.DIES_BEFORE:
            raise Crash
        if self.how is How.NOT_AUTHORIZED:
            raise NotAuthorized("no credit", status=402)
        if self.how is How.BAD_REQUEST:
            raise Gone("not there", status=404)
        if self.how in (How.LOST_BEFORE, How.RATE_LIMITED, How.TOO_LARGE):
            raise Unavailable("try later", status=503)

    def _after(self) -> None:
        if self.how is How.DIES_AFTER:
            raise Crash
        if self.how is How.LOST_AFTER:
            raise Unavailable("the answer was lost")


def _request(line: bytes) -> tuple[str, bytes]:
    name, _, body = line.removeprefix(b'{"custom_id":"').removesuffix(b"}").partition(b'","params":')
    return name.decode(), body
