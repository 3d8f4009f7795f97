"""PostgreSQL as the ledger's database: many machines, many writers.

Rule 1: every wait is limited: for a connection, a lock, a statement, a session left open.
Rule 2: a migration waits for a lock for less time than the server's deadlock timeout, and then tries again: where a
        worker and a migration block each other, the worker never fails.
Rule 3: a commit waits for the disk, whatever the server's own default is.
"""

from __future__ import annotations

import random
import time
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import exc

from orchestrator.domain.errors import ConfigError
from orchestrator.ledger.db import migrations

SCHEMES: Final = ("postgresql://", "postgres://", "postgresql+psycopg://")
# A transaction only talks to the server: one that is idle for long belongs to a process that is stopped or
# disconnected. The server ends it before the transactions that wait for its locks time out.
SESSION: Final = {
    "statement_timeout": "30s",
    "lock_timeout": "15s",
    "idle_in_transaction_session_timeout": "10s",
    "synchronous_commit": "on",
    "default_transaction_isolation": "read\\ committed",
    "timezone": "UTC",
}
# A peer that disappears without closing the connection is noticed within a minute, on either side.
CONNECTION: Final[dict[str, Any]] = {
    "connect_timeout": 10,
    "application_name": "batch-orchestrator",
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
POOL: Final[dict[str, Any]] = {
    "pool_size": 5,
    "max_overflow": 15,
    "pool_timeout": 30,
    "pool_pre_ping": True,
    "pool_recycle": 1_800,
}
MIGRATING: Final = 0x6F72_6368  # the advisory lock of a migration; any number that nothing else uses
MIGRATION_S_MAX: Final = 120.0
MIGRATION_LOCK_MS: Final = 500  # below PostgreSQL's deadlock_timeout (1 s)
LOCK_NOT_AVAILABLE: Final = "55P03"


def place_of(url: str) -> sa.URL:
    """Return the parts of a URL. Raises ConfigError, which does not show the URL: it may hold a password."""
    rest = url.partition("://")[2]
    authority = rest.partition("/")[0].partition("?")[0]
    if rest.count("@") > 1 or ("@" in rest and "@" not in authority):
        raise _unreadable()
    try:
        place = sa.make_url(f"postgresql+psycopg://{rest}")
    except (exc.ArgumentError, ValueError):
        raise _unreadable() from None
    return place


def _unreadable() -> ConfigError:
    return ConfigError(
        "the ledger's URL cannot be read: it must be postgresql://user:password@host:port/database, with every "
        "@ : / ? # % of the user's name and password percent-encoded (@ is %40)"
    )


def shown(place: sa.URL) -> str:
    """Return where the ledger is, without user, password and options."""
    host = place.host or place.query.get("host", "localhost")
    port = "" if place.port is None else f":{place.port}"
    return f"PostgreSQL at {host}{port}, database {place.database or 'of the user'}"


def without_password(text: str, place: sa.URL) -> str:
    """Remove the password from a text, in case the driver quotes it."""
    for secret in (place.password, place.query.get("password")):
        if secret:
            text = text.replace(str(secret), "***")
    return text


def postgres_engine(place: sa.URL) -> sa.Engine:
    """Return the engine of a ledger; nothing is connected yet. Raises ConfigError where the driver is missing."""
    settings = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
    given = place.query.get("options")
    options = {"options": settings if given is None else f"{settings} {given}"}
    defaults = {name: value for name, value in CONNECTION.items() if name not in place.query}
    try:
        return sa.create_engine(place, connect_args=defaults | options, hide_parameters=True, **POOL)
    except ImportError:
        raise ConfigError(
            "the ledger is in PostgreSQL, and its driver is not installed: pip install 'batch-orchestrator[postgres]'"
        ) from None


def migrate_beside_others(engine: sa.Engine) -> None:
    """Bring the schema up to date: one process at a time, while other processes work."""
    with engine.connect() as connection:
        if migrations.present_schema(connection) == migrations.SCHEMA:
            return
    deadline = time.monotonic() + MIGRATION_S_MAX
    while True:
        try:
            with engine.begin() as tx:
                tx.exec_driver_sql(f"SET LOCAL lock_timeout = {MIGRATION_LOCK_MS}")
                tx.exec_driver_sql("SET LOCAL statement_timeout = 0")
                tx.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATING)))
                migrations.migrate(tx)
        except exc.DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.05, 0.5))  # noqa: S311 - against two that keep meeting
        else:
            return
