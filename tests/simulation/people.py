"""What people do while jobs run: cancel, resume, resolve, retry; and somebody else with the same credential."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from orchestrator.api.retrying import again_of, send_again
from orchestrator.collector.collect import ABSENT
from orchestrator.collector.reread import reread
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import Chunk, ChunkId, Job, JobState
from orchestrator.domain.required import required
from orchestrator.domain.row_kinds import RowKind
from orchestrator.engine.command_log import record_resolution
from orchestrator.job_files.changed_requests import text_of
from orchestrator.job_files.chunk_rows import later_in, rows_of_kind, unreadable_rows
from orchestrator.job_files.request_files import count_by_shard
from orchestrator.ledger.snapshot import SqlSnapshot
from orchestrator.providers.onerouter.dialect import READER
from tests.fakes.answers import in_known_shape
from tests.simulation.choosing import drawn, workspace_of

if TYPE_CHECKING:
    from tests.simulation.world import SimulatedJob, World

LIVE: Final = (JobState.RUNNING, JobState.STOPPED)
ENDED: Final = (JobState.FINISHED, JobState.CANCELLED)
MORE_USD: Final = Decimal("0.004")


class People:
    """The operators of a world's jobs."""

    def __init__(self, world: World) -> None:
        self._world = world

    def act(self) -> None:
        """Do what is to be done."""
        world, mishaps = self._world, self._world.plan.mishaps
        if world.dice.fires("broken_leases", mishaps.broken_leases):
            world.trace.add("leases are broken")
            for job_id in world.jobs:
                world.admin.break_leases(job_id, now=world.wall.now())
        for what in ("foreign_batch", "foreign_delete", "foreign_cancel"):
            if world.dice.fires(what, getattr(mishaps, what)):
                world.trace.add(f"somebody else {world.provider.meddle(what, world.dice.shape())}")
        for job in world.jobs.values():
            self._tend(job)

    def _tend(self, job: SimulatedJob) -> None:
        world, chance = self._world, self._world.chance
        state, now = world.state(job), world.wall.now()
        if job.wants_to_cancel and state in LIVE and world.clock.elapsed_s >= (job.plan.cancel_at_s or 0.0):
            job.wants_to_cancel = False
            world.trace.add(f"{job.id} is cancelled")
            world.admin.cancel(job.id, now=now)
        if job.pauses and world.state(job) in LIVE:  # it may have been cancelled just now
            self._pause(job)
        if state == JobState.STOPPED and chance.random() < 0.3:
            self._resume(job, world.ledger.job(job.id))
        if state in (*ENDED, JobState.STOPPED) and self.has_unread(job) and chance.random() < 0.3:
            self._reread(job)
        elif state in ENDED and job.retries < job.plan.retries and not self.has_unread(job):
            job.retries += 1
            world.check_end(job)
            self._retry(job)
        if world.oracle.held_count(job):
            for chunk, _attempt in world.admin.unresolved(job.id):
                if chance.random() < (0.5 if world.dice.is_calm else 0.1):
                    self._resolve(chunk)

    def _pause(self, job: SimulatedJob) -> None:
        """Begin the next pause, or end the present one."""
        world, (begin_s, end_s) = self._world, job.pauses[0]
        is_paused, now = world.ledger.job(job.id).paused_at is not None, world.wall.now()
        if is_paused and world.clock.elapsed_s >= end_s:
            world.trace.add(f"{job.id} is resumed")
            job.pauses.pop(0)
            world.admin.end_pause(job.id, now=now)
        elif not is_paused and world.clock.elapsed_s >= begin_s:
            world.trace.add(f"{job.id} is paused")
            world.admin.pause(job.id, now=now)
            world.oracle.paused(job.id)

    def _retry(self, job: SimulatedJob) -> None:
        """Send failed rows again, or answers that were cut off; or whatever rows are chosen."""
        world = self._world
        if job.plan.chooses:
            self._choose(job)
            return
        by_shard = self._truncated(job) if world.plan.reported.truncated else Counter[int]()
        kind = RowKind.TRUNCATED if by_shard else RowKind.FAILED
        rows = [row for row in world.oracle.output(job) if kind in (row["llm_status"], row["llm_error_code"])]
        world.oracle.asked(job, rows)
        pays_again = (
            kind is RowKind.FAILED and job.retries % 2 == 0
        )  # by turns: rows whose answers can never be read are kept, and bought again
        kept = {} if pays_again else self._kept(job)
        count = world.admin.retry(
            job.id, now=world.wall.now(), kind=kind, by_shard=by_shard, kept=kept, pays_again=pays_again
        )
        world.trace.add(f"{count} rows of {job.id} are retried")

    def _choose(self, job: SimulatedJob) -> None:
        """Send rows again as the product's own command does."""
        world, plan = self._world, self._world.plan
        chance = random.Random(f"chosen/{plan.provider}/{plan.seed}/{job.plan.number}/{job.retries}")
        rows, workspace = world.oracle.output(job), workspace_of(world, job)
        wish = drawn(chance, rows)
        told = f"rows {wish.rows} {list(wish.keys)} of {job.id} are chosen, {wish.put}"
        again = again_of(workspace, job.id, wish.rows, wish.keys, {}, pays_again=wish.pays_again)
        again = replace(again, changes=text_of(wish.changes))
        before = world.ledger.job(job.id).revision
        try:
            send_again(workspace, job.id, again)
        except ConfigError as error:
            if "that cannot be read" not in str(error):  # what failed is kept: nothing else is refused
                raise
            told += ": refused"
        if world.ledger.job(job.id).revision > before:
            world.oracle.asked(job, [row for row in rows if wish.fits(row)], wish.put)
        world.trace.add(told)

    def _truncated(self, job: SimulatedJob) -> Counter[int]:
        counts = Counter[int]()
        for entry in SqlSnapshot(self._world.database).entries(job.id):
            chunk = entry.chunk
            if count := chunk.tally.truncated_answers - chunk.unread(RowKind.TRUNCATED):
                later = later_in(self._world.ledger, job.job_files)
                rows = rows_of_kind(job.job_files, chunk, RowKind.TRUNCATED, count, later)
                counts.update(count_by_shard(rows))
        return counts

    def _kept(self, job: SimulatedJob) -> dict[ChunkId, dict[int, int]]:
        return {
            chunk.id: count_by_shard(unreadable_rows(job.job_files, chunk))
            for chunk in self._world.admin.unreadable(job.id)
            if chunk.tally.unreadable_rows
        }

    def has_unread(self, job: SimulatedJob) -> bool:
        """Whether answers are kept that a later reader can read."""
        if not self._world.plan.reported.unknown_shape:
            return False
        batches = self._world.provider.batches
        return any(batches[required(chunk.batch_id, "batch")].unread for chunk in self._unreadable(job))

    def _unreadable(self, job: SimulatedJob) -> list[Chunk]:
        return [
            chunk for chunk in self._world.admin.unreadable(job.id) if chunk.batch_id in self._world.provider.batches
        ]

    def _reread(self, job: SimulatedJob) -> None:
        """Upgrade, and read the archived results again."""
        world = self._world
        collecting = replace(job.context["collecting"], read_line=_read_line)
        chunks = self._unreadable(job)
        found = [reread(chunk, job_files=job.job_files, collecting=collecting) for chunk in chunks]
        done = world.admin.reread(job.id, [one for one in found if one is not None], now=world.wall.now())
        for chunk in chunks:
            batch = world.provider.batches[required(chunk.batch_id, "batch")]
            batch.told |= batch.unread
            batch.unread.clear()
        world.trace.add(f"{done.read} rows of {job.id} are read again")

    def _resume(self, job: SimulatedJob, known: Job) -> None:
        world = self._world
        if known.decision:
            world.trace.add(f"{job.id} is approved after {known.reason}")
            world.admin.approve(job.id, now=world.wall.now())
            return
        world.trace.add(f"{job.id} is resumed after {known.reason}")
        if job.budget_usd is not None and "budget" in known.reason:
            job.budget_usd += MORE_USD
            world.admin.open(
                replace(known, policy=replace(known.policy, budget_usd=job.budget_usd)), 0, now=world.wall.now()
            )
        world.admin.resume(job.id, now=world.wall.now())

    def _resolve(self, chunk: Chunk) -> None:
        """Look the truth up at the provider, once nothing can be on its way any more, and say it."""
        world, token = self._world, str(chunk.token)
        if any(late.token == token for late in world.provider.late):
            return
        needs_us = chunk.error_code == ABSENT or "no longer knows" in chunk.error
        if token in world.switch.kept and chunk.batch_id is None and not needs_us:
            return  # the answer is kept: the program must find it by itself, or the job never ends
        for worker in world.workers:
            if worker.is_busy and worker.claim is not None and worker.claim.unit.chunk_id == chunk.id:
                world.trace.add(f"{worker.name} is stopped by the operator")
                world.kill(worker)
        batches = [batch for batch in world.provider.batches.values() if batch.token == token]
        if chunk.error_code == ABSENT and not any(batch.told | batch.unread for batch in batches):
            world.trace.add(f"the results of {chunk.id} are given up")
            world.admin.give_up_results(chunk.id, now=world.wall.now())
            return
        made = [batch.id for batch in batches]
        for duplicate_batch in made[1:]:
            world.provider.stop(duplicate_batch)
        world.trace.add(f"{chunk.id} is resolved: {made}")
        batch_id = made[0] if made else None
        resolved = world.admin.resolve(chunk.id, batch_id, now=world.wall.now())
        record_resolution(workspace_of(world, world.jobs[chunk.job_id]), resolved, batch_id)


def _read_line(line: bytes, *, keep_raw: bool) -> Any:
    """Read a line as a later version does."""
    return READER(in_known_shape(line), keep_raw=keep_raw)
