"""Handing out: claim what is due in the ledger, commit, then send. Whoever does it, however often, nothing is doubled.

Rule 1: a queue is kept short: what waits in one is claimed, and nobody else may look at it meanwhile.
Rule 2: a claim that was not sent, or whose message was lost, is free again after EXPIRES_S.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final, Protocol

from orchestrator.domain.lanes import Lane, steps_of
from orchestrator.domain.model import Claim
from orchestrator.ports import Clock, Ledger
from workers.broker import EXPIRES_S

# Not more than a few processes work off well before the messages expire.
LENGTH_MAX: Final[Mapping[Lane, int]] = MappingProxyType(
    {Lane.CONTROL: 64, Lane.TRANSFER: 8, Lane.PLAN: 4, Lane.COLLECT: 8}
)


class Outlet(Protocol):
    """Where messages go: `workers.broker.Queues`."""

    def lengths(self) -> Mapping[Lane, int]:
        """Return how many messages wait in each lane."""
        ...

    def send(self, claims: Iterable[Claim]) -> None:
        """Send what was claimed to its lanes."""
        ...


def hand_out(ledger: Ledger, clock: Clock, queues: Outlet, lanes: Collection[Lane]) -> int:
    """Fill up every queue that is half empty with due steps; return how many were sent.

    Args:
        lanes: those that somebody serves. What is due in another stays where an autoscaler sees it: in the ledger.
    """
    now, sent = clock.now(), 0
    due = ledger.due(now=now) & steps_of(*lanes)
    if not due:
        return sent
    for lane, length in queues.lengths().items():
        room = LENGTH_MAX[lane] - length
        steps = due & steps_of(lane)
        if not steps or room * 2 < LENGTH_MAX[lane]:
            continue
        claims = ledger.claim(steps, limit=room, now=clock.now(), lease_s=EXPIRES_S)
        if claims:
            queues.send(claims)
            sent += len(claims)
    return sent
