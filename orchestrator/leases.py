"""Keeping a claim for as long as the work on it takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from orchestrator.domain.model import Claim
    from orchestrator.ports import Clock, Ledger

LEASE_S: Final = 120.0


@dataclass(slots=True)
class Renewal:
    """Renews a claim now and then. A step calls `keep` as often as it likes while it is at work."""

    claim: Claim
    ledger: Ledger
    clock: Clock
    _renewed_at: datetime = field(init=False)

    def __post_init__(self) -> None:
        self._renewed_at = self.clock.now()

    def keep(self) -> None:
        """Renew the claim once a quarter of its time is over. Raises LeaseLost, so that nobody works in vain."""
        now = self.clock.now()
        if now - self._renewed_at > timedelta(seconds=LEASE_S / 4):
            self.ledger.renew(self.claim, now=now, lease_s=LEASE_S)
            self._renewed_at = now
