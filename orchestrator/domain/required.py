"""Checks that a value is set where the lifecycle guarantees it and its type allows None."""

from __future__ import annotations

from typing import TypeVar

from orchestrator.domain.errors import LedgerError

T = TypeVar("T")


def required(value: T | None, what: str) -> T:
    """Return `value`. Raises LedgerError where it is None: no step writes such a state."""
    if value is None:
        raise LedgerError(f"the ledger has no {what} where there must be one: another program has changed it")
    return value
