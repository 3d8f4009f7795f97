"""What a claim reads: what is due, not what there is. Measured by the database's own account of its plan."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
import sqlalchemy as sa

from orchestrator.domain.changes import AttemptClosed, AttemptOpened
from orchestrator.domain.model import AttemptState, BatchId, ChunkState, Step
from orchestrator.ledger.db import schema
from orchestrator.ledger.db.database import open_sqlite
from tests.builders import JOB, NOW, a_chunk, a_job, after, an_attempt
from tests.contract.ledger_harness import LedgerHarness

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


def fill(harness: LedgerHarness) -> None:
    """Enter many submitted chunks that are not due, many shards that wait for theirs, and little that is due."""
    harness.open(a_job(batches_in_flight_max=2 * MANY), shards=3)
    harness.add(a_chunk("c00000-00000", state=ChunkState.SUBMITTED), due_at=after(60))
    harness.add(a_chunk("due-1", state=ChunkState.SUBMITTED))
    with harness.database.write() as tx:
        multiply(tx, schema.chunks, f"id = '{a_chunk('c00000-00000').id}'", id=f"'{JOB}/x' || n")
        multiply(tx, schema.shards, "shard_no = 0", shard_no="n", state="'planned'", row_count="10")
        if tx.dialect.name == "postgresql":  # what its own vacuum does; nobody does it for SQLite
            tx.exec_driver_sql("ANALYZE")


def put_all_due(harness: LedgerHarness) -> None:
    """Let every chunk be due at once, as after an hour in which nobody was at work."""
    with harness.database.write() as tx:
        tx.execute(sa.update(schema.chunks).values(due_at=NOW))


@contextmanager
def queries(harness: LedgerHarness) -> Iterator[list[tuple[str, Any]]]:
    """Give the list of the queries that are sent in the block, with their parameters."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_rest: object) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH")):
            sent.append((statement, parameters))

    sa.event.listen(harness.database._engine, "before_cursor_execute", note)
    yield sent
    sa.event.remove(harness.database._engine, "before_cursor_execute", note)


def queries_of_a_round(harness: LedgerHarness) -> list[tuple[str, Any]]:
    """Return the queries of a round of handing out: a look, claims of what it found, and a review's own look."""
    with queries(harness) as sent:
        assert harness.ledger.due(now=NOW) == {Step.POLL, Step.PLAN, Step.REVIEW}
        harness.claim(*frozenset(Step) - {Step.SUBMIT}, limit=8)
        harness.ledger.outlook(JOB)
    return sent


def rows_read(plan: dict[str, Any]) -> int:
    """Return how many rows of tables and indexes a plan of PostgreSQL has looked at."""
    own = 0
    if "Relation Name" in plan:
        own = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return int(own) + sum(rows_read(child) for child in plan.get("Plans", ()))


@pytest.mark.parametrize("all_due", [False, True])
def test_a_round_on_postgresql_reads_what_it_hands_out_only(postgres: LedgerHarness, all_due: bool) -> None:
    """10,000 batches under way, few of them due or all, and 10,000 shards that wait for theirs."""
    fill(postgres)
    if all_due:
        put_all_due(postgres)
        with postgres.database._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as server:
            server.exec_driver_sql("VACUUM ANALYZE")
    sent = queries_of_a_round(postgres)

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


def test_a_round_on_sqlite_goes_by_what_is_due_and_in_its_order(tmp_path: Any) -> None:
    """Neither scans, nor sorts but what has few rows; what is polled is neither read nor sorted whole."""
    database = open_sqlite(tmp_path / "ledger.db")
    fill(LedgerHarness(database))
    sent = queries_of_a_round(LedgerHarness(database))

    searches = set()
    with database.read() as connection:
        for statement, parameters in sent:
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters):
                if " chunks " in row[3] or " shards " in row[3]:
                    searches.add(row[3])

    database.close()
    assert searches == {
        "SEARCH chunks USING INDEX chunks_by_step (state=? AND due_at<?)",
        "SEARCH chunks USING INDEX chunks_to_cancel (state=? AND due_at<?)",
        "SEARCH chunks USING INDEX chunks_waiting (job_id=?)",
        "SEARCH chunks USING INDEX chunks_of_canary (job_id=?)",
        "SEARCH chunks USING INDEX chunks_of_canary (job_id=? AND state=?)",
        "SEARCH chunks USING INDEX chunks_by_job (job_id=? AND state=?)",
        "SEARCH chunks USING COVERING INDEX chunks_by_job (job_id=? AND state=?)",
        "SEARCH shards USING INDEX shards_by_job (job_id=? AND state=?)",
        "SEARCH shards USING INDEX shards_settled (state=? AND due_at<?)",
        "SEARCH shards USING INDEX shards_due (state=? AND due_at<?)",
    }


def test_a_batch_is_compared_with_those_of_all_creates_by_an_index(tmp_path: Any) -> None:
    """However many creates there were, of whatever jobs."""
    database = open_sqlite(tmp_path / "ledger.db")
    harness = LedgerHarness(database)
    harness.open()
    harness.add(a_chunk())
    harness.write(AttemptOpened(attempt=an_attempt(), budget_usd=None))
    [claim] = harness.claim(Step.REVIEW)
    closed = AttemptClosed(token=an_attempt().token, state=AttemptState.CREATED, batch_id=BatchId("batch-1"))

    with queries(harness) as sent:
        harness.ledger.record(claim, closed, now=NOW)

    with database.read() as connection:
        plans = [
            row[3]
            for statement, parameters in sent
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]
    database.close()
    assert any("(provider=? AND batch_id=?)" in plan for plan in plans)
    assert not [plan for plan in plans if plan.startswith("SCAN ")]


@pytest.mark.parametrize("limit", [1, 8])
def test_a_claim_finds_what_is_due_among_much_that_is_not(postgres: LedgerHarness, limit: int) -> None:
    fill(postgres)

    assert [claim.unit.chunk_id for claim in postgres.claim(Step.POLL, limit=limit, now=NOW)] == [a_chunk("due-1").id]
