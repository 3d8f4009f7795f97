"""Why a job cannot continue by itself: unresolved creates, an account that the provider refuses, or no capacity.

`batches_in_flight_max` limits the batches of an account, whichever job they belong to.
"""

from __future__ import annotations

from typing import Final

from orchestrator.domain.model import TERMINAL, UNSENT, Canary, ChunkState, Job, JobId
from orchestrator.domain.progress import Totals
from orchestrator.engine.workspace import Workspace

# Not AMBIGUOUS: what became of such a create may take days to find out, and a person is wanted now.
_IN_FLIGHT: Final = (ChunkState.SUBMITTING, ChunkState.SUBMITTED, ChunkState.ENDED)


def needs_person(workspace: Workspace, job_id: JobId) -> bool:
    """Return whether the job can only continue after a person has acted."""
    totals, job = workspace.ledger.totals(job_id), workspace.ledger.job(job_id)
    if job.canary is Canary.OPEN and _waits_for_canary(workspace, job_id):
        return True  # even while the rest is planned: it must not be sent
    if is_idle(totals) and at_capacity(workspace, job, totals) is not None:
        return True  # even while shards are still to be planned: nothing can be sent
    if totals.unresolved_chunks and is_idle(totals) and totals.budget_wait(job.policy.budget_usd):
        return True  # what they may have cost is free only once a person has resolved them
    if _sent_or_unsent(totals) == 0 or totals.shards_planning:
        return False
    if _sent_or_unsent(totals) == totals.unresolved_chunks:
        return totals.waiting == 0
    return is_idle(totals) and workspace.admin.pause_needs_person(job.account, now=workspace.clock.now())


def _waits_for_canary(workspace: Workspace, job_id: JobId) -> bool:
    """Return whether every chunk of the canary that has not ended is unresolved."""
    live = [chunk.state for chunk in workspace.ledger.canary(job_id) if chunk.state not in TERMINAL]
    return bool(live) and all(state is ChunkState.UNRESOLVED for state in live)


def is_idle(totals: Totals) -> bool:
    """Return whether every live chunk of the job is unsent or unresolved, so that no step can complete by itself."""
    return _sent_or_unsent(totals) == totals.unresolved_chunks + sum(totals.chunks.get(state, 0) for state in UNSENT)


def _sent_or_unsent(totals: Totals) -> int:
    """Return how many chunks are live, without duplicates: those wait for the others."""
    return totals.live_chunks - totals.chunks.get(ChunkState.DUPLICATE, 0)


def is_in_flight(totals: Totals) -> bool:
    """Return whether the provider has a batch of the job whose results are still to be collected."""
    return any(totals.chunks.get(state) for state in _IN_FLIGHT)


def at_capacity(workspace: Workspace, job: Job, totals: Totals) -> list[JobId] | None:
    """Return the other jobs whose unresolved creates, together with this job's, use up the account's capacity.

    None where there is capacity, or will be once batches end.
    """
    room = job.policy.batches_in_flight_max - totals.unresolved_chunks
    if room > 0 and not (totals.shards_planning or any(totals.chunks.get(state) for state in UNSENT)):
        return None  # the job has nothing left to send
    unresolved = {
        other: counts[ChunkState.UNRESOLVED] for other, counts in workspace.admin.others_in_flight(job.id).items()
    }
    return [other for other, count in unresolved.items() if count] if sum(unresolved.values()) >= room else None
