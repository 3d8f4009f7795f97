"""Rebuilds the creates of a chunk from their records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from orchestrator.domain.model import Attempt, AttemptState, AttemptToken, BatchId, Chunk
from orchestrator.job_files import request_files

if TYPE_CHECKING:
    from orchestrator.job_files.create_journal import Intent
    from orchestrator.job_files.records import Collected


@dataclass(frozen=True, slots=True, kw_only=True)
class Creates:
    """The creates of a job, as far as they are on record."""

    batches: Mapping[AttemptToken, BatchId]
    resubmits: bool  # whether an ambiguous create may be sent again
    now: datetime

    def of(
        self,
        chunk: Chunk,
        count: int,
        intents: Mapping[int, Intent],
        collected: Collected | None,
        *,
        over: bool = False,
    ) -> tuple[Attempt, ...]:
        """Return the creates 1 to `count`; a create without a record is known to have made nothing."""
        return tuple(
            self._one(chunk, number, intents.get(number), collected, over=over or number < count)
            for number in range(1, count + 1)
        )

    def _one(
        self, chunk: Chunk, number: int, intent: Intent | None, collected: Collected | None, *, over: bool
    ) -> Attempt:
        token = AttemptToken(f"forgotten-{chunk.id}.a{number}") if intent is None else intent.token
        if intent is None and not over and collected is not None:
            token = collected.token
        batch_id = self.batches.get(token)
        return Attempt(
            token=token,
            chunk_id=chunk.id,
            number=number,
            state=self._state(intent, over=over, made=batch_id is not None or (collected is not None and not over)),
            reserved_usd=Decimal(0) if intent is None else intent.reserved_usd,
            cost_usd=None if over or collected is None else collected.cost_usd,
            batch_id=batch_id,
            sent_at=self.now if intent is None else intent.sent_at,
            digest=request_files.content_digest(chunk.requests),
            key_mark="" if intent is None else intent.key_mark,
        )

    def _state(self, intent: Intent | None, *, over: bool, made: bool) -> AttemptState:
        if not over:
            return AttemptState.CREATED if made else AttemptState.OPEN
        if intent is None or made:
            return AttemptState.REFUSED
        return AttemptState.ABANDONED if self.resubmits else AttemptState.ABSENT
