"""Claims due steps in the ledger, commits, then sends their messages. Any process may do so at any time.

Rule 1: a queue is kept short: its messages hold claims, so no other process can work on their units meanwhile.
Rule 2: a claim whose message was not sent or was lost is free again after EXPIRES_S.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final, Protocol

from orchestrator.domain.model import Claim
from orchestrator.domain.queues import Queue, steps_of
from orchestrator.fleet.broker import EXPIRES_S
from orchestrator.ports import Clock, Ledger

# No more than a few processes can handle well before the messages expire.
LENGTH_MAX: Final[Mapping[Queue, int]] = MappingProxyType(
    {Queue.CONTROL: 64, Queue.TRANSFER: 8, Queue.PLAN: 4, Queue.COLLECT: 8}
)


class Outlet(Protocol):
    """The queues of messages: `orchestrator.fleet.broker.Queues`."""

    def lengths(self) -> Mapping[Queue, int]:
        """Return how many messages wait in each queue."""
        ...

    def send(self, claims: Iterable[Claim]) -> None:
        """Send a message for each claim to its queue."""
        ...


def hand_out(ledger: Ledger, clock: Clock, broker: Outlet, served: Collection[Queue]) -> int:
    """Fill every queue that is half empty with due steps; return how many were sent.

    Args:
        served: queues that a running worker serves. Other work stays in the ledger, where an autoscaler sees it.
    """
    now, sent = clock.now(), 0
    due = ledger.due(now=now) & steps_of(*served)
    if not due:
        return sent
    for queue, length in broker.lengths().items():
        room = LENGTH_MAX[queue] - length
        steps = due & steps_of(queue)
        if not steps or room * 2 < LENGTH_MAX[queue]:
            continue
        claims = ledger.claim(steps, limit=room, now=clock.now(), lease_s=EXPIRES_S)
        if claims:
            broker.send(claims)
            sent += len(claims)
    return sent
