"""Prints the result of a recovery, and the next commands to type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.restore.restore import Recovered


def recovery_text(found: Sequence[Recovered], work: str) -> str:
    """Return what `orchestrator recover` prints."""
    return "\n".join(line for one in found for line in _lines(one, work))


def _lines(one: Recovered, work: str) -> Iterator[str]:
    if not one.state:
        yield f"{one.job_id}: not changed: {one.reason}"
        return
    counted = ", ".join(f"{count:,} {state}" for state, count in sorted(one.chunks.items()))
    yield f"{one.job_id}: recovered, {one.state}. Chunks: {counted or 'none'}"
    if one.reason:
        yield f"  {one.reason}; they are looked up in the provider's list, or wait for `orchestrator resolve`"
    for batch in one.unexplained:
        yield f"  batch {batch} exists, but no create is known that made it: look it up at the provider"
    yield f"  orchestrator audit {one.job_id} --work {work}"
    yield f"  orchestrator run {one.job_id} --work {work}"
