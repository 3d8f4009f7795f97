"""How a schema moves forward: with its data, beside programs that know only the one before it, or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
import sqlalchemy as sa

from orchestrator.domain.changes import AttemptOpened, ChunkMoved
from orchestrator.domain.errors import LedgerError
from orchestrator.domain.model import AttemptToken, Chunk, ChunkState, Step
from orchestrator.ledger import claims, migrations, schema
from orchestrator.ledger import postgres as postgres_module
from orchestrator.ledger.database import Database, open_ledger
from orchestrator.ledger.fleet import SqlFleet
from orchestrator.ledger.rows import attempt_values
from tests.builders import ACCOUNT, JOB, NOW, a_chunk, a_job, after, an_attempt
from tests.contract.books import Books, names
from tests.contract.threads import at_once
from tests.upgrade.versions import Version, kept

SCHEMAS: Final = Path(__file__).parent / "schemas"
NEWEST: Final = len(migrations.MIGRATIONS)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty ledger may be, of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    found: str = request.getfixturevalue("new_postgres")
    return found


@pytest.fixture
def opened_at(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Database]]:
    """Open the ledger as the program of an earlier schema did."""
    found = []

    def open_at(number: int) -> Database:
        with monkeypatch.context() as patch:
            patch.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:number])
            patch.setattr(migrations.migrate, "__defaults__", (migrations.MIGRATIONS[:number],))
            found.append(open_ledger(url))
        return found[-1]

    yield open_at
    for database in found:
        database.close()


def shape(database: Database) -> dict[str, Any]:
    """Return the tables with their columns, keys and indexes."""
    with database.read() as connection:
        inspector = sa.inspect(connection)
        return {
            table: {
                "columns": {
                    column["name"]: (str(column["type"]), column["nullable"], column["default"] is not None)
                    for column in inspector.get_columns(table)
                },
                "key": inspector.get_pk_constraint(table)["constrained_columns"],
                "unique": sorted(tuple(one["column_names"]) for one in inspector.get_unique_constraints(table)),
                "indexes": sorted(
                    (str(one["name"]), tuple(one["column_names"]), bool(one["unique"]))
                    for one in inspector.get_indexes(table)
                    if not one.get("duplicates_constraint")
                ),
            }
            for table in sorted(inspector.get_table_names())
        }


def fill_from(fixture: Path, url: str) -> None:
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            connection.executescript(fixture.read_text())
        connection.close()
        return
    with psycopg.connect(url) as server:
        server.execute(fixture.read_text().encode())


def test_a_ledger_of_schema_1_moves_forward_with_its_data(url: str) -> None:
    """As the program of schema 1 left it: a job of three shards under way, money spent, an account paused."""
    fill_from(SCHEMAS / f"1-{url.partition(':')[0]}.sql", url)

    database = open_ledger(url)

    books = Books(database)
    with database.read() as connection:
        assert migrations.present_schema(connection) == NEWEST
    assert [job.id for job in books.desk.jobs()] == ["other-deadbeef", JOB]
    totals = books.overview.totals(JOB)
    assert (totals.shards, totals.settled, totals.succeeded, totals.dead, totals.waiting) == (3, 9, 8, 1, 1)
    assert [attempt.cost_usd for attempt in books.desk.attempts(JOB)] == [Decimal("0.123456789")]
    assert books.desk.pause_reason(ACCOUNT, now=NOW) == "out of credits"
    assert names(books.claim(Step.POLL)) == ["c00000-00001"]
    assert books.claim(Step.SUBMIT) == []
    assert names(books.claim(Step.SUBMIT, now=after(30))) == ["c00000-00000"]
    assert len(books.claim(Step.PLAN)) == 4
    assert [event.name for _, event in books.desk.events(JOB)] == ["job.opened", "account.paused", "chunk.collected"]
    assert SqlFleet(database).alive(NOW) == []
    database.close()


def test_schema_1_is_what_it_always_was(url: str, opened_at: Callable[[int], Database]) -> None:
    """A published migration does not change: it makes the tables of the ledger that was kept from then."""
    made = shape(opened_at(1))
    with sqlite3.connect(":memory:") as kept:
        kept.executescript((SCHEMAS / "1-sqlite.sql").read_text())
        engine = sa.create_engine("sqlite://", creator=lambda: kept, poolclass=sa.StaticPool)
        found = shape(Database(engine))
    kept.close()

    assert made.keys() == found.keys()
    for table, was in found.items():
        assert made[table]["columns"].keys() == was["columns"].keys()
        assert made[table]["key"] == was["key"]
        assert made[table]["unique"] == was["unique"]
        assert made[table]["indexes"] == was["indexes"]
        if url.startswith("sqlite"):
            assert made[table] == was


def test_the_migrations_make_the_tables_that_the_program_works_with(url: str) -> None:
    """All of them: columns, types, nulls, keys and indexes."""
    database = open_ledger(url)
    made = shape(database)
    with database.write() as tx:
        for table in made:
            tx.exec_driver_sql(f"DROP TABLE {table}" + ("" if url.startswith("sqlite") else " CASCADE"))
        schema.metadata.create_all(tx)

    assert made == shape(database)
    database.close()


@pytest.mark.parametrize("number", range(1, NEWEST))
def test_a_migration_only_adds(number: int, opened_at: Callable[[int], Database]) -> None:
    """What a program of the schema before reads and writes is there, under its name and of its type."""
    before = shape(opened_at(number))

    then = shape(opened_at(number + 1))

    for table, was in before.items():
        now = then[table]
        assert was["columns"].items() <= now["columns"].items()
        assert (was["key"], was["unique"]) == (now["key"], now["unique"])
        assert {one for one in now["indexes"] if one[2]} == {one for one in was["indexes"] if one[2]}
        for column in now["columns"].keys() - was["columns"].keys():
            _type, may_be_null, has_default = now["columns"][column]
            assert may_be_null or has_default, f"{table}.{column} must be given: a program of schema {number} cannot"


@dataclass(frozen=True)
class Old:
    """The program of the schema before, as it was, with a ledger that it has opened."""

    version: Version
    database: Any

    @property
    def ledger(self) -> Any:
        return self.version.module("ledger.sql").SqlLedger(self.database)

    @property
    def desk(self) -> Any:
        return self.version.module("ledger.desk").SqlDesk(self.database)

    @property
    def model(self) -> Any:
        return self.version.module("domain.model")

    @property
    def changes(self) -> Any:
        return self.version.module("domain.changes")

    def enter(self, chunks: Sequence[Chunk]) -> None:
        """Enter a job with these chunks."""
        policy = self.version.module("domain.policy").Policy()
        job = self.version.made("domain.model", "Job", **vars_of(a_job()) | {"policy": policy})
        self.desk.open(job, 1, now=NOW)
        [claim] = self.claim(self.model.Step.REVIEW)
        old = (
            self.version.made("domain.model", "Chunk", **vars_of(chunk) | {"state": state, "tally": self.model.Tally()})
            for chunk in chunks
            for state in [self.model.ChunkState(chunk.state.value)]
        )
        added = self.changes.ChunkAdded
        new = [added(chunk=chunk, rows_by_shard={0: chunk.request_count}, due_at=NOW) for chunk in old]
        self.ledger.record(claim, *new, now=NOW)

    def claim(self, step: Any, limit: int = 100) -> list[Any]:
        found: list[Any] = self.ledger.claim([step], limit=limit, now=NOW, lease_s=60.0)
        return found

    def poll(self) -> None:
        """See ten batches ended."""
        for claim in self.claim(self.model.Step.POLL, limit=10):
            chunk = self.ledger.chunk(claim.unit.chunk_id)
            ended = replace(chunk, state=self.model.ChunkState.ENDED)
            self.ledger.record(claim, self.changes.ChunkMoved(before=chunk, after=ended, due_at=NOW), now=NOW)


def vars_of(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def poll(books: Books) -> None:
    """See ten batches ended, by today's program."""
    for claim in books.claim(Step.POLL, limit=10):
        assert claim.unit.chunk_id is not None
        chunk = books.ledger.chunk(claim.unit.chunk_id)
        ended = replace(chunk, state=ChunkState.ENDED)
        books.ledger.record(claim, ChunkMoved(before=chunk, after=ended, due_at=NOW), now=NOW)


def test_a_program_of_the_schema_before_works_on_beside_the_new_one(url: str) -> None:
    """It claims and records before, while and after another program brings the schema forward."""
    version = kept(NEWEST - 1)
    old = Old(version, version.module("ledger.database").open_ledger(url))
    chunks = [a_chunk(f"c00000-{n:05d}", state=ChunkState.SUBMITTED) for n in range(60)]
    old.enter(chunks)
    new: list[Database] = []

    def work(number: int) -> None:
        if number == 0:
            new.append(open_ledger(url))
        else:
            old.poll()
            old.poll()

    old.poll()
    at_once(3, work)
    old.poll()
    poll(Books(new[0]))

    found = [Books(new[0]).ledger.chunk(chunk.id) for chunk in chunks]
    assert {chunk.state for chunk in found} == {ChunkState.ENDED}
    assert old.desk.cancel(JOB, now=NOW).state == "cancelling"
    assert len(Books(new[0]).claim(Step.COLLECT)) == 60
    for database in (old.database, *new):
        database.close()


def test_a_create_begun_by_a_program_of_schema_3_bears_no_mark(url: str) -> None:
    """It writes the columns it knows: nothing is known of its key, and the mark of an earlier create does not stand in
    for it."""
    books = Books(open_ledger(url))
    books.open(shards=0)
    chunk = a_chunk(state=ChunkState.SUBMITTING, token=AttemptToken("old"), attempt=1, sent_at=NOW)
    books.add(chunk)
    old = an_attempt(AttemptToken("old"), chunk, key_mark="mark of key 1")
    books.write(AttemptOpened(attempt=old, budget_usd=None))
    names_of_3 = [column.name for column in schema.attempts.c if column.name != "key_mark"]
    later = attempt_values(JOB, an_attempt(AttemptToken("new"), chunk))
    with books.database.write() as tx:
        tx.execute(sa.update(schema.attempts).values(state="refused"))
        tx.execute(sa.insert(schema.attempts), {name: later[name] for name in names_of_3} | {"number": 2})
        tx.execute(sa.update(schema.chunks).values(token_sent="new"))

    found = books.ledger.chunk(chunk.id)

    assert (found.token, found.key_mark) == ("new", "")
    books.database.close()


def test_programs_that_start_at_once_migrate_once(url: str) -> None:
    found: list[Database] = []

    at_once(4, lambda _number: found.append(open_ledger(url)))

    for database in found:
        with database.read() as connection:
            assert migrations.present_schema(connection) == NEWEST
        database.close()


def test_a_schema_from_the_future_is_refused_with_what_to_do(url: str) -> None:
    database = open_ledger(url)
    with database.write() as tx:
        tx.execute(sa.update(schema.meta).where(schema.meta.c.key == "schema").values(value="99"))
    database.close()

    with pytest.raises(LedgerError, match=rf"schema 99, this program knows up to {NEWEST}: .*upgrade"):
        open_ledger(url)


def test_a_migration_that_fails_changes_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = open_ledger(url)
    Books(database).open()
    before = shape(database)

    def fail_half_way(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE jobs ADD COLUMN colour TEXT")
        connection.exec_driver_sql("ALTER TABLE nothing ADD COLUMN colour TEXT")

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, fail_half_way))
        patch.setattr(migrations.migrate, "__defaults__", (migrations.MIGRATIONS,))
        with pytest.raises(LedgerError, match="nothing"):
            open_ledger(url)

    assert shape(database) == before
    assert Books(database).ledger.job(JOB).id == JOB
    database.close()


def test_a_migration_gives_way_to_a_worker_and_comes_after_it(
    new_postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks for its locks again and again, each time for less time than the server looks for a deadlock after."""
    assert postgres_module.MIGRATION_LOCK_MS < 1_000
    monkeypatch.setattr(postgres_module, "MIGRATION_LOCK_MS", 20)
    fill_from(SCHEMAS / "1-postgresql.sql", new_postgres)
    worker = sa.create_engine(new_postgres.replace("postgresql", "postgresql+psycopg", 1))
    refused = []

    def migrate_while_the_worker_writes(number: int) -> None:
        if number == 0:
            refused.append(open_ledger(new_postgres))
            return
        with worker.begin() as tx:
            tx.exec_driver_sql("SET LOCAL lock_timeout = '30s'")
            tx.exec_driver_sql("UPDATE events SET unit = unit")
            tx.exec_driver_sql("SELECT pg_sleep(0.3)")
            tx.exec_driver_sql("UPDATE shards SET version = version")

    at_once(2, migrate_while_the_worker_writes)

    with refused[0].read() as connection:
        assert migrations.present_schema(connection) == NEWEST
    refused[0].close()
    worker.dispose()


def test_a_migration_that_finds_no_way_in_changes_nothing_and_says_why(
    new_postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_module, "MIGRATION_LOCK_MS", 20)
    monkeypatch.setattr(postgres_module, "MIGRATION_S_MAX", 0.2)
    fill_from(SCHEMAS / "1-postgresql.sql", new_postgres)

    with psycopg.connect(new_postgres) as worker:
        worker.execute("UPDATE shards SET version = version")
        with pytest.raises(LedgerError, match="lock timeout"):
            open_ledger(new_postgres)

    with psycopg.connect(new_postgres) as connection:
        assert connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone() == ("1",)
        assert connection.execute("SELECT to_regclass('workers')").fetchone() == (None,)


def test_the_view_of_what_is_due_says_what_claims_say(postgres: Books) -> None:
    """Ledgers that are out there have the view that is kept here. Where the conditions of claims change, a new
    migration must call `show_due_steps`, and what is kept must become what it makes."""
    kept = (SCHEMAS / "3-due_steps.sql").read_text()
    found = {}
    with postgres.database.write() as tx:
        for name, query in (("kept", kept), ("present", claims.due_steps_sql(tx.dialect))):
            tx.exec_driver_sql(f"CREATE TEMP VIEW {name} AS {query}")
        for name in ("kept", "present", "due_steps"):
            found[name] = tx.exec_driver_sql(f"SELECT pg_get_viewdef('{name}'::regclass)").scalar_one()
        tx.exec_driver_sql("DROP VIEW kept, present")

    assert found["present"] == found["kept"] == found["due_steps"]


def test_the_view_counts_what_is_due_by_the_databases_time(postgres: Books) -> None:
    """NOW of these tests may be the past or the future: what is due then is put where it is due in any case."""
    postgres.open(shards=2)
    postgres.add(a_chunk(), a_chunk("c00000-00001", state=ChunkState.SUBMITTED))
    with postgres.database.write() as tx:
        for table in (schema.jobs, schema.shards, schema.chunks):
            tx.execute(sa.update(table).values(due_at=schema.EPOCH, lease_until=schema.EPOCH))
        tx.exec_driver_sql("UPDATE shards SET due_at = 4000000000000000 WHERE shard_no = 1")
    with postgres.database.read() as connection:
        found = connection.exec_driver_sql("SELECT lane, step, units FROM due_steps ORDER BY step").all()

    assert [tuple(row) for row in found] == [
        ("plan", "plan", 1),
        ("control", "poll", 1),
        ("control", "review", 1),
        ("transfer", "submit", 1),
    ]
    assert sum(SqlFleet(postgres.database).due(NOW).values()) == sum(row.units for row in found)
