"""A provider that is only simulated, of any class, which keeps its own account of what it made, ran and charged.

Rule 1: what it knows is the truth that everything else is held against; it never looks at the ledger.
Rule 2: nothing happens but by a call or by time passing; `settle` brings the truth up to the present.
Rule 3: its time is the true one, whatever the machines' clocks say.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from orchestrator.domain.batch import BatchStatus, Listed, LostCreate, ResultFile, Submission, Traits
from orchestrator.domain.errors import (
    BadRequest,
    CreateAmbiguous,
    CreateRefused,
    Gone,
    NotAuthorized,
    ProviderError,
    RateLimited,
    TooLarge,
    Unavailable,
)
from orchestrator.domain.faults import Fault
from orchestrator.domain.input_file import InputState
from orchestrator.domain.model import AttemptToken, BatchId, FileId, Outcome
from orchestrator.domain.results_at import Files, ResultsAt
from orchestrator.providers.listing import Fields, Page
from orchestrator.providers.unmarked_batches import UnmarkedBatches
from tests.fakes.batches import HOME, SimulatedBatch, short
from tests.fakes.capabilities import Capabilities
from tests.fakes.classes import KEY_S, LATE_S_MAX, Lists, ProviderClass
from tests.fakes.clock import VirtualClock
from tests.fakes.faults import Temper

# Why a batch is rejected before any of its requests runs; mostly because a queue is full.
REJECTIONS = (Fault.QUEUE, Fault.QUEUE, Fault.PLATFORM, Fault.ROW, Fault.ACCOUNT, Fault.SIZE)
YOUNG_S = 10.0  # a batch whose input file is deleted so soon may fail


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
    account: str


class SimulatedProvider(Capabilities):
    """A provider, called with a key of its account HOME, or of another; see `credentials`."""

    def __init__(
        self,
        kind: ProviderClass,
        clock: VirtualClock,
        chance: random.Random,
        temper: Temper,
        *,
        requests_max: int,
        slow_factor: float = 8.0,
    ) -> None:
        self._kind = kind
        self.clock = clock
        self._chance = chance  # how long things take
        self._requests_max = requests_max
        self._slow_factor = slow_factor
        self._request = msgspec.json.Decoder(_Request)
        self.temper = temper
        self.batches: dict[BatchId, SimulatedBatch] = {}
        self.account = HOME  # whose key the present call bears
        self.stored: dict[FileId, bytes | None] = {}  # None: deleted
        self.owners: dict[FileId, str] = {}  # a file's account
        self.late: list[_Late] = []
        self.post_count: dict[AttemptToken, int] = {}
        self._names: dict[str, None] = {}  # every custom_id ever seen, in order
        self._running: list[SimulatedBatch] = []
        self.traits: Traits = replace(kind.traits, key_mark=HOME)
        self._unmarked = UnmarkedBatches(
            pages=self._pages,
            status_of=self._listed_status,
            count_of=lambda shown: len(self.batches[shown["id"]].requests),
            results=self.results,
        )

    @property
    def states_fees(self) -> bool:
        """Whether it says what a batch cost."""
        return self.files is None

    def settle(self) -> None:
        """Let everything happen that is due by now."""
        now = self.clock.now()
        for late in [late for late in self.late if late.lands_at <= now]:
            self.late.remove(late)
            if late.file_id is None or self.stored.get(late.file_id) is not None:
                self._made(late.token, late.file_id, late.content, late.account)
        ending = [batch for batch in self._running if batch.ends_at <= now]
        for batch in ending:
            self._running.remove(batch)
            others = ["deadbeef-0-1", *(name for name in self._names if name not in batch.requests)]
            if self._kind.lists is Lists.AT_END:
                others = []  # results name the batch's own requests: that is what a batch is known by
            batch.end(self.temper, takes_files=self.files is not None, others=others)

    def upload(self, submission: Submission) -> FileId:
        """Store the requests as an input file."""
        account = self.account  # while the blocks are read, others may call
        content = b"".join(submission.blocks())
        self._falter()
        file_id = FileId(f"file-{len(self.stored):04d}")
        self.stored[file_id], self.owners[file_id] = content, account
        self._falter()  # the file is there, and nobody knows
        return file_id

    def create(self, submission: Submission) -> BatchId:
        """Make a batch, or not, and say so, or not."""
        token, file_id, account = submission.token, submission.file_id, self.account
        self.post_count[token] = self.post_count.get(token, 0) + 1
        content = self._content(submission)
        self.settle()
        self._refuse(submission)
        is_so = self.temper.is_so
        if is_so("late"):
            lands_at = self.clock.now() + timedelta(seconds=self.temper.dice.shape().random() * LATE_S_MAX)
            self.late.append(_Late(lands_at, token, file_id, content, account))
            raise CreateAmbiguous("timed out")
        if is_so("lost_before"):
            raise CreateAmbiguous("connection reset")
        if is_so("page"):
            raise CreateAmbiguous("a web page", answer=b"HTTP 200\n\n<html>")
        batch_id = self._made(token, file_id, content, account)
        if is_so("lost_after"):
            if self._kind.lists is Lists.MARKS and is_so("doubled"):
                duplicate_batch = self._make(token, file_id, content, account)
                duplicate_batch.twin_of, duplicate_batch.visible_at = batch_id, self.batches[batch_id].visible_at
            raise CreateAmbiguous("the answer was lost")
        if is_so("odd"):
            raise CreateAmbiguous("not understood", answer=b'HTTP 200\n\n{"ok":true}')
        made = self.batches[batch_id]
        known = [batch for batch in self.batches.values() if batch.asked_after]
        for kind, ids in (
            ("same_id", [batch.id for batch in known if batch.job == made.job]),
            ("others_id", [batch.id for batch in known if batch.job != made.job]),
        ):
            if ids and self.temper.is_reported(kind):
                made.is_hidden = True
                return self.temper.more_dice.shape().choice(ids)
        return batch_id

    def _refuse(self, submission: Submission) -> None:
        if submission.request_count > self._requests_max:
            raise CreateRefused(TooLarge("too many requests", status=413))
        if self.temper.is_so("refused"):
            words = (RateLimited("slow down", status=429, retry_after_s=30.0), Unavailable("no provider", status=503))
            raise CreateRefused(self.temper.dice.shape().choice(words))
        if self.temper.is_so("bad_request"):
            raise CreateRefused(BadRequest("malformed", status=400))
        if self.temper.is_so("not_authorized"):
            raise CreateRefused(NotAuthorized("no credit", status=402))
        if self.files is not None and self.temper.is_so("unready"):
            raise CreateRefused(Unavailable("the file is not processed", status=400, fault=Fault.PLATFORM))

    def _content(self, submission: Submission) -> bytes:
        if self.files is None:
            content = b"".join(submission.blocks())
        else:
            assert submission.file_id is not None
            stored = self.stored.get(submission.file_id) if self._owns(submission.file_id) else None
            if stored is None:
                raise CreateRefused(_no_file())
            content = stored
        assert len(content) == submission.size_bytes
        assert content.count(b"\n") == submission.request_count
        return content

    def _owns(self, file_id: FileId | None) -> bool:
        return file_id is not None and self.owners.get(file_id) == self.account

    def _made(self, token: AttemptToken, file_id: FileId | None, content: bytes, account: str) -> BatchId:
        """Return the batch of this token: the one that is known, or a new one."""
        if self._kind.knows_tokens:
            known_from = self.clock.now() - timedelta(seconds=KEY_S)
            for batch in self.batches.values():
                if (batch.token, batch.account) == (token, account) and batch.created_at >= known_from:
                    return batch.id
        return self._make(token, file_id, content, account).id

    def _make(self, token: AttemptToken, file_id: FileId | None, content: bytes, account: str) -> SimulatedBatch:
        parsed = [self._request.decode(line) for line in content.splitlines()]
        requests = {request.custom_id: bytes(request.params) or bytes(request.body) for request in parsed}
        assert len(requests) == len(parsed), "a batch names a row twice"
        self._names.update(dict.fromkeys(requests))
        chance, now = self._chance, self.clock.now()
        lasts_s = chance.uniform(20, 600) * (self._slow_factor if self.temper.is_so("slow") else 1)
        batch = SimulatedBatch(
            id=BatchId(f"batch-{len(self.batches):04d}"),
            token=token,
            requests=requests,
            created_at=now,
            visible_at=now + timedelta(seconds=chance.random() * 0.95 * self.traits.lag_s),
            known_at=now + timedelta(seconds=chance.uniform(1, 30) if self.temper.is_so("young_unknown") else 0),
            ends_at=now + timedelta(seconds=lasts_s),
            outcome=Outcome.COMPLETED,
            executed_count=len(requests),
            file_id=file_id,
            account=account,
        )
        self._doom(batch)
        self.batches[batch.id] = batch
        self._running.append(batch)
        return batch

    def _doom(self, batch: SimulatedBatch) -> None:
        count, temper = len(batch.requests), self.temper
        if temper.is_so("failed"):
            batch.outcome, batch.executed_count = Outcome.FAILED, temper.dice.shape().choice((0, count // 2))
        elif temper.is_so("expired"):
            batch.outcome, batch.executed_count = Outcome.EXPIRED, temper.dice.shape().randint(0, count)
        elif temper.is_so("rejected"):
            batch.outcome, batch.executed_count = Outcome.FAILED, 0
            batch.rejected = temper.dice.shape().choice(REJECTIONS)

    def status(self, batch_id: BatchId) -> BatchStatus:
        """Say how a batch stands, or stood."""
        self.settle()
        self._falter()
        batch, now = self._known(batch_id), self.clock.now()
        batch.asked_after = True
        done_count = int(len(batch.requests) * self._progress(batch) * 0.9)
        if not batch.ended or self.temper.is_so("stale"):
            return BatchStatus(outcome=None, done_count=0 if now < batch.ends_at else done_count)
        return BatchStatus(
            outcome=batch.outcome,
            results=batch.results if batch.files else None,
            done_count=len(batch.succeeded),
            failed_count=len(batch.statuses) - len(batch.succeeded),
            fees_usd=batch.fees_usd if self.states_fees else None,
            error="" if batch.outcome is Outcome.COMPLETED else f"the batch is {batch.outcome}",
            rejected=batch.rejected,
            places=(0,) if batch.rejected is Fault.ROW and len(batch.requests) % 2 else (),
        )

    def results(self, batch_id: BatchId, where: ResultsAt) -> Generator[ResultFile]:
        """Stream the results, as far as they are there."""
        self.settle()
        self._falter()
        batch = self._known(batch_id)
        assert isinstance(where, Files)
        promised = {ref.name: ref.line_count for ref in where.refs}
        assert promised.keys() == batch.files.keys()
        if batch.gone_count:
            batch.gone_count -= 1
            raise Gone("the results are not there", status=404)
        is_cut = batch.cut_count > 0
        batch.cut_count -= is_cut
        for name, lines in batch.files.items():
            blocks = self._blocks(short(lines) if is_cut else lines)
            yield ResultFile(name=name, blocks=blocks, line_count=promised[name])

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
        self._known(batch_id)
        self.stop(batch_id)
        self._falter()

    def stop(self, batch_id: BatchId) -> None:
        """Stop a batch, as from the provider's own pages."""
        batch = self.batches[batch_id]
        batch.cancel_asked = True
        if not batch.ended and batch.outcome is not Outcome.CANCELLED:
            ran = int(len(batch.requests) * self._progress(batch))
            batch.outcome, batch.executed_count = Outcome.CANCELLED, min(batch.executed_count, ran)
            batch.rejected = None
            batch.ends_at = min(batch.ends_at, self.clock.now() + timedelta(seconds=self._chance.random() * 60))

    def find(self, lost: LostCreate) -> Sequence[Listed] | None:
        """List batches that bear the mark and are visible by now.

        Where the list shows no marks, it is searched as Anthropic's is: by the results of ended batches.
        """
        self.settle()
        self._falter()
        if self._kind.lists is Lists.NOTHING:
            return []
        if self._kind.lists is Lists.AT_END:
            return self._unmarked.find(lost) or (None if lost.is_other_key else [])
        found = [
            Listed(batch_id=batch.id, created_at=batch.created_at)
            for batch in self._visible()
            if lost.since <= batch.created_at
            and (batch.token == lost.token or (lost.file_id is not None and batch.file_id == lost.file_id))
        ]
        file_id = lost.file_id
        has_file = self._owns(file_id) and file_id is not None and self.stored[file_id] is not None
        return None if lost.is_other_key and not found and not has_file else found

    def _visible(self) -> list[SimulatedBatch]:
        now = self.clock.now()
        return [batch for batch in self.batches.values() if batch.account == self.account and batch.visible_at <= now]

    def _pages(self) -> Iterator[Page]:
        newest_first = self._visible()[::-1]
        shown = [{"id": batch.id, "created_at": batch.created_at.isoformat()} for batch in newest_first]
        yield Page(batches=shown, has_more=False)

    def _listed_status(self, shown: Fields) -> BatchStatus:
        batch = self.batches[shown["id"]]
        if not batch.ended:
            return BatchStatus(outcome=None)
        return BatchStatus(outcome=batch.outcome, results=batch.results if batch.files else None)

    def delete(self, file_id: FileId) -> None:
        """Delete an input file; a batch that was just made from it may fail, uncharged."""
        self.settle()
        self._falter()
        if self._owns(file_id):  # what there is none of counts as deleted
            self._delete(file_id)
        self._falter()

    def state(self, file_id: FileId) -> InputState:
        """Say how a file stands, where it is asked without a mishap."""
        if self.temper.is_so("transient"):
            return InputState.UNKNOWN
        is_there = self._owns(file_id) and self.stored[file_id] is not None
        return InputState.READY if is_there else InputState.MISSING

    def _delete(self, file_id: FileId) -> None:
        self.stored[file_id] = None
        for batch in self._running:
            young = self.clock.now() < batch.created_at + timedelta(seconds=YOUNG_S)
            if batch.file_id == file_id and young:
                batch.outcome, batch.executed_count, batch.rejected = Outcome.FAILED, 0, None

    def meddle(self, what: str, chance: random.Random) -> str:
        """Let somebody else with the same credential do something; say what."""
        self.settle()
        files = [file_id for file_id, content in self.stored.items() if content is not None]
        if what == "foreign_delete" and files:
            file_id = chance.choice(files)
            self._delete(file_id)
            return f"deletes {file_id}"
        if what == "foreign_cancel" and self._running:
            batch = chance.choice(self._running)
            self.stop(batch.id)
            return f"cancels {batch.id}"
        names = list(self._names) or ["deadbeef-0-1"]
        if self._kind.lists is Lists.AT_END:
            names = [f"deadbeef-0-{row}" for row in range(5)]  # a job's custom_ids are no other job's
        body = b'{"messages":[{"role":"user","content":"not ours"}]}'
        requests = dict.fromkeys(chance.sample(names, min(len(names), chance.randint(1, 5))), body)
        lines = (b'{"custom_id":"%s","params":%s}\n' % (name.encode(), body) for name in requests)
        batch = self._make(AttemptToken(f"foreign {len(self.batches)}"), None, b"".join(lines), HOME)
        return f"makes {batch.id}"

    def _known(self, batch_id: BatchId) -> SimulatedBatch:
        batch = self.batches.get(batch_id)
        if batch is None or batch.account != self.account or self.clock.now() < batch.known_at:
            raise Gone("no such batch", status=404)
        return batch

    def _progress(self, batch: SimulatedBatch) -> float:
        lasts_s = (batch.ends_at - batch.created_at).total_seconds()
        return min(1.0, (self.clock.now() - batch.created_at).total_seconds() / max(lasts_s, 1.0))

    def _falter(self) -> None:
        if self.temper.is_so("transient"):
            error: ProviderError = Unavailable("try later", status=503)
            raise error


def _no_file() -> ProviderError:
    error = Unavailable("no such file", status=400, fault=Fault.PLATFORM)
    error.names_no_file = True
    return error
