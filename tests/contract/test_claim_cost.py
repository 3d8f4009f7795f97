"""What a claim reads: what is due, not what there is. Measured by the database's own account of its plan."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
import sqlalchemy as sa

from orchestrator.domain.model import ChunkState, Step
from orchestrator.ledger import schema
from orchestrator.ledger.database import Database, open_sqlite
from tests.builders import JOB, NOW, a_chunk, a_job, after
from tests.contract.books import Books

MANY: Final = 10_000


NUMBERS: Final = (
    f"WITH RECURSIVE numbers(n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM numbers WHERE n < {MANY}) "
    "INSERT INTO {table} ({columns}) SELECT {values} FROM {table}, numbers WHERE {condition}"
)


def multiply(tx: sa.Connection, table: sa.Table, condition: str, **values: str) -> None:
    """Enter many copies of a row, alike but for these values."""
    columns = {column.name: f'"{column.name}"' for column in table.columns}
    copied = columns | values
    tx.exec_driver_sql(
        NUMBERS.format(
            table=table.name,
            columns=", ".join(columns.values()),
            values=", ".join(copied.values()),
            condition=condition,
        )
    )


def fill(books: Books) -> None:
    """Enter many submitted chunks that are not due, many shards that wait for theirs, and little that is due."""
    books.open(a_job(batches_in_flight_max=2 * MANY), shards=3)
    books.add(a_chunk("c00000-00000", state=ChunkState.SUBMITTED), due_at=after(60))
    books.add(a_chunk("due-1", state=ChunkState.SUBMITTED))
    with books.database.write() as tx:
        multiply(tx, schema.chunks, f"id = '{a_chunk('c00000-00000').id}'", id=f"'{JOB}/x' || n")
        multiply(tx, schema.shards, "shard_no = 0", shard_no="n", state="'planned'", row_count="10")
        tx.exec_driver_sql("ANALYZE")


def statements_of_a_claim(database: Database, *steps: Step) -> list[tuple[str, Any]]:
    """Return the queries that a claim sends."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_rest: object) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH")):
            sent.append((statement, parameters))

    sa.event.listen(database._engine, "before_cursor_execute", note)
    Books(database).claim(*steps, limit=8)
    sa.event.remove(database._engine, "before_cursor_execute", note)
    return sent


def rows_read(plan: dict[str, Any]) -> int:
    """Return how many rows of tables and indexes a plan of PostgreSQL has looked at."""
    own = 0
    if "Relation Name" in plan:
        own = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return int(own) + sum(rows_read(child) for child in plan.get("Plans", ()))


def test_a_claim_on_postgresql_reads_what_is_due_only(postgres: Books) -> None:
    """10,000 batches under way and 10,000 shards that wait for theirs: a look finds the few that are due."""
    fill(postgres)
    sent = statements_of_a_claim(postgres.database, *Step)

    read = 0
    with postgres.database.read() as connection:
        for statement, parameters in sent:
            explained = connection.exec_driver_sql(
                f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters
            ).scalar_one()
            [plan] = json.loads(explained) if isinstance(explained, str) else explained
            read += rows_read(plan["Plan"])

    assert len(sent) > 3
    assert read < 200


def test_a_claim_on_sqlite_scans_neither_chunks_nor_shards(tmp_path: Any) -> None:
    database = open_sqlite(tmp_path / "ledger.db")
    fill(Books(database))
    sent = statements_of_a_claim(database, *Step)

    with database.read() as connection:
        plans = [
            row[3]
            for statement, parameters in sent
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]

    database.close()
    assert any("SEARCH chunks" in plan for plan in plans)
    assert [plan for plan in plans if plan.startswith(("SCAN chunks", "SCAN shards"))] == []


@pytest.mark.parametrize("limit", [1, 8])
def test_a_claim_finds_what_is_due_among_much_that_is_not(postgres: Books, limit: int) -> None:
    fill(postgres)

    assert [claim.unit.chunk_id for claim in postgres.claim(Step.POLL, limit=limit, now=NOW)] == [a_chunk("due-1").id]
