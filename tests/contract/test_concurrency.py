"""Many claimants at once: threads over every ledger, processes over the one in a file. No unit is ever held twice."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from orchestrator.domain.changes import AttemptOpened, ChunkMoved
from orchestrator.domain.errors import LeaseLost, LedgerError
from orchestrator.domain.model import ChunkState, Step, Unit
from orchestrator.ledger.db.database import open_ledger, open_sqlite
from tests.builders import JOB, NOW, a_chunk, a_job, an_attempt, chunk_id
from tests.contract.ledger_harness import LedgerHarness
from tests.contract.threads import at_once

CHUNKS: Final = 30
ROOT: Final = Path(__file__).resolve().parents[2]


def test_threads_claiming_at_once_never_get_the_same_unit(harness: LedgerHarness) -> None:
    harness.open(a_job(batches_in_flight_max=1_000), shards=0)
    harness.add(*(a_chunk(f"c00000-{n:05d}") for n in range(CHUNKS)))
    taken: list[Unit] = []

    def work(_number: int) -> None:
        while claims := harness.claim(Step.SUBMIT, limit=2):
            taken.extend(claim.unit for claim in claims)

    at_once(4, work)

    assert Counter(taken) == {Unit(job_id=JOB, chunk_id=chunk_id(f"c00000-{n:05d}")): 1 for n in range(CHUNKS)}


def test_threads_claiming_at_once_never_pass_the_accounts_room(harness: LedgerHarness) -> None:
    harness.open(a_job(batches_in_flight_max=7), shards=0)
    harness.add(*(a_chunk(f"c00000-{n:05d}") for n in range(CHUNKS)))
    taken: list[Unit] = []

    at_once(4, lambda _number: taken.extend(claim.unit for claim in harness.claim(Step.SUBMIT)))

    assert len(taken) == 7


def test_of_many_threads_that_decided_on_the_same_facts_one_writes(harness: LedgerHarness) -> None:
    """With one good claim in all hands, as if there were no leases: the version alone lets one through."""
    harness.open(shards=0)
    harness.add(a_chunk())
    [claim] = harness.claim(Step.SUBMIT)
    won: list[int] = []

    def work(number: int) -> None:
        begun = ChunkMoved(before=a_chunk(), after=a_chunk(state=ChunkState.SUBMITTING), due_at=NOW)
        opened = AttemptOpened(attempt=an_attempt(f"token-{number}", number=number + 1), budget_usd=None)
        try:
            harness.ledger.record(claim, begun, opened, now=NOW, keep=True)
        except LeaseLost:
            return
        won.append(number)

    at_once(4, work)

    assert [f"token-{number}" for number in won] == [attempt.token for attempt in harness.admin.attempts(JOB)]
    assert len(won) == 1


def test_reading_does_not_disturb_writing(harness: LedgerHarness) -> None:
    """Threads that read while others write see whole transactions, and no error."""
    harness.open(shards=0)
    harness.add(a_chunk())
    seen: list[tuple[int, int]] = []

    def work(number: int) -> None:
        for _ in range(25):
            if number == 0:
                chunk = harness.ledger.chunk(a_chunk().id)
                both = replace(chunk, tries=chunk.tries + 1, done_count=chunk.done_count + 1)
                harness.move(both)
            else:
                chunk = harness.ledger.chunk(a_chunk().id)
                seen.append((chunk.tries, chunk.done_count))

    at_once(3, work)

    assert len(seen) == 50
    assert all(tries == done for tries, done in seen)
    assert harness.ledger.chunk(a_chunk().id).tries == 25


CLAIMANT: Final = """
import sys
from orchestrator.domain.model import Step
from orchestrator.ledger.db.database import open_ledger
from tests.contract.ledger_harness import LedgerHarness

database = open_ledger(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
while claims := LedgerHarness(database).claim(Step.POLL, limit=1):
    print(claims[0].unit.chunk_id, flush=True)
database.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_processes_claiming_at_once_never_get_the_same_unit(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The first of them to come also find the database empty, and make its tables together."""
    url = f"sqlite:///{tmp_path}/ledger.db" if kind == "sqlite" else request.getfixturevalue("new_postgres")
    claimants = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMANT, url], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    try:
        assert [claimant.stdout.readline() for claimant in claimants if claimant.stdout] == ["ready\n"] * 3
        database = open_ledger(url)
        LedgerHarness(database).open(a_job(batches_in_flight_max=1_000), shards=0)
        LedgerHarness(database).add(*(a_chunk(f"c00000-{n:05d}", state=ChunkState.SUBMITTED) for n in range(CHUNKS)))
        for claimant in claimants:
            assert claimant.stdin is not None
            claimant.stdin.write("go\n")
            claimant.stdin.flush()
        told = [claimant.communicate(timeout=60)[0].split() for claimant in claimants]
        database.close()
    finally:
        for claimant in claimants:
            claimant.kill()
            claimant.communicate()

    assert [claimant.returncode for claimant in claimants] == [0, 0, 0]
    assert sorted(unit for one in told for unit in one) == [chunk_id(f"c00000-{n:05d}") for n in range(CHUNKS)]


def test_a_ledger_that_is_locked_for_too_long_is_an_error_and_not_a_lost_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.ledger.db.sqlite.BUSY_S", 0)
    mine, theirs = open_sqlite(tmp_path / "ledger.db"), open_sqlite(tmp_path / "ledger.db")

    with mine.write(), pytest.raises(LedgerError, match="locked"):
        LedgerHarness(theirs).open()

    assert LedgerHarness(theirs).admin.jobs() == []
    mine.close()
    theirs.close()


def test_a_ledger_is_opened_and_read_while_somebody_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks how a job is doing need not wait for a worker that hangs in the middle of a write."""
    monkeypatch.setattr("orchestrator.ledger.db.sqlite.BUSY_S", 0)
    mine = open_sqlite(tmp_path / "ledger.db")
    LedgerHarness(mine).open()

    with mine.write():
        theirs = open_sqlite(tmp_path / "ledger.db")
        found = LedgerHarness(theirs).admin.jobs()

    assert [job.id for job in found] == [JOB]
    mine.close()
    theirs.close()
