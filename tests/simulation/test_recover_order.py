"""Moments that seeds seldom meet, written out: who sleeps after asking, and a provider that wants to be left alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.batches.recover import RETRY_AFTER_S_MAX, recover
from orchestrator.domain.batch import Listed, LostCreate
from orchestrator.domain.changes import AttemptOpened
from orchestrator.domain.errors import RateLimited
from orchestrator.domain.model import AttemptToken, ChunkState, Claim, FileId, Step
from orchestrator.ledger.admin import SqlAdmin
from orchestrator.ledger.steps import SqlLedger
from tests.builders import a_chunk, a_job, added, an_attempt
from tests.fakes.classes import B1, LAG_S
from tests.fakes.clock import BEGINNING, VirtualClock
from tests.fakes.faults import CALM, Temper
from tests.fakes.job_files import MemoryJobFiles
from tests.fakes.provider import SimulatedProvider
from tests.simulation.context import an_empty_ledger


class SleepyProvider(SimulatedProvider):
    """Answers at once; whoever asked gets to read it much later."""

    def find(self, lost: LostCreate) -> Sequence[Listed] | None:
        """List what is visible now, and then let time pass."""
        found = super().find(lost)
        self.clock.advance(10 * LAG_S)
        return found


class BusyProvider(SimulatedProvider):
    """Has no time for lists."""

    retry_after_s: float = 0.0

    def find(self, lost: LostCreate) -> Sequence[Listed]:  # noqa: ARG002 - part of the port
        """Ask to be left alone."""
        raise RateLimited("too many lists", status=429, retry_after_s=self.retry_after_s)


class Scene:
    """A ledger with one chunk in doubt, fenced, and its next look claimed."""

    def __init__(self) -> None:
        self.clock = VirtualClock(random.Random(0))
        self.database = an_empty_ledger()
        self.ledger = SqlLedger(self.database)
        SqlAdmin(self.database).open(a_job(), 1, now=BEGINNING)
        token = AttemptToken("t")
        fenced: dict[str, Any] = {
            "token": token,
            "file_id": FileId("file-0000"),
            "sent_at": BEGINNING,
            "fenced_at": BEGINNING,
        }
        self.chunk = a_chunk(state=ChunkState.AMBIGUOUS, **fenced)
        [planning] = self.ledger.claim([Step.PLAN], limit=1, now=BEGINNING, lease_s=60)
        opened = AttemptOpened(attempt=an_attempt(token, self.chunk), budget_usd=None)
        self.ledger.record(planning, added(self.chunk, due_at=BEGINNING), opened, now=BEGINNING)

    def looks_due(self, after_s: float = 0.0) -> list[Claim]:
        """Claim what is to be looked at so long from now."""
        now = self.clock.now() + timedelta(seconds=after_s)
        return self.ledger.claim([Step.RECOVER], limit=1, now=now, lease_s=60)

    def recover(self, kind: type[SimulatedProvider], **fields: float) -> None:
        """Look once."""
        [claim] = self.looks_due()
        provider = kind(B1, self.clock, random.Random(0), Temper(CALM, "calm"), requests_max=10)
        for name, value in fields.items():
            setattr(provider, name, value)
        recover(
            claim,
            ledger=self.ledger,
            job_files=MemoryJobFiles(),
            provider=provider,
            clock=self.clock,
        )


def test_a_list_proves_absence_only_for_the_time_at_which_it_was_asked_for() -> None:
    """The list was taken before the lag had passed; that it is read after it proves nothing."""
    scene = Scene()

    scene.recover(SleepyProvider)

    assert scene.ledger.chunk(scene.chunk.id).state is ChunkState.AMBIGUOUS


@pytest.mark.parametrize(("retry_after_s", "waits_s"), [(300.0, 300.0), (86_400.0, RETRY_AFTER_S_MAX)])
def test_a_provider_that_wants_to_be_left_alone_is_for_so_long_but_not_for_a_day(
    retry_after_s: float, waits_s: float
) -> None:
    """`Retry-After` of the list holds for who looks for a lost create, as it does for polls."""
    scene = Scene()

    scene.recover(BusyProvider, retry_after_s=retry_after_s)

    assert scene.looks_due(waits_s - 1.0) == []
    assert len(scene.looks_due(waits_s + 1.0)) == 1
