"""Four queues of steps; a long download in one queue never delays a poll in another.

A fleet has a broker queue for each; the local runner has separate threads for light and for heavy steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from orchestrator.domain.model import Step


class Queue(StrEnum):
    """A kind of work."""

    CONTROL = "control"  # short calls to the ledger or the provider
    TRANSFER = "transfer"  # sending requests to the provider: as long as a create may take
    PLAN = "plan"  # rows to request files: holds a slice of rows in memory
    COLLECT = "collect"  # results to Parquet: holds a chunk's rows in memory


QUEUE_OF: Final[Mapping[Step, Queue]] = MappingProxyType(
    {
        Step.REVIEW: Queue.CONTROL,
        Step.POLL: Queue.CONTROL,
        Step.CANCEL: Queue.CONTROL,
        Step.RECOVER: Queue.CONTROL,
        Step.SUBMIT: Queue.TRANSFER,
        Step.PLAN: Queue.PLAN,
        Step.RETRY: Queue.PLAN,
        Step.SPLIT: Queue.PLAN,
        Step.COLLECT: Queue.COLLECT,
        Step.FINISH: Queue.COLLECT,
        Step.SEAL: Queue.COLLECT,
    }
)
HEAVY: Final = frozenset({Queue.PLAN, Queue.COLLECT})


def steps_of(*queues: Queue) -> frozenset[Step]:
    """Return the steps of these queues."""
    return frozenset(step for step, queue in QUEUE_OF.items() if queue in queues)
