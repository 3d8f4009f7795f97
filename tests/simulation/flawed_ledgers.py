"""Ledgers and disks that keep what they are given badly."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from orchestrator.domain.changes import Change, ChunkMoved, JobMoved, RowsSettled, ShardMoved
from orchestrator.domain.model import Claim, JobId, Step
from orchestrator.ledger.db.database import Database
from orchestrator.ledger.db.schema import EPOCH, chunks, jobs, shards
from orchestrator.ledger.steps import SqlLedger
from tests.fakes.dice import Dice
from tests.fakes.disk import SimulatedDisk

TABLES: Final = (jobs, shards, chunks)
TEN_YEARS_S: Final = 10 * 365 * 86_400.0


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
            for table in TABLES:
                tx.execute(table.update().where(table.c.lease_until > EPOCH).values(lease_until=EPOCH))
        return claims

    def renew(self, leases: Mapping[Claim, datetime]) -> frozenset[Claim]:
        """There is nothing to renew, and nothing to lose."""
        return frozenset(leases)

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


class EternalLeaseLedger(SqlLedger):
    """Believes that whatever was handed out will be done: it hands nothing out again."""

    def claim(
        self, steps: Collection[Step], *, limit: int, now: datetime, lease_s: float, job_id: JobId | None = None
    ) -> list[Claim]:
        """Hand out due steps, for ever."""
        return super().claim(steps, limit=limit, now=now, lease_s=lease_s and TEN_YEARS_S, job_id=job_id)


class AcknowledgingLedger(NoLeaseLedger):
    """Takes a unit off its list when it is handed out, as a queue does that acknowledges early."""

    def claim(
        self, steps: Collection[Step], *, limit: int, now: datetime, lease_s: float, job_id: JobId | None = None
    ) -> list[Claim]:
        """Hand out due steps, and strike them off."""
        claims = SqlLedger.claim(self, steps, limit=limit, now=now, lease_s=lease_s, job_id=job_id)
        with self._own.write() as tx:
            for table in TABLES:
                tx.execute(table.update().where(table.c.lease_until > EPOCH).values(lease_until=EPOCH, due_at=None))
        return claims


class DoubleEntryLedger(SqlLedger):
    """Counts every settled row twice."""

    def record(self, claim: Claim, *changes: Change, now: datetime, keep: bool = False) -> None:
        """Write, and write some of it again."""
        again = [
            replace(change, failed={}) for change in changes if isinstance(change, RowsSettled) and change.by_shard
        ]
        super().record(claim, *changes, *again, now=now, keep=keep)


class LazyDisk(SimulatedDisk):
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


class TidyDisk(SimulatedDisk):
    """Takes the provider's own answers away as soon as they have been parsed."""

    def _place(self, name: str, content: bytes) -> None:
        super()._place(name, content)
        if name.startswith("parts/"):
            attempt = name.removeprefix("parts/").rpartition(".parquet")[0].partition(".")[0]
            for raw in [raw for raw in self.files if raw.startswith(f"raw/{attempt}.")]:
                self.remove(raw)


class FolderlessDisk(SimulatedDisk):
    """Syncs files, but not the folders that name them."""

    def _sync_folder(self, name: str) -> None:
        """Do nothing."""


class TrustingDisk(SimulatedDisk):
    """Takes a file that somebody else has put in place for safe: only who puts it there syncs its folder."""

    def exists(self, name: str) -> bool:
        """Say whether a file can be seen."""
        return name in self.files

    def _place(self, name: str, content: bytes) -> None:
        if name not in self.files:
            super()._place(name, content)


class TornDisk(FolderlessDisk):
    """Syncs nothing: after a power loss a file may be there and end anywhere."""

    def _lose(self, name: str, dice: Dice) -> None:
        content = self.files[name]
        self.files[name] = content[: dice.shape().randint(0, len(content))]
