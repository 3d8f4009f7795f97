"""What must be there by the rules of the lifecycle, although its type allows None."""

from __future__ import annotations

from typing import TypeVar

from orchestrator.domain.errors import LedgerError

T = TypeVar("T")


def required(value: T | None, what: str) -> T:
    """Return `value`. Raises LedgerError where it is None: then the ledger holds what no step ever writes."""
    if value is None:
        raise LedgerError(f"the ledger gives no {what} where there must be one: it was changed by something else")
    return value
