"""Broken protocols: each must be caught. A simulator that finds nothing in them would prove nothing.

One of them, `NO_LEASES`, must not be caught: a lease saves effort and keeps no promise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from types import ModuleType
from typing import Any, Final

from orchestrator.collector import collect
from orchestrator.domain import recovery
from orchestrator.domain.batch import Listed, Submission, Traits
from orchestrator.domain.changes import Change, ChunkMoved, JobMoved, ShardMoved
from orchestrator.domain.errors import CreateInDoubt, CreateRefused, Unavailable
from orchestrator.domain.model import BatchId, Chunk, ChunkState, Claim, FileId, JobId, Step
from orchestrator.domain.reconcile import Answer, Placed, Reconciliation
from orchestrator.domain.recovery import Absent, Decision, Evidence
from orchestrator.ledger.database import Database
from orchestrator.ledger.schema import EPOCH, chunks, jobs, shards
from orchestrator.ledger.sql import SqlLedger
from tests.fakes.provider import SimulatedProvider
from tests.fakes.spool import MemorySpool


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What stands where the production code, or its surroundings, would."""

    name: str
    ledger: Callable[[Database], SqlLedger] = SqlLedger
    provider: Callable[[SimulatedProvider], Any] = lambda provider: provider
    spool: Callable[[], MemorySpool] = MemorySpool
    altered: Callable[[], AbstractContextManager[None]] = nullcontext


PRODUCTION: Final = Variant(name="production")


class NoLeaseLedger(SqlLedger):
    """Hands out what is due whoever has it, and asks nobody for a token."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._own = database

    def claim(
        self, steps: Collection[Step], *, limit: int, now: datetime, lease_s: float, job_id: JobId | None = None
    ) -> list[Claim]:
        """Hand out due steps, and forget at once that they were."""
        claims = super().claim(steps, limit=limit, now=now, lease_s=lease_s, job_id=job_id)
        with self._own.write() as tx:
            for table in (jobs, shards, chunks):
                tx.execute(table.update().where(table.c.lease_until > EPOCH).values(lease_until=EPOCH))
        return claims

    def renew(self, claim: Claim, *, now: datetime, lease_s: float) -> None:
        """There is nothing to renew."""

    def record(self, claim: Claim, *changes: Change, now: datetime, keep: bool = False) -> None:
        """Write, whoever holds the unit by now."""
        unit = claim.unit
        with self._own.read() as connection:
            if unit.chunk_id is not None:
                query = chunks.select().where(chunks.c.id == unit.chunk_id)
            elif unit.shard_no is not None:
                query = shards.select().where(shards.c.job_id == unit.job_id, shards.c.shard_no == unit.shard_no)
            else:
                query = jobs.select().where(jobs.c.id == unit.job_id)
            token = connection.execute(query).mappings().one()["token"]
        super().record(replace(claim, token=token), *changes, now=now, keep=keep)


class NoSwapLedger(NoLeaseLedger):
    """Takes every write for fresh, whatever version it was decided on."""

    def record(self, claim: Claim, *changes: Change, now: datetime, keep: bool = False) -> None:
        """Write over whatever is there."""
        super().record(claim, *(self._refreshed(change) for change in changes), now=now, keep=keep)

    def _refreshed(self, change: Change) -> Change:
        match change:
            case ChunkMoved(before=before):
                return replace(change, before=replace(before, version=self.chunk(before.id).version))
            case ShardMoved(before=before):
                present = self.shard(before.job_id, before.shard_no)
                return replace(change, before=replace(before, version=present.version))
            case JobMoved(before=before):
                return replace(change, before=replace(before, version=self.job(before.id).version))
            case _:
                return change


class _Adapter:
    """A provider's adapter with a flaw."""

    def __init__(self, provider: SimulatedProvider) -> None:
        self._provider = provider

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)


class RetryingAdapter(_Adapter):
    """Sends the POST again when its answer is lost, as the vendors' own libraries do."""

    def create(self, submission: Submission) -> BatchId:
        """Send the POST, and again."""
        try:
            return self._provider.create(submission)
        except CreateInDoubt:
            return self._provider.create(submission)


class HopefulAdapter(_Adapter):
    """Takes a lost answer for a refusal."""

    def create(self, submission: Submission) -> BatchId:
        """Send the POST, and believe in the best."""
        try:
            return self._provider.create(submission)
        except CreateInDoubt as doubt:
            raise CreateRefused(Unavailable(str(doubt))) from doubt


class FencelessAdapter(_Adapter):
    """Leaves the input file where it is."""

    def fence(self, file_id: FileId) -> None:
        """Do nothing."""


class LaglessAdapter(_Adapter):
    """Says that a new batch is in the list at once."""

    @property
    def traits(self) -> Traits:
        """What the provider is like, but for the lag."""
        return replace(self._provider.traits, lag_s=0.0)


class BlindAdapter(_Adapter):
    """Finds nothing, because it asks for the wrong mark."""

    def find(self, submission_token: str, since: datetime) -> Sequence[Listed]:
        """Look for another mark."""
        return self._provider.find(f"not {submission_token}", since)


class LazySpool(MemorySpool):
    """Says that parsed results are in place before they are: the next file but one puts them there."""

    def __init__(self) -> None:
        super().__init__()
        self._pending: list[tuple[str, bytes]] = []

    def _place(self, name: str, content: bytes) -> None:
        if name.startswith("parts/"):
            self._pending.append((name, content))
            return
        if len(self._pending) > 1:
            super()._place(*self._pending.pop(0))
        super()._place(name, content)


def absent_at_once(chunk: Chunk, evidence: Evidence, **rules: Any) -> Decision:
    """Decide as production does, but take one empty list for a proof."""
    decided = REAL_DECIDE(chunk, evidence, **rules)
    if chunk.state is ChunkState.IN_DOUBT and not isinstance(decided, recovery.Adopt):
        return Absent()
    return decided


def last_wins(self: Reconciliation, name: str, answer: Answer) -> Placed:
    """Place an answer over whatever was there."""
    placed = REAL_PLACE(self, name, answer)
    for key in self._answers:
        if name.endswith(f"-{key[0]:x}-{key[1]:x}"):
            self._answers[key] = answer
    return placed


REAL_DECIDE: Final = recovery.decide
REAL_PLACE: Final = Reconciliation.place


def _with(owner: ModuleType | type, name: str, value: Any) -> Callable[[], AbstractContextManager[None]]:
    """Return what puts `value` in the place of a production name, for as long as it is entered."""

    @contextmanager
    def altered() -> Iterator[None]:
        real = getattr(owner, name)
        setattr(owner, name, value)
        try:
            yield
        finally:
            setattr(owner, name, real)

    return altered


NO_LEASES: Final = Variant(name="no leases", ledger=NoLeaseLedger)
# Each with the class of provider at which it must be caught.
MUTANTS: Final = (
    ("c", Variant(name="no compare-and-set", ledger=NoSwapLedger)),
    ("b1", Variant(name="no compare-and-set", ledger=NoSwapLedger)),
    ("c", Variant(name="the POST is retried", provider=RetryingAdapter)),
    ("b1", Variant(name="the POST is retried", provider=RetryingAdapter)),
    ("c", Variant(name="doubt is taken for refusal", provider=HopefulAdapter)),
    ("b1", Variant(name="doubt is taken for refusal", provider=HopefulAdapter)),
    ("b1", Variant(name="no fence", provider=FencelessAdapter)),
    ("b1", Variant(name="no lag", provider=LaglessAdapter)),
    ("b1", Variant(name="the wrong mark", provider=BlindAdapter)),
    ("b1", Variant(name="absent at once", altered=_with(recovery, "decide", absent_at_once))),
    ("c", Variant(name="no count of lines", altered=_with(collect, "SHORT_TRIES_MAX", 0))),
    ("c", Variant(name="no patience for results", altered=_with(collect, "TRIES_MAX", 1))),
    ("c", Variant(name="the ledger before the file", spool=LazySpool)),
    ("c", Variant(name="the last line wins", altered=_with(Reconciliation, "place", last_wins))),
)
