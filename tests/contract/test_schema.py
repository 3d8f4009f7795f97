"""The ledger's schema: made whole in a new database, by one opener of several, and never older than what is there."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from orchestrator.domain.errors import LedgerError, LedgerTooNew
from orchestrator.domain.queues import QUEUE_OF
from orchestrator.ledger import claims
from orchestrator.ledger.db import migrations
from orchestrator.ledger.db.database import Database, open_ledger, open_sqlite
from orchestrator.ledger.db.schema import Utc, metadata
from tests.builders import JOB
from tests.contract.ledger_harness import LedgerHarness

ADD_COLUMN: Final = "ALTER TABLE jobs ADD COLUMN colour TEXT DEFAULT 'grey' NOT NULL;\n"
COUNT: Final = "CREATE TABLE colours (count BIGINT NOT NULL);\nINSERT INTO colours SELECT count(colour) FROM jobs;\n"


def due_steps_of_today() -> str:
    """Return the view `due_steps`: queue, step, units, at the database's time."""
    # The time of the statement, not of each row: or no index could be used.
    microseconds = "CAST(extract(epoch from statement_timestamp()) * 1000000 AS BIGINT)"
    counts = claims.due_counts(sa.literal_column(microseconds, Utc())).subquery("counts")
    queue = sa.case(*((counts.c.step == step.value, queue.value) for step, queue in QUEUE_OF.items()))
    query = sa.select(queue.label("queue"), counts.c.step, counts.c.units).where(counts.c.units > 0)
    text = str(query.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True}))
    lines = (line.rstrip() for line in text.strip().splitlines())
    return "CREATE VIEW due_steps AS " + "\n".join(lines) + ";\n"


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without a schema."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    url: str = request.getfixturevalue("new_postgres")
    return url


@pytest.fixture
def database(place: str) -> Iterator[Database]:
    database = open_ledger(place)
    yield database
    database.close()


def schema_number(place: str) -> str:
    database = sa.create_engine(place.replace("postgresql://", "postgresql+psycopg://"))
    with database.connect() as connection:
        found: str = connection.execute(sa.text("SELECT value FROM meta WHERE key = 'schema'")).scalar_one()
    database.dispose()
    return found


def test_the_view_counts_by_the_claim_conditions_of_today() -> None:
    """A change of a claim condition changes the view before the first release, and comes with an upgrade after it."""
    assert migrations.due_steps() == due_steps_of_today()


def test_a_new_database_gets_the_whole_schema_and_its_number(database: Database, place: str) -> None:
    harness = LedgerHarness(database)
    job = harness.open()

    with database.read() as connection:
        found = set(sa.inspect(connection).get_table_names())
    assert found == set(metadata.tables)
    assert schema_number(place) == str(migrations.SCHEMA) == "1"
    assert harness.ledger.job(JOB) == job


def test_a_schema_of_a_newer_program_is_refused_with_what_to_do_and_left_alone(place: str) -> None:
    open_ledger(place).close()
    engine = sa.create_engine(place.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE meta SET value = '99' WHERE key = 'schema'"))
    engine.dispose()

    with pytest.raises(LedgerTooNew, match=r"schema 99.*up to 1: .*pip install -U.*--work"):
        open_ledger(place)

    assert schema_number(place) == "99"


def test_of_several_who_open_a_new_database_at_once_one_makes_the_schema_and_all_can_use_it(place: str) -> None:
    start, failed = threading.Barrier(6), list[BaseException]()

    def open_it() -> None:
        start.wait()
        try:
            database = open_ledger(place)
            LedgerHarness(database).open()
            database.close()
        except BaseException as error:  # noqa: BLE001 - looked at below
            failed.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
    assert schema_number(place) == "1"


def test_a_ledger_moves_forward_one_upgrade_at_a_time_and_each_once(database: Database, place: str) -> None:
    LedgerHarness(database).open()
    for _ in range(2):
        with database.write() as tx:
            migrations.migrate(tx, [ADD_COLUMN, COUNT])

    with database.read() as connection:
        assert connection.execute(sa.text("SELECT count FROM colours")).scalars().all() == [1]
    assert schema_number(place) == "3"


def test_an_upgrade_that_fails_leaves_the_schema_as_it_was(database: Database, place: str) -> None:
    with pytest.raises(LedgerError), database.write() as tx:
        migrations.migrate(tx, [ADD_COLUMN + "ALTER TABLE nothing ADD COLUMN colour TEXT;\n"])

    with database.read() as connection:
        columns = {column["name"] for column in sa.inspect(connection).get_columns("jobs")}
    assert "colour" not in columns
    assert schema_number(place) == "1"


def test_on_postgresql_a_schema_that_is_being_made_is_waited_for(new_postgres: str) -> None:
    """Whoever makes the schema holds an advisory lock; the others ask again, for two minutes at most."""
    opened: list[Database] = []
    with psycopg.connect(new_postgres) as maker:
        maker.execute("SELECT pg_advisory_xact_lock(%s)", (0x6F72_6368,))
        waiting = threading.Thread(target=lambda: opened.append(open_ledger(new_postgres)))
        waiting.start()
        waiting.join(timeout=1.5)

        assert waiting.is_alive()
        maker.rollback()
    waiting.join()

    assert LedgerHarness(opened[0]).admin.jobs() == []
    opened[0].close()


def test_opening_does_not_wait_for_one_who_writes(tmp_path: Path) -> None:
    """People ask how a job is doing while a worker holds the only write lock of an SQLite file."""
    path = tmp_path / "ledger.db"
    open_sqlite(path).close()
    with sqlite3.connect(path, isolation_level=None) as writer:
        writer.execute("BEGIN IMMEDIATE")

        database = open_sqlite(path)

        assert LedgerHarness(database).admin.jobs() == []
    writer.close()
    database.close()
