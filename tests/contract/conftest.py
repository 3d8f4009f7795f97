"""What the contract suites run against: every ledger and every kind of job files. Another kind is one more entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from orchestrator.ledger.db.database import Database, open_ledger, open_sqlite
from orchestrator.ports import JobFiles
from orchestrator.storage.local import LocalJobFiles
from tests.builders import emptied
from tests.contract.ledger_harness import LedgerHarness
from tests.fakes.job_files import MemoryJobFiles
from tests.servers.postgres import PostgresServer, fresh_database, running_postgres, some_postgres
from tests.servers.s3 import object_job_files, s3_job_files
from tests.tiers import sampled

# The one in memory, which simulations use, is SQLite's code: it is tried with the slow tests.
LEDGERS: Final = sampled(("memory", "sqlite", "postgres"), quick={"sqlite", "postgres"})
JOB_FILES: Final[dict[str, Callable[[Path], JobFiles]]] = {
    "local": LocalJobFiles,
    "memory": lambda _folder: MemoryJobFiles(),
    "objects": lambda _folder: object_job_files(),
    "s3": lambda _folder: s3_job_files(),
}


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """A real PostgreSQL server, one for the test run; each test has its own database in it."""
    return some_postgres()


@pytest.fixture(scope="session")
def lasting_postgres(postgres_url: str) -> Iterator[Database]:
    """A ledger in PostgreSQL, one for each process of the test run: it is emptied, which is quicker than made anew."""
    with fresh_database(postgres_url) as url:
        database = open_ledger(url)
        yield database
        database.close()


@pytest.fixture
def postgres(lasting_postgres: Database) -> LedgerHarness:
    """An empty ledger in PostgreSQL."""
    return LedgerHarness(emptied(lasting_postgres))


@pytest.fixture
def new_postgres(postgres_url: str) -> Iterator[str]:
    """The URL of an empty database in PostgreSQL, without a schema."""
    with fresh_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def shaky_postgres() -> Iterator[PostgresServer]:
    """A server of one's own, to be stopped, killed and started again; it runs before and after each test."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def lasting_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A ledger in a file, emptied as the one in PostgreSQL is."""
    database = open_sqlite(tmp_path_factory.mktemp("ledger") / "ledger.db")
    yield database
    database.close()


@pytest.fixture(scope="session")
def lasting_memory() -> Iterator[Database]:
    """A ledger in memory, emptied as the others are."""
    database = open_sqlite(None)
    yield database
    database.close()


@pytest.fixture(params=LEDGERS)
def harness(request: pytest.FixtureRequest) -> LedgerHarness:
    """An empty ledger, of every kind."""
    return LedgerHarness(emptied(request.getfixturevalue(f"lasting_{request.param}")))


@pytest.fixture(params=JOB_FILES)
def job_files(request: pytest.FixtureRequest, tmp_path: Path) -> JobFiles:
    """An empty job folder, of every kind."""
    return JOB_FILES[request.param](tmp_path / "job_files")
