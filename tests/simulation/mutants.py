"""Broken protocols: each must be caught. A simulator that finds nothing in them would prove nothing.

One of them, `NO_LEASES`, must not be caught: a lease saves effort and keeps no promise.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from orchestrator.ledger.database import Database
from orchestrator.ledger.sql import SqlLedger
from tests.fakes.provider import SimulatedProvider
from tests.fakes.spool import MemorySpool


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What stands where the production code, or its surroundings, would."""

    name: str
    ledger: Callable[[Database], SqlLedger] = SqlLedger
    provider: Callable[[SimulatedProvider], Any] = lambda provider: provider
    spool: Callable[[], MemorySpool] = MemorySpool
    altered: Callable[[], AbstractContextManager[None]] = nullcontext


PRODUCTION = Variant(name="production")
