"""How the ledger's schema moves forward: one numbered migration after the other, each in words that never change.

Rule 1: a migration that has been published is frozen. It spells out what it does, and reads none of today's tables.
Rule 2: a migration only adds. A program of the schema before it, already at work, goes on working beside it: tables
        keep their columns, a new column may be null or has a default. A test holds every migration to that. An index
        that keeps nothing unique may make way for a better one.
Rule 3: a schema from the future is refused; nothing is ever taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import sqlalchemy as sa

from orchestrator.domain.errors import LedgerTooNew
from orchestrator.ledger import claims
from orchestrator.ledger.db.schema import meta

Migration = Callable[[sa.Connection], None]

_SCHEMA_1: Final = """
CREATE TABLE accounts (
    name TEXT NOT NULL,
    paused_until BIGINT NOT NULL,
    pause_reason TEXT NOT NULL,
    PRIMARY KEY (name)
);
CREATE TABLE attempts (
    token TEXT NOT NULL,
    job_id TEXT NOT NULL,
    chunk_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    state TEXT NOT NULL,
    reserved_usd BIGINT NOT NULL,
    cost_usd BIGINT,
    batch_id TEXT,
    sent_at BIGINT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (token),
    UNIQUE (chunk_id, number),
    UNIQUE (job_id, batch_id)
);
CREATE INDEX attempts_by_job ON attempts (job_id, state);
CREATE UNIQUE INDEX one_live_attempt ON attempts (chunk_id) WHERE state IN ('open', 'created');
CREATE TABLE chunk_shards (
    chunk_id TEXT NOT NULL,
    shard_no BIGINT NOT NULL,
    job_id TEXT NOT NULL,
    row_count BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    PRIMARY KEY (chunk_id, shard_no)
);
CREATE INDEX chunk_shards_by_shard ON chunk_shards (job_id, shard_no);
CREATE TABLE chunks (
    id TEXT NOT NULL,
    job_id TEXT NOT NULL,
    account TEXT NOT NULL,
    shard_no BIGINT,
    row_start BIGINT NOT NULL,
    row_end BIGINT NOT NULL,
    request_count BIGINT NOT NULL,
    request_bytes BIGINT NOT NULL,
    round BIGINT NOT NULL,
    tokens_in BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    requests TEXT NOT NULL,
    state TEXT NOT NULL,
    results TEXT NOT NULL,
    error_code TEXT NOT NULL,
    error TEXT NOT NULL,
    part TEXT NOT NULL,
    cost_usd_max BIGINT,
    fees_usd BIGINT,
    token_sent TEXT,
    file_id TEXT,
    batch_id TEXT,
    outcome TEXT,
    sent_at BIGINT,
    fenced_at BIGINT,
    waiting_since BIGINT,
    cancel_requested BOOLEAN NOT NULL,
    cancel_sent BOOLEAN NOT NULL,
    regather BOOLEAN NOT NULL,
    done_count BIGINT NOT NULL,
    failed_count BIGINT NOT NULL,
    succeeded BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    waiting BIGINT NOT NULL,
    resent BIGINT NOT NULL,
    missing BIGINT NOT NULL,
    lines BIGINT NOT NULL,
    duplicates BIGINT NOT NULL,
    "foreign" BIGINT NOT NULL,
    unreadable BIGINT NOT NULL,
    due_at BIGINT,
    lease_until BIGINT NOT NULL,
    token BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX chunks_by_account ON chunks (account, state);
CREATE INDEX chunks_by_job ON chunks (job_id, state);
CREATE INDEX chunks_due ON chunks (due_at, state);
CREATE TABLE events (
    id {number} NOT NULL,
    job_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    name TEXT NOT NULL,
    unit TEXT NOT NULL,
    details TEXT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX events_by_job ON events (job_id, id);
CREATE TABLE jobs (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    account TEXT NOT NULL,
    spec TEXT NOT NULL,
    policy TEXT NOT NULL,
    state TEXT NOT NULL,
    due TEXT NOT NULL,
    reason TEXT NOT NULL,
    revision BIGINT NOT NULL,
    rounds_max BIGINT NOT NULL,
    retry_count BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    ended_at BIGINT,
    due_at BIGINT,
    lease_until BIGINT NOT NULL,
    token BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE IF NOT EXISTS meta (
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY ("key")
);
CREATE TABLE shards (
    job_id TEXT NOT NULL,
    shard_no BIGINT NOT NULL,
    state TEXT NOT NULL,
    row_count BIGINT NOT NULL,
    chunk_count BIGINT NOT NULL,
    slice_count BIGINT NOT NULL,
    refused_count BIGINT NOT NULL,
    settled_count BIGINT NOT NULL,
    finished_slice_count BIGINT NOT NULL,
    due_at BIGINT,
    lease_until BIGINT NOT NULL,
    token BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (job_id, shard_no)
);
"""

_SCHEMA_2: Final = """
CREATE TABLE workers (
    id TEXT NOT NULL,
    host TEXT NOT NULL,
    kind TEXT NOT NULL,
    queues TEXT NOT NULL,
    version TEXT NOT NULL,
    pid BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX shards_due ON shards (state, due_at, job_id, shard_no);
CREATE INDEX shards_settled ON shards (state, due_at, job_id, shard_no) WHERE settled_count = row_count;
CREATE INDEX step_failures ON events (job_id, unit, at) WHERE name = 'step.failed';
"""

_SCHEMA_3: Final = """
DROP INDEX chunks_due;
CREATE INDEX chunks_by_step ON chunks (state, due_at, id);
CREATE INDEX chunks_to_cancel ON chunks (state, due_at, id) WHERE {cancel_requested};
CREATE INDEX chunks_waiting ON chunks (job_id) WHERE waiting > 0;
CREATE INDEX shards_by_job ON shards (job_id, state);
"""

_SCHEMA_4: Final = """
ALTER TABLE attempts ADD COLUMN key_mark TEXT;
"""

_SCHEMA_5: Final = """
ALTER TABLE chunks ADD COLUMN starts BIGINT DEFAULT '0' NOT NULL;
ALTER TABLE jobs ADD COLUMN starts BIGINT DEFAULT '0' NOT NULL;
ALTER TABLE shards ADD COLUMN starts BIGINT DEFAULT '0' NOT NULL;
"""


def _first(connection: sa.Connection) -> None:
    number = "INTEGER" if connection.dialect.name == "sqlite" else "BIGSERIAL"
    _run(connection, _SCHEMA_1.format(number=number))


def _second(connection: sa.Connection) -> None:
    """Who is at work; what is due, for whoever scales the workers; and shards found without reading all of them."""
    _run(connection, _SCHEMA_2)
    show_due_steps(connection)


def _third(connection: sa.Connection) -> None:
    """What is due and what is left to do, found without reading what is under way or done."""
    is_sqlite = connection.dialect.name == "sqlite"
    _run(connection, _SCHEMA_3.format(cancel_requested="cancel_requested = 1" if is_sqlite else "cancel_requested"))
    show_due_steps(connection)


def _fourth(connection: sa.Connection) -> None:
    """Which credential a create was begun with. A program of schema 3 leaves it null: then nothing is known of it."""
    _run(connection, _SCHEMA_4)


def _fifth(connection: sa.Connection) -> None:
    """How often a step was begun that never came to an end. A program of schema 4 neither counts nor resets."""
    _run(connection, _SCHEMA_5)


def show_due_steps(connection: sa.Connection) -> None:
    """Make or renew the view `due_steps` (PostgreSQL only).

    It is made from the conditions that claims are made from. Where those change, a new migration calls this again; a
    test compares the view with the conditions.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("DROP VIEW IF EXISTS due_steps")
        connection.exec_driver_sql(f"CREATE VIEW due_steps AS {claims.due_steps_sql(connection.dialect)}")


def _run(connection: sa.Connection, script: str) -> None:
    for statement in script.split(";\n"):
        if statement.strip():
            connection.exec_driver_sql(statement)


# Number n takes schema n to n + 1; append only.
MIGRATIONS: Final[Sequence[Migration]] = (_first, _second, _third, _fourth, _fifth)


def present_schema(connection: sa.Connection) -> int:
    """Return the number of the ledger's schema; 0 where it has none yet."""
    if not sa.inspect(connection).has_table(meta.name):
        return 0
    return int(connection.execute(sa.select(meta.c.value).where(meta.c.key == "schema")).scalar() or 0)


def migrate(connection: sa.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the schema up to date within the caller's transaction. Raises LedgerTooNew."""
    present = present_schema(connection)
    if present > len(migrations):
        raise LedgerTooNew(
            f"the ledger has schema {present}, this program knows up to {len(migrations)}: "
            "a newer version wrote it; upgrade this one, or use another work folder"
        )
    if present == len(migrations):
        return
    for migration in migrations[present:]:
        migration(connection)
    connection.execute(sa.delete(meta).where(meta.c.key == "schema"))
    connection.execute(sa.insert(meta).values(key="schema", value=str(len(migrations))))
