"""A ledger that is lost while something is wrong with the creates: whole jobs."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator import JobNeedsDecision, open_job
from orchestrator.domain.model import BatchId
from orchestrator.engine.opening import files_at
from orchestrator.job_files import create_journal
from orchestrator.providers.private_errors import answer_name
from tests.reports.play import Seen, play
from tests.reports.server import Object, OneRouterServer, OpenAIServer, Request, failed_line

ONE = {"batches_in_flight_max": 1}


def lose_the_ledger(seen: Seen) -> None:
    for file in seen.work.glob("ledger.db*"):
        file.unlink()
    assert orchestrator.recover(work=seen.work)[0].job_id == seen.status["job_id"]


class Ticket(OneRouterServer):
    """The first create is answered with an id that may be anything's."""

    def create(self, wanted: Object) -> Any:
        made = super().create(wanted)
        return {"ok": True, "handle": {"uuid": made["batch_id"]}} if self.counts["creates"] == 1 else made


class Repeated(OneRouterServer):
    """The second create is answered with the first one's batch, and has made one of its own."""

    def create(self, wanted: Object) -> Any:
        made = super().create(wanted)
        return made | {"batch_id": "batch_0001"} | {"batch": {"id": "batch_0001"}} if len(self.batches) == 2 else made


@pytest.mark.parametrize(
    ("server", "batch"), [pytest.param(Ticket, "batch_0001", marks=pytest.mark.slow), (Repeated, "batch_0002")]
)
def test_a_create_that_was_not_understood_is_still_so_after_the_ledger_was_lost(
    server: type[OneRouterServer], batch: str, tmp_path: Path
) -> None:
    """No policy sends it again; its answer is where it was, and a person goes on with it for nothing."""
    made = server()
    policy = ONE | {"on_ambiguous": "resubmit", "max_duplicate_usd": "100"}
    stopped = play(made, tmp_path, policy=policy)
    assert isinstance(stopped.error, JobNeedsDecision)
    creates = made.counts["creates"]
    lose_the_ledger(stopped)

    again = play(made, tmp_path, policy=policy | {"batches_in_flight_max": 8}, again=True)

    assert isinstance(again.error, JobNeedsDecision), again.told
    assert made.counts["creates"] == creates
    job = open_job(str(stopped.status["job_id"]), work=stopped.work)
    [chunk] = job.unresolved()
    assert chunk.ids == (("batch_0001",) if server is Ticket else ())
    job.resolve_created(chunk.chunk, batch)
    job.approve()
    seen = play(made, tmp_path, policy=policy, again=True)
    assert seen.is_clean, seen.told
    assert made.counts["creates"] == 2


@pytest.mark.slow
def test_a_batch_of_another_job_is_not_given_to_a_create_when_both_are_recovered(tmp_path: Path) -> None:
    """A worker had died when it had the answer in the journal; the job that it belongs to is recovered later."""
    made = Repeated()
    first = play(made, tmp_path, rows=6, name="report")
    assert first.is_clean
    stopped = play(made, tmp_path, again=True, name="a-second")
    job_files = files_at(str(stopped.work / str(stopped.status["job_id"])))
    [intent] = job_files.names(create_journal.INTENTS)
    token = create_journal.token_of(intent)
    create_journal.write_journal(job_files, token, BatchId("batch_0001"))
    job_files.remove(answer_name(token))
    for file in first.work.glob("ledger.db*"):
        file.unlink()
    found = {one.job_id: one for one in orchestrator.recover(work=first.work)}

    again = play(made, tmp_path, again=True, name="a-second")

    assert found[str(first.status["job_id"])].state == "finished"
    assert isinstance(again.error, JobNeedsDecision), again.told
    assert "batch_0001, which is that of chunk report-" in again.told
    assert made.counts["creates"] == 2
    job = open_job(str(stopped.status["job_id"]), work=stopped.work)
    [chunk] = job.unresolved()
    job.resolve_created(chunk.chunk, "batch_0002")
    job.approve()
    assert play(made, tmp_path, again=True, name="a-second").error is None
    assert made.counts["creates"] == 2
    assert orchestrator.audit(job.job_id, work=first.work, deep=True).differences == []


class NoQuotaForRows(OpenAIServer):
    """The rows of every batch are refused for the account's sake."""

    def answer(self, request: Request, place: int) -> list[tuple[str, Object]]:  # noqa: ARG002
        return [failed_line(request.custom_id, 429, "You exceeded your current quota.", code="insufficient_quota")]


def _read_only(work: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{work / 'ledger.db'}?mode=ro", uri=True)


def setbacks(work: Path) -> int:
    """Return the most that a chunk has had; 0 also while there is no ledger."""
    with suppress(sqlite3.OperationalError), closing(_read_only(work)) as ledger:
        return int(ledger.execute("select coalesce(max(setbacks), 0) from chunks").fetchone()[0])
    return 0


def test_setbacks_are_counted_on_after_the_ledger_was_lost(tmp_path: Path) -> None:
    server = NoQuotaForRows()
    seen = play(server, tmp_path, rows=6, until=lambda: setbacks(tmp_path / "work") > 0)
    assert setbacks(seen.work) == 1

    lose_the_ledger(seen)

    assert setbacks(seen.work) == 1
