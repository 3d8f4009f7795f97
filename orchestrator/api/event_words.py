"""What has happened to a job, in a person's words: for `orchestrator log` and for the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.domain.timeline import LedgerEvent

# What a person wants to know without being asked; the rest are steps on the way.
ON_THE_WAY: Final = frozenset({"chunk.uploaded", "chunk.submitting", "chunk.ended", "chunk.splitting", "chunk.planned"})
_TROUBLE: Final = ("account.", "chunk.unresolved", "chunk.failed", "chunk.ambiguous", "step.failed", "job.stopped")
_WORDS: Final = {
    "job.opened": "begun",
    "job.resumed": "run again",
    "job.paused": "paused by a person: nothing is sent",
    "job.pause_ended": "goes on after the pause",
    "job.approved": "approved by a person",
    "job.retried": "rows are sent again, because a person asked for it",
    "job.reread": "archived answers were read again",
    "job.recovered": "the ledger was made again from the work folder",
    "job.running": "goes on",
    "job.account_confirmed": "the key is of the same account, a person says",
    "canary.passed": "the canary has come back well: the rest is sent",
    "shard.planned": "planned",
    "shard.finished": "its output is written",
    "account.paused": "sending is paused for the account",
    "account.queue_full": "the account's queue is full",
    "batch.overdue": "should have ended more than a day ago",
    "batch.duplicated": "the provider has made it more than once",
    "results.imperfect": "results with gaps or strange lines",
    "chunk.submitting": "its create is sent",
    "chunk.submitted": "at the provider",
    "chunk.ended": "has ended at the provider",
    "chunk.collected": "collected",
    "chunk.ambiguous": "the answer to its create was lost: the provider is asked",
    "chunk.unresolved": "needs you",
    "chunk.planned": "is sent again",
    "chunk.splitting": "is cut in two",
    "chunk.split": "was cut in two",
    "chunk.resolved": "decided by a person",
    "step.failed": "a step failed",
    "notice.given_up": "a notice was not received",
}


def is_trouble(one: LedgerEvent) -> bool:
    """Return whether it is something that should not be."""
    return one.name.startswith(_TROUBLE)


def told(one: LedgerEvent) -> str:
    """Return what happened, without its time."""
    kind, _, state = one.name.partition(".")
    what = f"shard {one.unit} " if kind == "shard" else f"{one.unit} " if one.unit else ""
    details = ", ".join(_details(one))
    return f"{what}{_WORDS.get(one.name, state)}{f': {details}' if details else ''}"


def _details(one: LedgerEvent) -> Iterator[str]:
    """Yield the details worth telling: not that it is the first attempt, nor the unit's name again."""
    for name, value in one.details.items():
        if (name, value) != ("attempt", 1) and value != one.unit:
            yield f"{name} {value:,}" if isinstance(value, int) else value
