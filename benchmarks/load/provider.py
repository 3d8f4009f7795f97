"""A provider that is made up: any number of small batches, faults by a seed, a limit of calls a minute.

Rule: it forgets a batch once its results were fetched and it keeps one byte for a row, so that it does not grow.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from orchestrator.domain.batch import BatchStatus, Listed, LostCreate, ResultFile, Submission, Traits
from orchestrator.domain.errors import CreateAmbiguous, CreateRefused, Gone, RateLimited, Unavailable
from orchestrator.domain.input_file import InputState
from orchestrator.domain.model import AttemptToken, BatchId, FileId, Outcome
from orchestrator.domain.recovery import Recovery
from orchestrator.domain.results_at import Inline, ResultsAt
from orchestrator.ports import HasFiles, HasList
from tests.fakes.clock import VirtualClock

REQUEST: Final = re.compile(rb'"custom_id":"([^"]+)".*?"content":"Say row (\d+)')
LINE: Final = (
    b'{"id":"r","custom_id":"%b","response":{"status_code":200,"request_id":"r","body":{"choices":[{"message":{"role":'
    b'"assistant","content":"answer to row %b"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,'
    b'"completion_tokens":3}}},"error":null}\n'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nature:
    """What a provider is like: shares of calls or batches with a fault, and its limit."""

    has_files: bool = False
    lasts_s_min: float = 30 * 86_400.0
    lasts_s_max: float = 30 * 86_400.0
    failing: float = 0.0  # calls answered with a 503
    lost: float = 0.0  # creates whose answer is lost, half of them without a batch
    expiring: float = 0.0  # batches that end with half of their rows
    calls_a_minute: int | None = None

    @classmethod
    def faulty(cls) -> Nature:
        """Return class B1 with batches of one to three days, and a good many faults."""
        return cls(has_files=True, lasts_s_min=86_400, lasts_s_max=3 * 86_400, failing=0.02, lost=0.04, expiring=0.03)

    @classmethod
    def limited(cls, calls_a_minute: int) -> Nature:
        """Return class C with a limit of calls, and batches that do not end."""
        return cls(calls_a_minute=calls_a_minute)


@dataclass(slots=True)
class _Batch:
    token: AttemptToken
    requests: list[tuple[bytes, bytes]]
    created_at: datetime
    ends_at: datetime
    seen_at: datetime
    is_cut: bool


class MadeUpProvider:
    """One account."""

    def __init__(self, nature: Nature, clock: VirtualClock, chance: random.Random, row_count: int) -> None:
        self.nature, self.began_at = nature, clock.now().timestamp()
        self._clock, self._chance = clock, chance
        self._batches: dict[BatchId, _Batch] = {}
        self._stored: dict[FileId, bytes] = {}
        self._paid = bytearray(row_count)
        self._made = self._calls = self._failed = self._refused = self._lost = self._file_count = 0
        self._stale_s_most = 0.0
        self._minute, self._in_minute = 0, 0

    @property
    def traits(self) -> Traits:
        """What it is like for the steps."""
        if self.nature.has_files:
            return Traits(name="made-up", recovery=Recovery.FENCED)
        return Traits(name="made-up", recovery=Recovery.UNKNOWABLE)

    @property
    def files(self) -> HasFiles | None:
        """Input files."""
        return self if self.nature.has_files else None

    @property
    def batch_list(self) -> HasList:
        """The list of batches."""
        return self

    @property
    def running_count(self) -> int:
        """Batches that have not ended, or whose results nobody has fetched."""
        return len(self._batches)

    def account(self) -> dict[str, Any]:
        """Return what it has counted, and how long the batches that are still there were left unasked."""
        now = self._clock.now()
        unasked_s = [(now - batch.seen_at).total_seconds() for batch in self._batches.values()]
        return {
            "batches": self._made,
            "calls": self._calls,
            "failed_calls": self._failed,
            "refused_calls": self._refused,
            "lost_answers": self._lost,
            "paid_twice": sum(count > 1 for count in self._paid),
            "stale_s_most": max([self._stale_s_most, *unasked_s]),
        }

    def upload(self, submission: Submission) -> FileId:
        """Keep an input file."""
        self._call()
        self._file_count += 1
        file_id = FileId(f"file-{self._file_count}")
        self._stored[file_id] = b"".join(submission.blocks())
        return file_id

    def create(self, submission: Submission) -> BatchId:
        """Make a batch, or lose the answer, before or after."""
        try:
            self._call()
        except (RateLimited, Unavailable) as error:
            raise CreateRefused(error) from error
        lost = self._chance.random() < self.nature.lost
        self._lost += lost
        if lost and self._chance.random() < 0.5:
            raise CreateAmbiguous("timed out")
        batch_id = self._make(submission)
        if lost:
            raise CreateAmbiguous("the answer was lost")
        return batch_id

    def _make(self, submission: Submission) -> BatchId:
        content = b"".join(submission.blocks())
        if submission.file_id is not None:
            content = self._stored.pop(submission.file_id)
        self._made += 1
        now, batch_id = self._clock.now(), BatchId(f"batch-{self._made}")
        lasts_s = self._chance.uniform(self.nature.lasts_s_min, self.nature.lasts_s_max)
        self._batches[batch_id] = _Batch(
            token=submission.token,
            requests=REQUEST.findall(content),
            created_at=now,
            ends_at=now + timedelta(seconds=lasts_s),
            seen_at=now,
            is_cut=self._chance.random() < self.nature.expiring,
        )
        return batch_id

    def status(self, batch_id: BatchId) -> BatchStatus:
        """Say how a batch stands."""
        self._call()
        batch, now = self._batches.get(batch_id), self._clock.now()
        if batch is None:
            raise Gone("no such batch", status=404)
        self._stale_s_most = max(self._stale_s_most, (now - batch.seen_at).total_seconds())
        batch.seen_at = now
        if now < batch.ends_at:
            return BatchStatus(outcome=None)
        outcome = Outcome.EXPIRED if batch.is_cut else Outcome.COMPLETED
        return BatchStatus(outcome=outcome, results=Inline(), done_count=len(self._answered(batch)))

    def _answered(self, batch: _Batch) -> list[tuple[bytes, bytes]]:
        return batch.requests[: len(batch.requests) // 2] if batch.is_cut else batch.requests

    def results(self, batch_id: BatchId, where: ResultsAt) -> Iterator[ResultFile]:  # noqa: ARG002 - part of the port
        """Hand out the results, and forget the batch."""
        self._call()
        batch = self._batches.pop(batch_id)
        answered = self._answered(batch)
        for _, row in answered:
            self._paid[int(row)] += 1
        yield ResultFile(name="output", blocks=iter([b"".join(LINE % request for request in answered)]))

    def cancel(self, batch_id: BatchId) -> None:
        """Not asked for here."""
        raise NotImplementedError(batch_id)

    def find(self, lost: LostCreate) -> Sequence[Listed]:
        """List the batches of an attempt."""
        self._call()
        return [
            Listed(batch_id=batch_id, created_at=batch.created_at)
            for batch_id, batch in self._batches.items()
            if batch.token == lost.token
        ]

    def delete(self, file_id: FileId) -> None:
        """Delete an input file."""
        self._call()
        self._stored.pop(file_id, None)

    def state(self, file_id: FileId) -> InputState:
        """Say how an input file stands."""
        return InputState.READY if file_id in self._stored else InputState.MISSING

    def _call(self) -> None:
        """Count a call; refuse it where it is one too many, or one in so many."""
        self._calls += 1
        now_s = self._clock.now().timestamp()
        minute = int(now_s // 60)
        if minute != self._minute:
            self._minute, self._in_minute = minute, 0
        self._in_minute += 1
        if self.nature.calls_a_minute is not None and self._in_minute > self.nature.calls_a_minute:
            self._refused += 1
            raise RateLimited("slow down", status=429, retry_after_s=60 * (minute + 1) - now_s)
        if self._chance.random() < self.nature.failing:
            self._failed += 1
            raise Unavailable("try later", status=503)
