"""Compares the tables of the ledger with each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.audit.findings import Audit, Waste
from orchestrator.domain.model import HAS_BATCH, TERMINAL, AttemptState, ChunkState
from orchestrator.domain.money import exact

if TYPE_CHECKING:
    from decimal import Decimal

    from orchestrator.domain.progress import Totals
    from orchestrator.domain.snapshot import Entry, RowCounts, UnevenShard

UNSENT: Final = frozenset({ChunkState.PLANNED, ChunkState.UPLOADED, ChunkState.SPLITTING, ChunkState.SPLIT})
OVER: Final = frozenset({AttemptState.REFUSED, AttemptState.ABSENT, AttemptState.ABANDONED})


def check_row_counts(audit: Audit, sums: RowCounts) -> None:
    """Compare the job's sums, read in one transaction."""
    audit.rows, audit.succeeded, audit.failed = sums.rows, sums.succeeded, sums.failed + sums.refused
    on_the_way = sums.waiting + sums.live
    ended = sums.succeeded + sums.failed + sums.refused
    audit.same("job", "rows = succeeded + failed + under way", ledger=sums.rows, archive=ended + on_the_way)
    audit.same("job", "rows settled, by shards and by chunks", ledger=sums.settled, archive=ended)
    audit.same("job", "rows sent again, by their chunks and by retry chunks", ledger=sums.resent, archive=sums.retried)
    audit.spend(Waste.DUPLICATE_BATCHES, sums.duplicate_batches)
    if sums.planning:
        audit.under_way["shards being planned"] += sums.planning
    if sums.waiting:
        audit.under_way["rows waiting to be sent again"] += sums.waiting


def check_budget(audit: Audit, totals: Totals, budget_usd: Decimal | None) -> None:
    """Compare what is spent and reserved with the budget.

    A create that does not fit is never sent, so more than the budget can only be reserved where it was lowered since,
    and only be spent where that was so, or the provider charged more than the most that was estimated.
    """
    taken = totals.cost_usd + totals.reserved_usd + totals.possibly_double_paid_usd
    if budget_usd is not None and taken > budget_usd:
        audit.notes.append(
            f"{exact(taken)} is spent or reserved, over policy.budget_usd {exact(budget_usd)}: it was lowered since, "
            "or the provider charged more than was estimated at most"
        )


def check_shard(audit: Audit, shard: UnevenShard) -> None:
    """Report the inconsistent row counts of a shard."""
    unit = f"shard {shard.shard_no}"
    covered = shard.refused + shard.covered
    audit.same(unit, "rows = refused + rows of its chunks", ledger=shard.rows, archive=covered)
    if shard.rows == covered:
        audit.differ(unit, "rows settled", ledger=shard.settled, archive=f"{shard.refused} to {shard.rows}")


def check_entry(audit: Audit, entry: Entry) -> None:
    """Compare a chunk with its creates and with its rows by shard."""
    chunk, sent = entry.chunk, entry.attempts
    tally = chunk.tally
    covered = sum(entry.rows_by_shard.values())
    audit.same(chunk.name, "requests, and its rows by shard", ledger=chunk.request_count, archive=covered)
    audit.same(chunk.name, "failed rows, and those by shard", ledger=tally.failed, archive=entry.failed)
    numbers = [attempt.number for attempt in sent]
    audit.same(chunk.name, "creates by number", ledger=list(range(1, chunk.attempt + 1)), archive=numbers)
    if chunk.state in TERMINAL and chunk.state is not ChunkState.SPLIT:
        accounted = tally.succeeded + tally.standing + tally.failed + tally.waiting + tally.resent
        audit.same(chunk.name, "requests accounted for", ledger=chunk.request_count, archive=accounted)
    if chunk.state is ChunkState.COLLECTED:
        answered = tally.lines - tally.duplicates - tally.foreign - tally.unreadable
        audit.same(chunk.name, "rows answered", ledger=answered, archive=chunk.request_count - tally.missing)
    _check_last(audit, entry)


def _check_last(audit: Audit, entry: Entry) -> None:
    """Compare the chunk's state with its last create."""
    chunk = entry.chunk
    last = entry.attempts[-1] if entry.attempts else None
    for earlier in entry.attempts[:-1]:
        if earlier.state not in OVER:
            audit.differ(f"{chunk.name} create {earlier.number}", "over", ledger=earlier.state, archive="a later one")
    if chunk.state in HAS_BATCH:
        found = (None, None) if last is None else (last.state, last.batch_id)
        audit.same(chunk.name, "batch", ledger=(AttemptState.CREATED, chunk.batch_id), archive=found)
    elif chunk.state in UNSENT and last is not None and last.state not in OVER:
        audit.differ(chunk.name, "unsent, and its last create", ledger=chunk.state, archive=last.state)
    elif chunk.state in (ChunkState.SUBMITTING, ChunkState.AMBIGUOUS) and (
        last is None or last.state is not AttemptState.OPEN
    ):
        audit.differ(chunk.name, "sent, and its last create", ledger=chunk.state, archive=last and last.state)
