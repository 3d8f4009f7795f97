"""The `Provider` port over a simulated provider that keeps its own truth: what was made, what ran, what it cost.

Rule 1: the truth (`batches`, `files`, `late`) is never learned from the ledger.
Rule 2: nothing happens but by a call or by time passing; `settle` brings the truth up to the present.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from orchestrator.domain.batch import BatchStatus, Listed, ResultFile, Submission, Traits
from orchestrator.domain.errors import (
    BadRequest,
    CreateInDoubt,
    CreateRefused,
    Gone,
    NotAuthorized,
    ProviderError,
    RateLimited,
    TooLarge,
    Unavailable,
)
from orchestrator.domain.model import AttemptToken, BatchId, FileId, Outcome
from orchestrator.domain.recovery import Recovery
from tests.fakes.batches import SimulatedBatch, short
from tests.fakes.clock import VirtualClock
from tests.fakes.faults import Rates

LATE_S_MAX: Final = 300.0
LAG_S: Final = 60.0
CLASS_C: Final = Traits(name="simulated-c", recovery=Recovery.UNKNOWABLE)
CLASS_B1: Final = Traits(
    name="simulated-b1",
    recovery=Recovery.FENCED,
    takes_files=True,
    lag_s=LAG_S,
    line_body=b'","method":"POST","url":"/v1/chat/completions","body":',
)


class _Request(msgspec.Struct):
    custom_id: str
    params: msgspec.Raw = msgspec.Raw()
    body: msgspec.Raw = msgspec.Raw()


@dataclass(slots=True)
class _Late:
    """A create that nobody waits for any more, and that is still on its way."""

    lands_at: datetime
    token: AttemptToken
    file_id: FileId | None
    content: bytes


class SimulatedProvider:
    """One account at one provider of class C or B1."""

    def __init__(
        self, traits: Traits, clock: VirtualClock, chance: random.Random, rates: Rates, *, requests_max: int
    ) -> None:
        self._traits = traits
        self._clock = clock
        self._chance = chance
        self._requests_max = requests_max
        self._request = msgspec.json.Decoder(_Request)
        self.rates = rates
        self.batches: dict[BatchId, SimulatedBatch] = {}
        self.files: dict[FileId, bytes | None] = {}  # None: deleted
        self.late: list[_Late] = []
        self.post_count: dict[AttemptToken, int] = {}
        self._names: dict[str, None] = {}  # every custom_id ever seen, in order

    @property
    def traits(self) -> Traits:
        """What the provider is like."""
        return self._traits

    def settle(self) -> None:
        """Let everything happen that is due by now."""
        now = self._clock.now()
        for late in [late for late in self.late if late.lands_at <= now]:
            self.late.remove(late)
            if late.file_id is None or self.files.get(late.file_id) is not None:
                self._make(late.token, late.file_id, late.content)
        for batch in self.batches.values():
            if not batch.ended and batch.ends_at <= now:
                others = ["deadbeef-0-1", *(name for name in self._names if name not in batch.requests)]
                batch.end(self._chance, self.rates, takes_files=self._traits.takes_files, others=others)

    def upload(self, submission: Submission) -> FileId:
        """Store the requests as an input file."""
        content = b"".join(submission.blocks())
        self._falter()
        file_id = FileId(f"file-{len(self.files):04d}")
        self.files[file_id] = content
        self._falter()  # the file is there, and nobody knows
        return file_id

    def create(self, submission: Submission) -> BatchId:
        """Make a batch, or not, and say so, or not."""
        token, file_id = submission.token, submission.file_id
        self.post_count[token] = self.post_count.get(token, 0) + 1
        content = self._content(submission)
        self.settle()
        chance, rates = self._chance, self.rates
        if submission.request_count > self._requests_max:
            raise CreateRefused(TooLarge("too many requests", status=413))
        if chance.random() < rates.refused:
            words = (RateLimited("slow down", status=429, retry_after_s=30.0), Unavailable("no provider", status=503))
            raise CreateRefused(chance.choice(words))
        if chance.random() < rates.bad_request:
            raise CreateRefused(BadRequest("malformed", status=400))
        if chance.random() < rates.not_authorized:
            raise CreateRefused(NotAuthorized("no credit", status=402))
        roll = chance.random()
        if roll < rates.late:
            lands_at = self._clock.now() + timedelta(seconds=chance.random() * LATE_S_MAX)
            self.late.append(_Late(lands_at, token, file_id, content))
            raise CreateInDoubt("timed out")
        if roll < rates.late + rates.lost_before:
            raise CreateInDoubt("connection reset")
        batch_id = self._make(token, file_id, content)
        if roll < rates.late + rates.lost_before + rates.lost_after:
            raise CreateInDoubt("the answer was lost")
        return batch_id

    def _content(self, submission: Submission) -> bytes:
        if not self._traits.takes_files:
            content = b"".join(submission.blocks())
        else:
            assert submission.file_id is not None
            stored = self.files.get(submission.file_id)
            if stored is None:
                raise CreateRefused(BadRequest("there is no such file", status=400))
            content = stored
        assert len(content) == submission.size_bytes
        assert content.count(b"\n") == submission.request_count
        return content

    def _make(self, token: AttemptToken, file_id: FileId | None, content: bytes) -> BatchId:
        chance, rates, now = self._chance, self.rates, self._clock.now()
        parsed = [self._request.decode(line) for line in content.splitlines()]
        requests = {request.custom_id: bytes(request.params) or bytes(request.body) for request in parsed}
        assert len(requests) == len(parsed), "a batch names a row twice"
        self._names.update(dict.fromkeys(requests))
        lasts_s = chance.uniform(20, 600) * (8 if chance.random() < rates.slow else 1)
        batch = SimulatedBatch(
            id=BatchId(f"batch-{len(self.batches):04d}"),
            token=token,
            requests=requests,
            created_at=now,
            visible_at=now + timedelta(seconds=chance.random() * 0.95 * self._traits.lag_s),
            known_at=now + timedelta(seconds=chance.uniform(1, 30) if chance.random() < rates.young_unknown else 0),
            ends_at=now + timedelta(seconds=lasts_s),
            outcome=Outcome.COMPLETED,
            executed_count=len(requests),
            file_id=file_id,
        )
        roll = chance.random()
        if roll < rates.failed:
            batch.outcome, batch.executed_count = Outcome.FAILED, chance.choice((0, len(requests) // 2))
        elif roll < rates.failed + rates.expired:
            batch.outcome, batch.executed_count = Outcome.EXPIRED, chance.randint(0, len(requests))
        elif roll < rates.failed + rates.expired + rates.rejected:
            batch.outcome, batch.executed_count, batch.rejected = Outcome.FAILED, 0, True
        self.batches[batch.id] = batch
        return batch.id

    def status(self, batch_id: BatchId) -> BatchStatus:
        """Say how a batch stands, or stood."""
        self.settle()
        self._falter()
        batch, now = self._known(batch_id), self._clock.now()
        done_count = int(len(batch.requests) * self._progress(batch) * 0.9)
        if not batch.ended or self._chance.random() < self.rates.stale:
            return BatchStatus(outcome=None, done_count=0 if now < batch.ends_at else done_count)
        return BatchStatus(
            outcome=batch.outcome,
            results=f"results of {batch.id}" if batch.files else "",
            done_count=len(batch.succeeded),
            failed_count=len(batch.statuses) - len(batch.succeeded),
            fees_usd=None if self._traits.takes_files else batch.fees_usd,
            error="" if batch.outcome is Outcome.COMPLETED else f"the batch is {batch.outcome}",
            rejected=batch.rejected,
        )

    def results(self, batch_id: BatchId, where: str) -> Iterator[ResultFile]:
        """Stream the results, as far as they are there."""
        self.settle()
        self._falter()
        batch = self._known(batch_id)
        assert where == f"results of {batch.id}"
        if batch.gone_count:
            batch.gone_count -= 1
            raise Gone("the results are not there", status=404)
        is_cut = batch.cut_count > 0
        batch.cut_count -= is_cut
        for name, lines in batch.files.items():
            yield ResultFile(name=name, blocks=self._blocks(short(lines) if is_cut else lines))

    def _blocks(self, lines: list[bytes]) -> Iterator[bytes]:
        content = b"".join(line + b"\n" for line in lines)
        half = len(content) // 2
        yield content[:half]
        self._falter()
        yield content[half:]

    def cancel(self, batch_id: BatchId) -> None:
        """Stop a batch; what has run by then is charged."""
        self.settle()
        self._falter()
        batch = self._known(batch_id)
        if not batch.ended and batch.outcome is not Outcome.CANCELLED:
            ran = int(len(batch.requests) * self._progress(batch))
            batch.outcome, batch.executed_count = Outcome.CANCELLED, min(batch.executed_count, ran)
            batch.rejected = False
            batch.ends_at = min(batch.ends_at, self._clock.now() + timedelta(seconds=self._chance.random() * 60))
        self._falter()

    def find(self, submission_token: str, since: datetime) -> Sequence[Listed]:
        """List batches that bear the mark and are visible by now."""
        self.settle()
        self._falter()
        if not self._traits.takes_files:
            return []
        now = self._clock.now()
        return [
            Listed(batch_id=batch.id, created_at=batch.created_at)
            for batch in self.batches.values()
            if batch.token == submission_token and since <= batch.created_at and batch.visible_at <= now
        ]

    def fence(self, file_id: FileId) -> None:
        """Delete an input file; a batch that was just made from it may fail, uncharged."""
        self.settle()
        self._falter()
        self.files[file_id] = None
        for batch in self.batches.values():
            young = self._clock.now() < batch.created_at + timedelta(seconds=10)
            if batch.file_id == file_id and young and not batch.ended:
                batch.outcome, batch.executed_count, batch.rejected = Outcome.FAILED, 0, False
        self._falter()

    def _known(self, batch_id: BatchId) -> SimulatedBatch:
        batch = self.batches.get(batch_id)
        if batch is None or self._clock.now() < batch.known_at:
            raise Gone("no such batch", status=404)
        return batch

    def _progress(self, batch: SimulatedBatch) -> float:
        lasts_s = (batch.ends_at - batch.created_at).total_seconds()
        return min(1.0, (self._clock.now() - batch.created_at).total_seconds() / max(lasts_s, 1.0))

    def _falter(self) -> None:
        if self._chance.random() < self.rates.transient:
            error: ProviderError = Unavailable("try later", status=503)
            raise error
