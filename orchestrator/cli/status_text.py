"""How a job stands, as text: what `status`, `submit`, `cancel` and `resolve` print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.cli import text

if TYPE_CHECKING:
    from orchestrator.api.result import Status


def status(found: Status) -> str:
    """Return how a job stands: its state and counts, then what it waits for."""
    lines = [f"{found.job_id}: {found.state.value}. {text.progress(found.totals)}"]
    if found.reason:
        lines.append(f"  stopped: {found.reason}")
    if found.pause_reason:
        lines.append(f"  sending is paused, the provider refuses the account: {found.pause_reason}")
    if found.totals.trouble:
        lines.append(f"  being retried after: {found.totals.trouble}")
    if found.totals.overdue:
        others = f", and {found.totals.overdue - 1:,} more," if found.totals.overdue > 1 else ""
        lines.append(f"  overdue: batch {found.totals.overdue_batch}{others} should have ended a day ago")
    if found.totals.unresolved_chunks:
        chunks = text.counted(found.totals.unresolved_chunks, "chunk", "chunks")
        lines.append(
            f"  {chunks} unresolved: their creates may or may not have made a batch. "
            f"Next: orchestrator resolve {found.job_id}"
        )
    return "\n".join(lines)


def submitted(found: Status, work: str) -> str:
    """Return what `submit` prints: what to type next, and whether anybody will do the work."""
    lines = [f"{found.job_id}: submitted", f"  orchestrator status {found.job_id} --work {work}"]
    if not found.workers_alive:
        lines.append("  no worker is running on this ledger. Start one: orchestrator worker")
    if not found.beats_alive:
        lines.append("  no beat is running on this ledger. Start one: orchestrator beat")
    return "\n".join(lines)


def unresolved(job_id: str, held: list[dict[str, Any]]) -> str:
    """Return the creates that only a person can settle, and how to settle them."""
    if not held:
        return f"{job_id}: no chunk is unresolved"
    lines = [f"{job_id}: look for the batches of these creates at the provider, then type what you found:"]
    lines += [f"  {one['chunk']}  {one['requests']:,} requests, sent {one['sent_at']}: {one['reason']}" for one in held]
    lines.append(f"  orchestrator resolve {job_id} CHUNK --batch ID     the provider has the batch")
    lines.append(f"  orchestrator resolve {job_id} CHUNK --absent       it does not: send the rows again")
    if any("another key" in one["reason"] for one in held):
        lines.append(
            f"  orchestrator resolve {job_id} --same-account       the key is new, the account (project) the same"
        )
    return "\n".join(lines)
