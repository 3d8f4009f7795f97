"""A work folder with jobs in the states that a person meets, for tests of the page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest

import orchestrator
from orchestrator.api.viewer import Viewer
from orchestrator.domain.changes import AttemptOpened, ShardMoved
from orchestrator.domain.model import AttemptToken, ChunkState, JobId, ShardState
from orchestrator.domain.workers import Kind, WorkerProcess
from orchestrator.engine.opening import opened_workspace
from orchestrator.testing import Failure, FakeProvider, fake_provider
from tests.builders import a_chunk, a_job, a_shard, after, an_attempt
from tests.contract.ledger_harness import LedgerHarness

EVIL: Final = "<script>window.evil = 1</script>\x1b[31m"
LONG: Final = "a-very-long-name-of-a-column" * 10
TEXTS: Final = ("fine", "bad", f"so so {EVIL}", "long")


@dataclass(slots=True)
class Scenes:
    """An open work folder, its fake provider, and how that answers."""

    work: Path
    viewer: Viewer
    fake: FakeProvider
    is_good: list[bool] = field(default_factory=list)  # once it is filled, every row is answered

    def submitted(self, name: str, **fields: Any) -> orchestrator.JobHandle:
        """A job that is known, and that nothing works on."""
        return orchestrator.submit(self._frame(), prompt="{text}", name=name, **self._options(fields))

    def ended(self, name: str, **fields: Any) -> orchestrator.JobHandle:
        """A job that has ended: of four rows one has failed, and one is cut off."""
        self.is_good.clear()
        result = orchestrator.run(self._frame(), prompt="{text}", name=name, **self._options(fields))
        return orchestrator.open_job(result.job_id, work=self.work)

    def with_bad_canary(self, name: str) -> orchestrator.JobHandle:
        """A job whose first rows have come back badly: it waits for a person."""
        self.is_good.clear()
        frame = pd.DataFrame({"text": [f"bad {EVIL}", *(f"bad {number}" for number in range(1_000))]})
        policy = {"canary_rows": 2}
        with pytest.raises(orchestrator.JobNeedsDecision) as raised:
            orchestrator.run(frame, prompt="{text}", name=name, **self._options({"policy": policy}))
        return orchestrator.open_job(str(raised.value).split()[1], work=self.work)

    def unresolved(self, name: str) -> JobId:
        """A job with three chunks of ten rows: one at the provider, one unresolved, one unsent."""
        job_id = JobId(f"{name}-3f2a91c4")
        ledger = LedgerHarness(self.viewer.workspace.database)
        spec = next(job.spec for job in self.viewer.workspace.admin.jobs())
        ledger.open(replace(a_job(job_id, spec=spec), name=name))
        for chunk_name, state, sent in (
            ("c00000-00000", ChunkState.SUBMITTED, 1),
            ("c00000-00001", ChunkState.UNRESOLVED, 2),
            ("c00000-00002", ChunkState.PLANNED, None),
        ):
            sent_at = None if sent is None else after(sent)
            token = AttemptToken(f"{name} {chunk_name}")
            chunk = a_chunk(chunk_name, state=state, job_id=job_id, sent_at=sent_at, error=EVIL, token=token)
            ledger.add(replace(chunk, done_count=4))
            if sent:
                attempt = an_attempt(token, chunk, reserved_usd=Decimal("0.27"), sent_at=sent_at)
                ledger.write(AttemptOpened(attempt=attempt, budget_usd=None), job_id=job_id)
        planned = replace(a_shard(job_id=job_id), state=ShardState.PLANNED, row_count=30)
        ledger.write(ShardMoved(before=a_shard(job_id=job_id), after=planned, due_at=None), job_id=job_id)
        return job_id

    @contextmanager
    def worked_on(self, job_id: str) -> Iterator[None]:
        """While it is entered, a worker of another machine was seen a moment ago."""
        workspace, found = self.viewer.workspace, JobId(job_id)
        now = workspace.clock.now()
        worker = WorkerProcess(id=job_id, host="lab-7", pid=4711, kind=Kind.WORKER, started_at=now, seen_at=now)
        workspace.workers.register(worker, now)
        self.viewer.forget(found)
        yield
        workspace.workers.leave(job_id)
        self.viewer.forget(found)

    def _frame(self) -> pd.DataFrame:
        return pd.DataFrame({"text": list(TEXTS), LONG: range(len(TEXTS))})

    def _options(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {
            "model": "any",
            "max_tokens": 4,
            "work": self.work,
            "policy": {"reuse": "never"},
            **self.fake.options,
            **fields,
        }


@contextmanager
def some_scenes(work: Path) -> Iterator[Scenes]:
    """Open a work folder without jobs, beside a fake provider."""
    is_good: list[bool] = []

    def answer(body: dict[str, Any]) -> str | Failure:
        text = str(body["messages"])
        if "bad" in text and not is_good:
            return Failure(code="content_filter", message=EVIL)
        return "a b c d e f" if "long" in text else f"yes {EVIL}" if "so so" in text else "yes"

    with fake_provider(answer) as fake, opened_workspace(str(work)) as workspace:
        yield Scenes(work, Viewer(workspace), fake, is_good)
