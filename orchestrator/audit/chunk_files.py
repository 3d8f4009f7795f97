"""Compares a chunk of the ledger with its files: requests, the provider's answer to each create, results.

Rule 1: a file is in place before the ledger names it. So the ledger is read first, and a file that is not there
        afterwards is missing.
Rule 2: only a few columns of a part are read, a few thousand rows at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import zstandard

from orchestrator.audit.findings import Audit, Waste
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.model import TERMINAL, Attempt, AttemptState, Chunk, ChunkState, Tally
from orchestrator.domain.row_kinds import FLAWED
from orchestrator.job_files import create_journal, records
from orchestrator.job_files.result_parts import batches_of

if TYPE_CHECKING:
    from orchestrator.domain.snapshot import Entry
    from orchestrator.ports import JobFiles

# Exceptions seen when a damaged file is read: the readers expect files as they were written.
DAMAGE: Final = (
    *(OrchestratorError, pa.ArrowException, zstandard.ZstdError, OSError, ValueError),
    *(LookupError, TypeError, ArithmeticError, AssertionError),
)


COUNTED: Final = ["succeeded", "cost_usd", "error_code"]
AS_COLLECTED: Final = ("succeeded", "missing", "lines", "duplicates", "foreign", "unreadable", "unpriced")


@dataclass(slots=True)
class PartSums:
    """Counts and sums of a part's rows."""

    succeeded: int = 0
    failed: int = 0
    flaws: Counter[str] = field(default_factory=Counter)  # of the succeeded, by kind
    unpriced: int = 0  # of the succeeded
    cost_usd: Decimal = Decimal(0)
    failed_usd: Decimal = Decimal(0)


@contextmanager
def damage(audit: Audit, unit: str, what: str) -> Iterator[None]:
    """Report a file that cannot be read as a difference."""
    try:
        yield
    except DAMAGE as error:
        audit.differ(unit, what, ledger="in place", archive=_message(error))


def _message(error: BaseException) -> str:
    # Our errors name files only. A library's message may quote what it was reading.
    return str(error) if isinstance(error, OrchestratorError) else f"cannot be read ({type(error).__name__})"


def check_files(audit: Audit, entry: Entry, job_files: JobFiles) -> None:
    """Compare a chunk with its files, and add it to both sides' sums."""
    chunk = entry.chunk
    if chunk.state not in TERMINAL:
        audit.under_way[f"chunks {chunk.state}"] += 1
    if chunk.requests and chunk.state is not ChunkState.SPLIT and not job_files.exists(chunk.requests):
        audit.differ(chunk.name, "file of requests", ledger=chunk.requests, archive="missing")
    for attempt in entry.attempts:
        _check_create(audit, chunk, attempt, job_files)
    answered = chunk.tally.succeeded + chunk.tally.reopened
    audit.ledger.answers += answered
    if chunk.state is ChunkState.COLLECTED:
        audit.ledger.unanswered += chunk.request_count - answered
        audit.spend(Waste.REPEATED, chunk.tally.duplicates)
        audit.spend(Waste.UNPLACED, chunk.tally.foreign + chunk.tally.unreadable)
        _check_results(audit, entry, job_files)
    elif chunk.state is ChunkState.REUSED:
        _check_part(audit, entry, job_files)


def _check_create(audit: Audit, chunk: Chunk, attempt: Attempt, job_files: JobFiles) -> None:
    """Compare one create with the provider's answer to it."""
    unit, name = f"{chunk.name} create {attempt.number}", create_journal.journal_name(attempt.token)
    if attempt.cost_usd is not None:
        audit.ledger.cost_usd += attempt.cost_usd
    if attempt.state is AttemptState.ABANDONED:
        audit.spend(Waste.MAYBE_TWICE, 1, attempt.reserved_usd)
    elif attempt.state is not AttemptState.CREATED and attempt.cost_usd:
        audit.spend(Waste.THROWN_AWAY, 1, attempt.cost_usd)
    if attempt.batch_id is None:
        return
    audit.ledger.batches += 1
    if not job_files.exists(name):
        audit.differ(unit, "journal", ledger=attempt.batch_id, archive=f"{name} is missing")
        return
    with damage(audit, unit, "journal"):
        created = create_journal.read_journal_file(job_files, name)
        audit.archive.batches += 1
        found = (created.token, created.batch_id)
        audit.same(unit, "batch in the journal", ledger=(attempt.token, attempt.batch_id), archive=found)
    if attempt.state is not AttemptState.CREATED:
        return
    intended = create_journal.intent_name(attempt.token)
    if not job_files.exists(intended):
        audit.differ(unit, "intent", ledger=attempt.token, archive=f"{intended} is missing")
        return
    with damage(audit, unit, "intent"):
        intent = create_journal.read_intent(job_files, intended)
        begun = (intent.chunk, intent.attempt, intent.requests)
        audit.same(unit, "what was sent", ledger=(chunk.name, attempt.number, chunk.requests), archive=begun)


def _check_results(audit: Audit, entry: Entry, job_files: JobFiles) -> None:
    """Compare a collected chunk with its part and the record beside it."""
    if _check_part(audit, entry, job_files):
        _check_record(audit, entry, job_files)


def _check_part(audit: Audit, entry: Entry, job_files: JobFiles) -> bool:
    """Compare a chunk with its part; False where there is none."""
    chunk = entry.chunk
    if not job_files.exists(chunk.part):
        audit.differ(chunk.name, "parsed results", ledger=chunk.part, archive="missing")
        return False
    sums = None
    with damage(audit, chunk.name, "parsed results"):
        sums = sums_of(job_files, chunk.part)
    if sums is not None:
        answered = chunk.tally.succeeded + chunk.tally.reopened
        failed = chunk.tally.failed + chunk.tally.standing + chunk.tally.waiting + chunk.tally.resent
        audit.same(chunk.name, "rows succeeded", ledger=answered, archive=sums.succeeded)
        audit.same(chunk.name, "rows failed", ledger=failed - chunk.tally.reopened, archive=sums.failed)
        audit.same(chunk.name, "answers without a cost", ledger=chunk.tally.unpriced, archive=sums.unpriced)
        if chunk.tally.reopened:
            ours, found = sum(map(chunk.own_answers, FLAWED)), sums.flaws.total()
            most = ours + chunk.tally.reopened  # of which some may have been whole
            if not ours <= found <= most:
                audit.differ(chunk.name, "answers that are not whole", ledger=f"{ours} to {most}", archive=found)
        else:
            for kind in FLAWED:
                audit.same(chunk.name, f"{kind} answers", ledger=chunk.own_answers(kind), archive=sums.flaws[kind])
        audit.archive.answers += sums.succeeded
        audit.archive.unanswered += sums.failed
        audit.spend(Waste.FAILED if chunk.round <= 1 else Waste.IN_VAIN, _charged(sums), sums.failed_usd)
        _check_cost(audit, entry, sums)
    return True


def _charged(sums: PartSums) -> int:
    return sums.failed if sums.failed_usd else 0


def _check_cost(audit: Audit, entry: Entry, sums: PartSums) -> None:
    """Check that the ledger's cost is the sum of the part's rows, or the provider's own figure."""
    chunk = entry.chunk
    cost_usd = entry.attempts[-1].cost_usd if entry.attempts else None
    charged_usd = sums.cost_usd
    if chunk.fees_usd is not None and sums.cost_usd == 0:  # no answered row to share the cost out to
        charged_usd = chunk.fees_usd
        audit.spend(Waste.LOST, 1 if charged_usd else 0, charged_usd)
    audit.ledger.unpriced += chunk.tally.unpriced
    audit.archive.unpriced += sums.unpriced
    if cost_usd is None and (charged_usd == 0 or sums.unpriced):
        return  # not known as a whole, so the ledger has none of it
    audit.archive.cost_usd += charged_usd
    audit.same(chunk.name, "cost, USD", ledger=cost_usd, archive=charged_usd)


def _check_record(audit: Audit, entry: Entry, job_files: JobFiles) -> None:
    chunk, name = entry.chunk, records.collected_name(entry.chunk.part)
    if not job_files.exists(name):
        audit.differ(chunk.name, "record of what the batch gave", ledger=chunk.part, archive=f"{name} is missing")
        return
    with damage(audit, chunk.name, "record of what the batch gave"):
        found = records.read_collected(job_files, name)
        audit.same(chunk.name, "batch collected", ledger=chunk.batch_id, archive=found.batch_id)
        audit.same(chunk.name, "how the batch ended", ledger=chunk.outcome, archive=found.outcome)
        for count in AS_COLLECTED:
            ours, theirs = as_collected(chunk.tally, count), getattr(found.tally, count)
            audit.same(chunk.name, f"{count}, as collected", ledger=ours, archive=theirs)
        cost_usd = entry.attempts[-1].cost_usd if entry.attempts else None
        if found.cost_usd is not None:
            audit.same(chunk.name, "cost as collected, USD", ledger=cost_usd, archive=found.cost_usd)
        for raw in found.raw:
            if not job_files.exists(raw):
                audit.differ(chunk.name, "raw results", ledger=raw, archive="missing")


def as_collected(tally: Tally, count: str) -> int:
    """Return a count as it was before rows with an answer were sent again on a person's demand."""
    value: int = getattr(tally, count)
    return value + tally.reopened if count == "succeeded" else value


def sums_of(job_files: JobFiles, part: str) -> PartSums:
    """Add up a part's rows."""
    sums = PartSums()
    with job_files.open(part) as file:
        for batch in batches_of(file, COUNTED):
            failed, succeeded = batch.filter(pc.invert(batch["succeeded"])), batch.filter(batch["succeeded"])
            sums.failed += failed.num_rows
            sums.succeeded += succeeded.num_rows
            sums.unpriced += succeeded["cost_usd"].null_count
            for kind in pc.value_counts(succeeded["error_code"].drop_null()).to_pylist():
                sums.flaws[kind["values"]] += kind["counts"]
            sums.cost_usd += _total(batch["cost_usd"])
            sums.failed_usd += _total(failed["cost_usd"])
    return sums


def _total(amounts: Any) -> Decimal:
    total: Decimal | None = pc.sum(amounts).as_py()
    return total or Decimal(0)
