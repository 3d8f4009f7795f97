"""A ledger from all its sides, and short ways to bring it into a state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from orchestrator.domain.changes import Change, ChunkMoved, JobMoved
from orchestrator.domain.model import Chunk, ChunkId, Claim, Job, JobId, JobState, Step
from orchestrator.ledger.admin import SqlAdmin
from orchestrator.ledger.db.database import Database
from orchestrator.ledger.steps import SqlLedger
from tests.builders import JOB, NOW, a_job, added

LEASE_S: Final = 60.0


@dataclass(frozen=True)
class LedgerHarness:
    """One ledger under test."""

    database: Database

    @property
    def ledger(self) -> SqlLedger:
        return SqlLedger(self.database)

    @property
    def admin(self) -> SqlAdmin:
        return SqlAdmin(self.database)

    def open(self, job: Job | None = None, *, shards: int = 1) -> Job:
        """Enter a job, at NOW."""
        return self.admin.open(job or a_job(), shards, now=NOW)

    def claim(
        self, *steps: Step, limit: int = 100, now: datetime = NOW, lease_s: float = LEASE_S, job_id: JobId | None = None
    ) -> list[Claim]:
        """Claim these steps, at NOW."""
        return self.ledger.claim(steps, limit=limit, now=now, lease_s=lease_s, job_id=job_id)

    def write(self, *changes: Change, job_id: JobId = JOB, now: datetime = NOW) -> None:
        """Record changes in the name of the job's review, which stays due."""
        [claim] = self.claim(Step.REVIEW, now=now, job_id=job_id)
        self.ledger.record(claim, *changes, now=now)

    def add(self, *chunks: Chunk, due_at: datetime = NOW) -> None:
        """Enter chunks, each with all its rows in its own shard."""
        for job_id in {chunk.job_id for chunk in chunks}:
            self.write(*(added(chunk, due_at=due_at) for chunk in chunks if chunk.job_id == job_id), job_id=job_id)

    def put_job(self, state: JobState, job_id: JobId = JOB, *, now: datetime = NOW) -> Job:
        """Bring a job into a state."""
        job = self.ledger.job(job_id)
        self.write(JobMoved(before=job, after=replace(job, state=state), due_at=now), job_id=job_id, now=now)
        return self.ledger.job(job_id)

    def move(self, after: Chunk, *, due_at: datetime | None = NOW, now: datetime = NOW) -> None:
        """Bring a chunk from where it is to `after`."""
        before = self.ledger.chunk(after.id)
        self.write(ChunkMoved(before=before, after=after, due_at=due_at), job_id=after.job_id, now=now)


def names(claims: Iterable[Claim]) -> list[str]:
    """Return what was handed out, shortly: a chunk's name, a shard's number, or the job."""
    return [
        ChunkId(claim.unit.chunk_id).rpartition("/")[2]
        if claim.unit.chunk_id is not None
        else f"shard {claim.unit.shard_no}"
        if claim.unit.shard_no is not None
        else claim.unit.job_id
        for claim in claims
    ]
