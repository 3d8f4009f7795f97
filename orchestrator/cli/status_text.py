"""Prints a job's status: the output of `status`, `submit`, `cancel` and `resolve`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli import text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.api.status import Status, UnresolvedChunk


def status(found: Status) -> str:
    """Return a job's status: its state and counts, then what it waits for."""
    now = found.progress
    lines = [f"{found.job_id}: {found.state.value}. {text.progress(now)}"]
    if found.reason:
        lines.append(f"  stopped: {found.reason}")
    if found.pause_reason:
        lines.append(f"  sending is paused, the provider refuses the account: {found.pause_reason}")
    if now.trouble:
        lines.append(f"  being retried after: {now.trouble}")
    if now.overdue_batches:
        others = f", and {now.overdue_batches - 1:,} more," if now.overdue_batches > 1 else ""
        lines.append(f"  overdue: batch {now.overdue_batch}{others} should have ended more than a day ago")
    if now.unresolved_chunks:
        chunks = text.counted(now.unresolved_chunks, "chunk", "chunks")
        lines.append(
            f"  {chunks} unresolved: their creates may or may not have made a batch. "
            f"Next: orchestrator resolve {found.job_id}"
        )
    return "\n".join(lines)


def submitted(found: Status, work: str) -> str:
    """Return what `submit` prints: the next command, and a warning if no worker or beat is running."""
    lines = [f"{found.job_id}: submitted", f"  orchestrator status {found.job_id} --work {work}"]
    if not found.workers_alive:
        lines.append("  no worker is running on this ledger. Start one: orchestrator worker")
    if not found.beats_alive:
        lines.append("  no beat is running on this ledger. Start one: orchestrator beat")
    return "\n".join(lines)


def unresolved(job_id: str, found: Sequence[UnresolvedChunk]) -> str:
    """Return the unresolved creates, and the commands that resolve them."""
    if not found:
        return f"{job_id}: no chunk is unresolved"
    lines = [f"{job_id}: look for the batches of these creates at the provider, then type what you found:"]
    lines += [
        f"  {one.chunk}  {one.requests:,} requests, sent {one.sent_at.isoformat()}: {one.reason}" for one in found
    ]
    lines.append(f"  orchestrator resolve {job_id} CHUNK --batch ID     the provider has the batch")
    lines.append(f"  orchestrator resolve {job_id} CHUNK --absent       it does not: send the rows again")
    if any("another key" in one.reason for one in found):
        lines.append(
            f"  orchestrator resolve {job_id} --same-account       the key is new, the account (project) the same"
        )
    return "\n".join(lines)
