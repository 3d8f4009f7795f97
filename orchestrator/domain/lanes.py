"""Which steps may stand in each other's way: four lanes, so that a long download never holds up a look at a batch.

A fleet has a queue for each lane; the local runner has threads for the light lanes and for the heavy ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from orchestrator.domain.model import Step


class Lane(StrEnum):
    """A kind of work."""

    CONTROL = "control"  # short questions to the ledger or the provider
    TRANSFER = "transfer"  # requests on their way to the provider: as long as a create may last
    PLAN = "plan"  # rows to request files: holds a slice of rows in memory
    COLLECT = "collect"  # results to Parquet: holds a chunk's rows in memory


LANE_OF: Final[Mapping[Step, Lane]] = MappingProxyType(
    {
        Step.REVIEW: Lane.CONTROL,
        Step.POLL: Lane.CONTROL,
        Step.CANCEL: Lane.CONTROL,
        Step.RECOVER: Lane.CONTROL,
        Step.SUBMIT: Lane.TRANSFER,
        Step.PLAN: Lane.PLAN,
        Step.RETRY: Lane.PLAN,
        Step.SPLIT: Lane.PLAN,
        Step.COLLECT: Lane.COLLECT,
        Step.FINISH: Lane.COLLECT,
        Step.SEAL: Lane.COLLECT,
    }
)
HEAVY: Final = frozenset({Lane.PLAN, Lane.COLLECT})


def steps_of(*lanes: Lane) -> frozenset[Step]:
    """Return the steps of these lanes."""
    return frozenset(step for step, lane in LANE_OF.items() if lane in lanes)
