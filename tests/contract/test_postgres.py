"""The ledger in PostgreSQL: found by its URL, secretive about its password, there again when its server is."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

import psycopg
import pytest
import sqlalchemy as sa

from orchestrator.domain.changes import AttemptOpened, ChunkMoved
from orchestrator.domain.errors import ConfigError, LedgerError
from orchestrator.domain.model import ChunkState, Step
from orchestrator.ledger.db import postgres as postgres_module
from orchestrator.ledger.db.database import open_ledger
from tests.builders import JOB, NOW, a_chunk, a_job, after, an_attempt
from tests.contract.ledger_harness import LedgerHarness
from tests.servers.postgres import PostgresServer

ROOT: Final = Path(__file__).resolve().parents[2]
SECRET: Final = "hunter2"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_ledger_is_opened_by_its_url_and_is_there_when_it_is_opened_again(new_postgres: str, scheme: str) -> None:
    url = new_postgres.replace("postgresql", scheme, 1)
    database = open_ledger(url)
    job = LedgerHarness(database).open()
    database.close()

    database = open_ledger(url)

    assert LedgerHarness(database).ledger.job(JOB) == job
    database.close()


def test_a_url_of_sqlite_is_a_file(tmp_path: Path) -> None:
    database = open_ledger(f"sqlite:///{tmp_path}/ledger.db")

    assert not database.is_shared
    assert (tmp_path / "ledger.db").exists()
    database.close()


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://me:{SECRET}@host/database",
        f"postgresql://me:{SECRET}@more@host/database",
        f"postgresql://me:{SECRET}/x@host/database",
        f"postgresql://me:1?{SECRET}@host/database",
        f"postgresql://me@host:{SECRET}/database",
        "ledger.db",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_being_shown(url: str) -> None:
    """A password with a character that had to be encoded would otherwise be taken for a host, and named."""
    with pytest.raises(ConfigError, match="URL") as caught:
        open_ledger(url)

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "place", ["127.0.0.1:1/database", "/database?host=/nowhere", f"127.0.0.1:1/database?password={SECRET}"]
)
def test_a_server_that_cannot_be_reached_is_an_error_that_says_where_and_no_password(place: str) -> None:
    url = f"postgresql://me:{SECRET}@{place}"

    with pytest.raises(LedgerError, match=r"PostgreSQL at (127\.0\.0\.1:1|/nowhere), database database") as caught:
        open_ledger(url)

    assert SECRET not in str(caught.value)


def test_a_password_that_the_server_refuses_is_not_shown(new_postgres: str) -> None:
    with pytest.raises(LedgerError, match="nobody-such") as caught:
        open_ledger(new_postgres.replace("postgres@", f"nobody-such:{SECRET}@", 1))

    assert SECRET not in str(caught.value)


WITHOUT_DRIVER: Final = """
import sys
sys.modules["psycopg"] = None
from orchestrator.domain.errors import ConfigError
from orchestrator.ledger.db.database import open_ledger
try:
    open_ledger("postgresql://me@host/database")
except ConfigError as error:
    print(error)
"""


def test_a_missing_driver_is_an_error_that_says_what_to_install() -> None:
    told = subprocess.run(
        [sys.executable, "-c", WITHOUT_DRIVER], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )

    assert "pip install 'batch-orchestrator[postgres]'" in told.stdout


def test_an_error_of_the_server_tells_no_row(postgres: LedgerHarness) -> None:
    """Promise 8: what a server adds to its first sentence quotes keys and whole rows."""
    postgres.open()
    postgres.add(a_chunk())
    postgres.write(AttemptOpened(attempt=an_attempt("token-1"), budget_usd=None))

    with pytest.raises(LedgerError, match="one_live_attempt") as caught:
        postgres.write(AttemptOpened(attempt=an_attempt("token-2", number=2), budget_usd=None))

    assert a_chunk().id not in str(caught.value)
    assert "token-" not in str(caught.value)


def test_a_commit_waits_for_the_disk_and_nobody_waits_for_ever(new_postgres: str) -> None:
    """Also where the database's own default says otherwise."""
    with psycopg.connect(new_postgres, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
        connection.execute(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'serializable'")
    database = open_ledger(new_postgres)

    with database.write() as tx:
        provider_message = {
            setting: tx.exec_driver_sql(f"SHOW {setting}").scalar_one()
            for setting in ("synchronous_commit", "transaction_isolation", "application_name", "timezone")
        }
        limits = [
            tx.exec_driver_sql(f"SHOW {limit}").scalar_one()
            for limit in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        ]
    database.close()

    assert provider_message == {
        "synchronous_commit": "on",
        "transaction_isolation": "read committed",
        "application_name": "batch-orchestrator",
        "timezone": "UTC",
    }
    assert limits == ["30s", "15s", "10s"]


def test_one_read_is_of_one_moment(postgres: LedgerHarness) -> None:
    """Sums over several tables add up, whatever is written between their statements."""
    postgres.open(shards=0)
    with postgres.database.read() as connection:
        count = sa.text("SELECT count(*) FROM chunks")
        before = connection.execute(count).scalar()
        postgres.add(a_chunk())

        assert connection.execute(count).scalar() == before
    with postgres.database.read() as connection:
        assert connection.execute(count).scalar() == 1


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_server_that_restarts_is_found_again_by_the_next_call(shaky_postgres: PostgresServer, how: str) -> None:
    """While it is away every call is an error of ours; what was committed is there."""
    database = open_ledger(shaky_postgres.url)
    harness = LedgerHarness(database)
    job_id = a_job().id
    harness.open(shards=0)
    name = f"c00000-0000{how == 'kill':d}"
    harness.add(a_chunk(name))
    [claim] = harness.claim(Step.SUBMIT)

    getattr(shaky_postgres, how)()
    shaky_postgres.start()
    assert harness.ledger.renew({claim: after(60)}) == {claim}  # nobody had noticed that it was away

    getattr(shaky_postgres, how)()
    with pytest.raises(LedgerError):
        harness.ledger.record(claim, now=NOW)
    shaky_postgres.start()

    begun = ChunkMoved(before=a_chunk(name), after=a_chunk(name, state=ChunkState.SUBMITTING), due_at=after(60))
    harness.ledger.record(claim, begun, now=NOW)
    assert harness.ledger.chunk(a_chunk(name).id).state is ChunkState.SUBMITTING
    assert harness.ledger.job(job_id).id == job_id
    database.close()


def test_a_server_that_restarts_under_way_costs_no_committed_write(shaky_postgres: PostgresServer) -> None:
    """Threads write without a pause; an error is an error of ours, and what was said to be written is written."""
    database = open_ledger(shaky_postgres.url)
    harness, over, written, strange = LedgerHarness(database), threading.Event(), [], []

    def work(number: int) -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            job = a_job(f"w{number}-{turn:08x}")  # type: ignore[arg-type]
            try:
                harness.admin.open(job, 1, now=NOW)
            except LedgerError:
                continue
            except BaseException as error:  # noqa: BLE001 - looked at below
                strange.append(error)
                return
            written.append(job.id)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        seen = len(written)
        while len(written) < seen + 20 and not strange:
            threading.Event().wait(0.005)
        shaky_postgres.restart()
    over.set()
    for thread in threads:
        thread.join()

    assert strange == []
    assert set(written) <= {job.id for job in harness.admin.jobs()}
    database.close()


def test_who_waits_too_long_for_a_lock_gets_an_error_and_writes_nothing(
    new_postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres_module.SESSION, "lock_timeout", "50ms")
    database = open_ledger(new_postgres)
    harness = LedgerHarness(database)
    job = harness.open()

    with database.write() as tx:
        tx.execute(sa.text("SELECT id FROM jobs FOR UPDATE"))
        with pytest.raises(LedgerError, match="lock timeout"):
            harness.admin.cancel(JOB, now=NOW)

    assert harness.ledger.job(JOB) == job
    database.close()
