"""What a person's `reread` changes: chunks whose archived results can be read by now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from orchestrator.domain.model import Chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class Reread:
    """A collected chunk with a new part."""

    before: Chunk
    after: Chunk
    read_by_shard: Mapping[int, int]  # rows that have succeeded now
    changed: int  # those, and rows that have another failure now
    cost_usd: Decimal | None

    @property
    def succeeded(self) -> int:
        """Rows that have succeeded now."""
        return sum(self.read_by_shard.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What became of a job by reading its archived results again."""

    read: int = 0  # rows that have an answer now
    failed: int = 0  # rows that were not answered, or failed: `retry` sends them again
    unreadable: int = 0  # rows that still cannot be read
    is_released: bool = False  # it no longer waits for the decision
    is_reopened: bool = False  # its output is written again, as a new revision
