"""One schedule that seeds seldom meet, written out: a worker that sleeps between asking and deciding."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from orchestrator.batches.recover import recover
from orchestrator.domain.batch import Listed
from orchestrator.domain.changes import AttemptOpened
from orchestrator.domain.model import AttemptToken, ChunkState, FileId, Step
from orchestrator.ledger.desk import SqlDesk
from orchestrator.ledger.overview import SqlOverview
from orchestrator.ledger.sql import SqlLedger
from tests.builders import a_chunk, a_job, added, an_attempt
from tests.fakes.classes import B1, LAG_S
from tests.fakes.clock import BEGINNING, VirtualClock
from tests.fakes.faults import CALM, Temper
from tests.fakes.provider import SimulatedProvider
from tests.fakes.spool import MemorySpool
from tests.simulation.kit import an_empty_ledger


class SleepyProvider(SimulatedProvider):
    """Answers at once; whoever asked gets to read it much later."""

    def find(
        self, submission_token: str, since: datetime, file_id: FileId | None = None, *, is_other_key: bool = False
    ) -> Sequence[Listed] | None:
        """List what is visible now, and then let time pass."""
        found = super().find(submission_token, since, file_id, is_other_key=is_other_key)
        self._clock.advance(10 * LAG_S)
        return found


def test_a_list_proves_absence_only_for_the_time_at_which_it_was_asked_for() -> None:
    """The list was taken before the lag had passed; that it is read after it proves nothing."""
    clock = VirtualClock(random.Random(0))
    database = an_empty_ledger()
    ledger = SqlLedger(database)
    SqlDesk(database).open(a_job(), 1, now=BEGINNING)
    token = AttemptToken("t")
    fenced: dict[str, Any] = {
        "token": token,
        "file_id": FileId("file-0000"),
        "sent_at": BEGINNING,
        "fenced_at": BEGINNING,
    }
    chunk = a_chunk(state=ChunkState.IN_DOUBT, **fenced)
    [planning] = ledger.claim([Step.PLAN], limit=1, now=BEGINNING, lease_s=60)
    opened = AttemptOpened(attempt=an_attempt(token, chunk), budget_usd=None)
    ledger.record(planning, added(chunk, due_at=BEGINNING), opened, now=BEGINNING)
    [claim] = ledger.claim([Step.RECOVER], limit=1, now=clock.now(), lease_s=60)

    provider = SleepyProvider(B1, clock, random.Random(0), Temper(CALM, "calm"), requests_max=10)
    recover(claim, ledger=ledger, overview=SqlOverview(database), spool=MemorySpool(), provider=provider, clock=clock)

    assert ledger.chunk(chunk.id).state is ChunkState.IN_DOUBT
