"""Why a job does not go on by itself: what is held, what is refused, and who takes the account's room.

`batches_in_flight_max` bounds the batches of an account, whichever job they are of.
"""

from __future__ import annotations

from typing import Final

from orchestrator.domain.model import ChunkState, Job, JobId
from orchestrator.domain.review import Totals
from orchestrator.wiring.bench import Workbench

UNSENT: Final = (ChunkState.PLANNED, ChunkState.UPLOADED)


def needs_a_person(bench: Workbench, job_id: JobId) -> bool:
    """Say whether the job can only go on once a person has done something."""
    totals, job = bench.overview.totals(job_id), bench.ledger.job(job_id)
    if is_still(totals) and crowded_by(bench, job, totals) is not None:
        return True  # whatever is planned yet: nothing can be sent
    if totals.live_chunks == 0 or totals.shards_planning:
        return False
    if totals.live_chunks == totals.held_chunks:
        return totals.waiting == 0
    return is_still(totals) and bool(bench.desk.pause_reason(job.account, now=bench.clock.now()))


def is_still(totals: Totals) -> bool:
    """Say whether nothing of the job is under way: it is unsent, held, or over."""
    return totals.live_chunks == totals.held_chunks + sum(totals.chunks.get(state, 0) for state in UNSENT)


def crowded_by(bench: Workbench, job: Job, totals: Totals) -> list[JobId] | None:
    """Return the other jobs whose held creates, with this one's own, take all of the account's room; None: there is
    room, or will be when batches end."""
    room = job.policy.batches_in_flight_max - totals.held_chunks
    if room > 0 and not (totals.shards_planning or any(totals.chunks.get(state) for state in UNSENT)):
        return None  # it wants none
    held = {other: counts[ChunkState.HELD] for other, counts in bench.desk.others_in_flight(job.id).items()}
    return [other for other, count in held.items() if count] if sum(held.values()) >= room else None
