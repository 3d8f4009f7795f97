"""Prints an audit: its totals, and each difference."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.audit.findings import WORDS, Audit, Side
from orchestrator.cli.text import cost, counted
from orchestrator.domain.money import exact


def audit_text(audit: Audit) -> str:
    """Return what `orchestrator audit` prints."""
    return "\n".join(_lines(audit))


def _cost(side: Side) -> str:
    return cost(side.known_cost_usd, side.unpriced)


def _replaced(audit: Audit) -> str:
    """Say which answers are no row's: a person has asked for others."""
    count = audit.ledger.answers - audit.succeeded
    if count <= 0:
        return ""
    is_over = not audit.under_way
    return f"; {counted(count, 'answer', 'answers')} replaced on request{'' if is_over else ', or being replaced'}"


def _lines(audit: Audit) -> Iterator[str]:
    ledger, archive = audit.ledger, audit.archive
    depth = "every file digested and parsed" if audit.deep else "quick; --deep digests and parses every file"
    yield f"Audit of {audit.job_id}, {audit.state} ({depth})"
    yield f"  {'':<12}{'ledger':>20}{'work folder':>20}"
    for name in ("answers", "unanswered", "batches"):
        yield f"  {name:<12}{getattr(ledger, name):>20,}{getattr(archive, name):>20,}"
    yield f"  {'cost':<12}{_cost(ledger):>20}{_cost(archive):>20}"
    yield f"  rows: {audit.rows:,}, {audit.succeeded:,} succeeded, {audit.failed:,} failed{_replaced(audit)}"
    if audit.under_way:
        yield "  under way: " + ", ".join(f"{name} {count:,}" for name, count in sorted(audit.under_way.items()))
    if audit.replaced_usd and audit.answered_usd is not None:
        rows, replaced = exact(audit.answered_usd), exact(audit.replaced_usd)
        yield f"  of the cost: answered rows {rows}, replaced on request {replaced}, the rest paid for nothing"
    yield f"  paid for nothing: {exact(audit.wasted_usd)}"
    for kind, spent in audit.waste.items():
        yield f"    {exact(spent.usd):>16}  {spent.count:,}  {WORDS[kind]}"
    yield from (f"  note: {note}" for note in audit.notes)
    yield f"  differences: {audit.difference_count:,}"
    for one in audit.differences:
        yield f"    {one.unit}: {one.what}: ledger: {one.ledger}; found: {one.archive}"
    if audit.difference_count > len(audit.differences):
        yield f"    … and {audit.difference_count - len(audit.differences):,} more"
