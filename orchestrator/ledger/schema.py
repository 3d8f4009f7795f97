"""The ledger's tables, and how its schema moves forward.

Rule 1: times are UTC microseconds, money is integer billionths of a USD: both compare and add up exactly in SQL.
Rule 2: what must never be is made impossible here where SQL can: a second live attempt of a chunk, a batch that
        belongs to two attempts.
Rule 3: a schema only moves forward, one numbered migration at a time; a newer one than ours is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

import sqlalchemy as sa

from orchestrator.domain.errors import LedgerError

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
NANO: Final = Decimal("0.000000001")


class Utc(sa.types.TypeDecorator[datetime]):
    """An aware UTC datetime, kept as microseconds since 1970."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:  # noqa: ARG002
        """Return microseconds."""
        return None if value is None else (value - EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        """Return an aware datetime."""
        return None if value is None else EPOCH + timedelta(microseconds=value)


class Usd(sa.types.TypeDecorator[Decimal]):
    """An amount in USD, kept as billionths."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: sa.Dialect) -> int | None:  # noqa: ARG002
        """Return billionths."""
        return None if value is None else int(value / NANO)

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> Decimal | None:  # noqa: ARG002
        """Return a Decimal with nine places."""
        return None if value is None else int(value) * NANO


metadata = sa.MetaData()


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, default=0)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, default="")


def _claimable() -> list[sa.Column[object]]:
    """Return what makes a row a unit of work: when it is due, who has it until when, and its two counters."""
    return [
        sa.Column("due_at", Utc),
        sa.Column("lease_until", Utc, nullable=False, default=EPOCH),
        sa.Column("token", sa.BigInteger, nullable=False, default=0),
        sa.Column("version", sa.BigInteger, nullable=False, default=0),
    ]


meta = sa.Table("meta", metadata, sa.Column("key", sa.Text, primary_key=True), _text("value"))

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("paused_until", Utc, nullable=False, default=EPOCH),
    _text("pause_reason"),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _text("name"),
    _text("account"),
    _text("spec"),
    _text("policy"),
    _text("state"),
    _text("due"),
    _text("reason"),
    _count("revision"),
    _count("rounds_max"),
    _count("retry_count"),
    sa.Column("created_at", Utc, nullable=False),
    sa.Column("ended_at", Utc),
    *_claimable(),
)

shards = sa.Table(
    "shards",
    metadata,
    sa.Column("job_id", sa.Text, primary_key=True),
    sa.Column("shard_no", sa.BigInteger, primary_key=True, autoincrement=False),
    _text("state"),
    *map(_count, ("row_count", "chunk_count", "slice_count", "refused_count", "settled_count", "finished_slice_count")),
    *_claimable(),
)

TALLY: Final = (
    "succeeded",
    "dead",
    "waiting",
    "resent",
    "missing",
    "lines",
    "duplicates",
    "foreign",
    "unreadable",
)

chunks = sa.Table(
    "chunks",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _text("job_id"),
    _text("account"),
    sa.Column("shard_no", sa.BigInteger),
    *map(_count, ("row_start", "row_end", "request_count", "request_bytes", "round", "tokens_in", "attempt", "tries")),
    *map(_text, ("requests", "state", "results", "error_code", "error", "part")),
    sa.Column("cost_usd_max", Usd),
    sa.Column("fees_usd", Usd),
    *(sa.Column(key, sa.Text) for key in ("token_sent", "file_id", "batch_id", "outcome")),
    *(sa.Column(key, Utc) for key in ("sent_at", "fenced_at", "waiting_since")),
    *(
        sa.Column(key, sa.Boolean, nullable=False, default=False)
        for key in ("cancel_requested", "cancel_sent", "regather")
    ),
    *map(_count, ("done_count", "failed_count", *TALLY)),
    *_claimable(),
)
sa.Index("chunks_due", chunks.c.due_at, chunks.c.state)
sa.Index("chunks_by_job", chunks.c.job_id, chunks.c.state)
sa.Index("chunks_by_account", chunks.c.account, chunks.c.state)

chunk_shards = sa.Table(
    "chunk_shards",
    metadata,
    sa.Column("chunk_id", sa.Text, primary_key=True),
    sa.Column("shard_no", sa.BigInteger, primary_key=True, autoincrement=False),
    _text("job_id"),
    _count("row_count"),
    _count("dead"),
)
sa.Index("chunk_shards_by_shard", chunk_shards.c.job_id, chunk_shards.c.shard_no)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("token", sa.Text, primary_key=True),
    _text("job_id"),
    _text("chunk_id"),
    _count("number"),
    _text("state"),
    sa.Column("reserved_usd", Usd, nullable=False, default=Decimal(0)),
    sa.Column("cost_usd", Usd),
    sa.Column("batch_id", sa.Text),
    sa.Column("sent_at", Utc, nullable=False),
    _text("digest"),
    sa.UniqueConstraint("chunk_id", "number"),
    sa.UniqueConstraint("job_id", "batch_id"),
)
_LIVE = attempts.c.state.in_(("open", "created"))
sa.Index("one_live_attempt", attempts.c.chunk_id, unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE)
sa.Index("attempts_by_job", attempts.c.job_id, attempts.c.state)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    _text("job_id"),
    sa.Column("at", Utc, nullable=False),
    _text("name"),
    _text("unit"),
    _text("details"),
)
sa.Index("events_by_job", events.c.job_id, events.c.id)


def _first(connection: sa.Connection) -> None:
    metadata.create_all(connection)


Migration = Callable[[sa.Connection], None]
MIGRATIONS: Final[Sequence[Migration]] = (_first,)  # number n takes a ledger from schema n to n + 1; append only


def migrate(connection: sa.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the schema up to date within the caller's transaction. Raises LedgerError for one that is newer."""
    connection.execute(sa.schema.CreateTable(meta, if_not_exists=True))
    found = connection.execute(sa.select(meta.c.value).where(meta.c.key == "schema")).scalar()
    present = int(found or 0)
    if present > len(migrations):
        raise LedgerError(
            f"the ledger has schema {present}, this program knows up to {len(migrations)}: "
            "a newer version wrote it; upgrade this one, or use another work folder"
        )
    for migration in migrations[present:]:
        migration(connection)
    if found is None:
        connection.execute(sa.insert(meta).values(key="schema", value=str(len(migrations))))
    elif present < len(migrations):
        connection.execute(sa.update(meta).where(meta.c.key == "schema").values(value=str(len(migrations))))
