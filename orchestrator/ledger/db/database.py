"""The ledger's database: opened, checked, and written to one whole transaction at a time.

Rule 1: no transaction is open during a network call, another file's fsync, or a wait; callers get one inside a
        `with` block and do nothing else there.
Rule 2: SQLite has one writer at a time; PostgreSQL has many, and `locks` defines the order of their locks.
Rule 3: no error shows a password or a statement's parameters.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from orchestrator.domain.errors import ConfigError, LedgerAway, LedgerError
from orchestrator.ledger.db import migrations, postgres, sqlite

P = ParamSpec("P")
T = TypeVar("T")


class Database:
    """An open ledger database; safe to use from many threads."""

    def __init__(self, engine: sa.Engine, *, one_connection: bool = False) -> None:
        self._engine = engine
        self.place = ""  # its name in errors, once it is open
        lock: AbstractContextManager[Any] = threading.Lock()
        # SQLite does not queue its writers; a lock in this process does, at little cost.
        self._writer = nullcontext() if self.is_shared else lock
        self._reader = lock if one_connection else nullcontext()
        # All statements of one read see one state of the database; in SQLite any transaction does.
        self._moment: dict[str, Any] = {"isolation_level": "REPEATABLE READ"} if self.is_shared else {}

    @property
    def is_shared(self) -> bool:
        """Whether programs on several machines may use it at once (PostgreSQL)."""
        return self._engine.dialect.name == "postgresql"

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Run one transaction: committed when the block ends, rolled back when it raises."""
        with self._writer, translated(self.place), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Run one read transaction."""
        options = {"reads_only": True, **self._moment}
        with self._reader, translated(self.place), self._engine.connect().execution_options(**options) as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def asked(ask: Callable[Concatenate[sa.Connection, P], T]) -> Callable[Concatenate[Any, P], T]:
    """Return a method that asks this in a read transaction of its own, of an object that has a `_database`."""

    @wraps(ask)
    def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._database.read() as connection:
            return ask(connection, *args, **kwargs)

    return method


# What can be done about what SQLite says.
_LOOKS = "Its folder must be there, and writable, also for commands that only look: a copy of the folder will do"
_WAYS_OUT: Final = {
    "disk is full": "Free some space and type the command again: what is recorded is kept",
    "unable to open database file": _LOOKS,
    "readonly database": _LOOKS,
}


@contextmanager
def translated(place: str = "") -> Iterator[None]:
    """Convert the driver's errors into ours; `place` names the ledger."""
    try:
        yield
    except exc.SQLAlchemyError as error:
        # The statement's parameters stay out of the message: it may be logged.
        kind = LedgerAway if isinstance(error, exc.OperationalError) else LedgerError
        called = f"the ledger {place}".rstrip()
        cause = _cause(error)
        way_out = next((f". {way}" for what, way in _WAYS_OUT.items() if what in cause), "")
        raise kind(f"{called} could not be read or written: {type(error).__name__}: {cause}{way_out}") from None


def _cause(error: exc.SQLAlchemyError) -> str:
    if not isinstance(error, exc.DBAPIError):
        return error.__class__.__name__
    # The text after a server's first sentence (DETAIL) quotes whole rows.
    provider_message = getattr(getattr(error.orig, "diag", None), "message_primary", None)
    return str(provider_message or error.orig)


def open_ledger(url: str) -> Database:
    """Open, or make, the ledger that a URL names: postgresql://user:password@host/database or sqlite:////a/file.

    Raises:
        ConfigError: a malformed URL, or a driver that is not installed.
        LedgerError: a server that cannot be reached, a schema of a newer version.
    """
    if url.startswith("sqlite:///"):
        return open_sqlite(Path(url.removeprefix("sqlite:///")))
    if not url.startswith(postgres.SCHEMES):
        raise ConfigError(
            f"the ledger's URL begins with {url.partition(':')[0]!r}: give postgresql://user:password@host/database, "
            "or sqlite:////path/of/a/file"
        )
    place = postgres.place_of(url)
    database = Database(postgres.postgres_engine(place))
    try:
        with translated():
            postgres.migrate_beside_others(database._engine)  # noqa: SLF001 - this module's own class
    except LedgerError as error:
        database.close()
        raise type(error)(f"{postgres.shown(place)}: {postgres.without_password(str(error), place)}") from None
    return database


def open_sqlite(path: Path | None) -> Database:
    """Open, or make, the ledger in the file `path`; None keeps it in memory.

    Raises LedgerError: a network disk, a schema of a newer version, a damaged or unreadable file.
    """
    database = Database(sqlite.sqlite_engine(path), one_connection=path is None)
    try:
        # Opening must not wait for a writer: people ask for a job's status while a worker hangs.
        with database.read() as connection:
            present = migrations.present_schema(connection)
        if present != migrations.SCHEMA:
            with database.write() as transaction:
                migrations.migrate(transaction)
    except LedgerError as error:
        database.close()
        raise type(error)(f"{path or 'memory'}: {error}") from error
    database.place = str(path or "")
    return database
