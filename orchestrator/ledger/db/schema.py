"""The ledger's tables.

Rule 1: times are UTC microseconds, money is integer billionths of a USD: SQL compares and adds both exactly.
Rule 2: constraints forbid invalid states where SQL can: a second open attempt of a chunk, a batch that belongs to two
        attempts, of whatever jobs.
Rule 3: these tables are the newest schema; `migrations` makes them in a new database.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

import sqlalchemy as sa

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
NANO: Final = Decimal("0.000000001")
_MICROSECOND: Final = timedelta(microseconds=1)


class Utc(sa.types.TypeDecorator[datetime]):
    """An aware UTC datetime, stored as microseconds since 1970."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:  # noqa: ARG002
        """Return microseconds."""
        return None if value is None else (value - EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        """Return an aware datetime."""
        return None if value is None else EPOCH + timedelta(microseconds=value)


class Usd(sa.types.TypeDecorator[Decimal]):
    """An amount in USD, stored as billionths."""

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
    """Return the columns of a unit of work: its due time, its lease, and its counters."""
    return [
        sa.Column("due_at", Utc),
        sa.Column("lease_until", Utc, nullable=False, default=EPOCH),
        sa.Column("token", sa.BigInteger, nullable=False, default=0),
        sa.Column("version", sa.BigInteger, nullable=False, default=0),
        # How often a worker began a step of it since a step last recorded a change or a failure.
        sa.Column("starts", sa.BigInteger, nullable=False, default=0),
    ]


meta = sa.Table("meta", metadata, sa.Column("key", sa.Text, primary_key=True), _text("value"))

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("paused_until", Utc, nullable=False, default=EPOCH),
    _text("pause_reason"),
    _count("pause_count"),
    sa.Column("needs_person", sa.Boolean, nullable=False, default=False),
    sa.Column("is_probing", sa.Boolean, nullable=False, default=False),  # no create has succeeded since its last pause
    sa.Column("in_flight_max", sa.BigInteger),  # learned: how many batches its queue takes
    sa.Column("learned_at", Utc, nullable=False, default=EPOCH),
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
    _text("decision"),
    _text("approved"),
    _text("canary"),
    _count("revision"),
    _count("rounds_max"),
    _count("retry_count"),
    _text("retrying"),
    _text("changes"),
    sa.Column("created_at", Utc, nullable=False),
    sa.Column("ended_at", Utc),
    sa.Column("paused_at", Utc),
    *_claimable(),
)

shards = sa.Table(
    "shards",
    metadata,
    sa.Column("job_id", sa.Text, primary_key=True),
    sa.Column("shard_no", sa.BigInteger, primary_key=True, autoincrement=False),
    _text("state"),
    _text("causes"),
    *map(_count, ("row_count", "chunk_count", "slice_count", "refused_count", "settled_count", "finished_slice_count")),
    *_claimable(),
)

_IN_ORDER: Final = (shards.c.state, shards.c.due_at, shards.c.job_id, shards.c.shard_no)
_SETTLED: Final = shards.c.settled_count == shards.c.row_count
sa.Index("shards_due", *_IN_ORDER)
sa.Index("shards_by_job", shards.c.job_id, shards.c.state)
sa.Index("shards_settled", *_IN_ORDER, sqlite_where=_SETTLED, postgresql_where=_SETTLED)

USAGE: Final = ("input_tokens", "output_tokens", "wasted_nano_usd")
TALLY: Final = (
    "succeeded",
    "failed",
    "standing",
    "waiting",
    "resent",
    "reopened",
    "missing",
    "lines",
    "duplicates",
    "foreign",
    "unreadable",
    "truncated_answers",
    "empty_answers",
    "refused_answers",
    "unpriced",
    "unreadable_rows",
    "unread_answers",
    *USAGE,
)

chunks = sa.Table(
    "chunks",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _text("job_id"),
    _text("account"),
    sa.Column("shard_no", sa.BigInteger),
    *map(_count, ("row_start", "row_end", "request_count", "request_bytes", "round", "tokens_in", "attempt", "tries")),
    *map(_count, ("setbacks", "revision")),
    *map(
        _text,
        (
            *("requests", "state", "results", "error_code", "error", "part", "causes", "changes"),
            *("regather", "improves", "amends", "refused_places"),
        ),
    ),
    sa.Column("cost_usd_max", Usd),
    sa.Column("fees_usd", Usd),
    *(sa.Column(key, sa.Text) for key in ("token_sent", "file_id", "batch_id", "outcome")),
    _text("provider_status"),
    *(
        sa.Column(key, Utc)
        for key in ("sent_at", "fenced_at", "failing_since", "waiting_since", "looked_at", "ended_at", "collected_at")
    ),
    *(
        sa.Column(key, sa.Boolean, nullable=False, default=False)
        for key in ("cancel_requested", "cancel_sent", "is_canary", "improves_reused")
    ),
    *map(_count, ("done_count", "failed_count", *TALLY)),
    *_claimable(),
)
_BY_STEP: Final = (chunks.c.state, chunks.c.due_at, chunks.c.id)
sa.Index("chunks_by_step", *_BY_STEP)
sa.Index(
    "chunks_to_cancel",
    *_BY_STEP,
    sqlite_where=sa.text("cancel_requested = 1"),  # SQLite has no booleans: the query's condition has this form there
    postgresql_where=chunks.c.cancel_requested,
)
sa.Index("chunks_by_job", chunks.c.job_id, chunks.c.state)
# The number is a constant in the index, so also in the query.
HAS_WAITING: Final = chunks.c.waiting > sa.literal_column("0")
sa.Index("chunks_waiting", chunks.c.job_id, sqlite_where=HAS_WAITING, postgresql_where=HAS_WAITING)
sa.Index(
    "chunks_of_canary",
    *(chunks.c.job_id, chunks.c.state),
    sqlite_where=sa.text("is_canary = 1"),  # as above
    postgresql_where=chunks.c.is_canary,
)
sa.Index("chunks_by_account", chunks.c.account, chunks.c.state)
# The condition is in the query, too: the latest of very many ended batches are found without reading the others.
ENDED_ONCE: Final = chunks.c.ended_at.is_not(None)
sa.Index("chunks_by_end", chunks.c.job_id, chunks.c.ended_at, sqlite_where=ENDED_ONCE, postgresql_where=ENDED_ONCE)
sa.Index("chunks_in_order", chunks.c.job_id, chunks.c.shard_no, chunks.c.row_start)

chunk_shards = sa.Table(
    "chunk_shards",
    metadata,
    sa.Column("chunk_id", sa.Text, primary_key=True),
    sa.Column("shard_no", sa.BigInteger, primary_key=True, autoincrement=False),
    _text("job_id"),
    _count("row_count"),
    _count("failed"),
)
sa.Index("chunk_shards_by_shard", chunk_shards.c.job_id, chunk_shards.c.shard_no)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("token", sa.Text, primary_key=True),
    _text("job_id"),
    _text("provider"),  # an account at an address: no two of its batches have one id
    _text("chunk_id"),
    _count("number"),
    _text("state"),
    sa.Column("reserved_usd", Usd, nullable=False, default=Decimal(0)),
    sa.Column("cost_usd", Usd),
    sa.Column("batch_id", sa.Text),
    sa.Column("sent_at", Utc, nullable=False),
    sa.Column("settled_at", Utc),  # since when nothing is reserved for it; for reports
    _text("digest"),
    _text("key_mark"),
    sa.UniqueConstraint("chunk_id", "number"),
    sa.UniqueConstraint("provider", "batch_id"),
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
# Unexpected errors of steps, counted by unit. The event's name is a constant in the index, so also in the query.
STEP_FAILED: Final = sa.literal_column("'step.failed'", sa.Text)
_FAILED: Final = events.c.name == STEP_FAILED
sa.Index(
    "step_failures",
    *(events.c.job_id, events.c.unit, events.c.at),
    sqlite_where=_FAILED,
    postgresql_where=_FAILED,
)

notices = sa.Table(
    "notices",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    _text("job_id"),
    _text("kind"),
    _text("subject"),
    _text("reason"),
    sa.Column("is_own", sa.Boolean, nullable=False),
    _text("state"),
    sa.Column("at", Utc, nullable=False),
    sa.Column("due_at", Utc, nullable=False),
    sa.Column("ended_at", Utc),
    _count("tries"),
    _text("error"),
)
sa.Index("notices_by_job", notices.c.job_id, notices.c.subject)
NOTICE_WAITS: Final = notices.c.state == sa.literal_column("'waiting'", sa.Text)  # a constant in the index, as above
sa.Index("notices_waiting", notices.c.due_at, sqlite_where=NOTICE_WAITS, postgresql_where=NOTICE_WAITS)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("host", "kind", "queues", "job_id", "version")),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("started_at", Utc, nullable=False),
    sa.Column("seen_at", Utc, nullable=False),
    _text("doing"),
    sa.Column("memory_bytes", sa.BigInteger),
    sa.Column(
        "stop_asked", sa.Boolean, nullable=False, default=False
    ),  # it ends, or a person wants it to: nothing more is begun
)
