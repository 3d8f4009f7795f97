"""A database to keep the ledger in: opened, checked, and written to one whole transaction at a time.

Rule: no transaction is open across a network call, another file's fsync, or a wait; callers get one inside a
`with` block and do nothing else there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.pool import StaticPool

from orchestrator.domain.errors import LedgerError
from orchestrator.ledger import schema

BUSY_S: Final = 30
NETWORK_FILESYSTEMS: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "lustre", "glusterfs", "beegfs", "gpfs", "pvfs2"}
    | {"ocfs2", "gfs2", "davfs", "fuse.davfs2", "fuse.sshfs", "fuse.s3fs", "fuse.glusterfs", "fuse.ceph"}
    | {"fuse.rclone", "fuse.gcsfuse"}
)


class Database:
    """An open ledger database; safe to use from many threads."""

    def __init__(self, engine: sa.Engine, *, one_connection: bool = False) -> None:
        self._engine = engine
        # SQLite lets one writer in at a time and is unfair about whom; in this process a lock is fair and cheap.
        self._writer = threading.Lock()
        self._reader = self._writer if one_connection else nullcontext()

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Run one transaction: committed when the block ends, rolled back when it raises."""
        with self._writer, _translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Run one read transaction."""
        with self._reader, _translated(), self._engine.connect().execution_options(reads_only=True) as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except exc.SQLAlchemyError as error:
        # The statement's parameters stay out of the message: it may be logged.
        raise LedgerError(f"the ledger could not be read or written: {type(error).__name__}: {_cause(error)}") from None


def _cause(error: exc.SQLAlchemyError) -> str:
    return str(error.orig) if isinstance(error, exc.DBAPIError) else error.__class__.__name__


def open_sqlite(path: Path | None) -> Database:
    """Open, or make, the ledger in the file `path`; None keeps it in memory.

    Raises LedgerError: a network disk, a schema from the future, a damaged or unreadable file.
    """
    if path is None:
        engine = sa.create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    else:
        refuse_network_disk(path)
        engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_S, "check_same_thread": False})
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _begin)
    database = Database(engine, one_connection=path is None)
    try:
        with database.write() as transaction:
            schema.migrate(transaction)
    except LedgerError as error:
        engine.dispose()
        raise LedgerError(f"{path or 'memory'}: {error}") from error
    return database


def _prepare(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver would begin transactions of its own, and late
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # FULL, not NORMAL: a committed intent that a power loss rolls back is a second payment (RELIABILITY §4).
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute(f"PRAGMA busy_timeout={BUSY_S * 1000}")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    # IMMEDIATE: a read that turns into a write late can fail although it waited (SQLITE_BUSY_SNAPSHOT).
    reads_only = connection.get_execution_options().get("reads_only", False)
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")


def refuse_network_disk(path: Path, mounts: Path = Path("/proc/self/mounts")) -> None:
    """Raise LedgerError where `path` lies on a network file system (as far as this machine can tell)."""
    if not mounts.exists():
        return
    folder = path.resolve().parent
    best, kind = "", ""
    for line in mounts.read_text(errors="replace").splitlines():
        _device, mounted, filesystem, *_ = (*line.split(" "), "", "")
        mounted = mounted.replace("\\040", " ")
        if (folder == Path(mounted) or Path(mounted) in folder.parents) and len(mounted) >= len(best):
            best, kind = mounted, filesystem
    if kind in NETWORK_FILESYSTEMS:
        raise LedgerError(
            f"{path} lies on a network disk ({kind}, mounted at {best}): SQLite cannot keep a ledger safe there. "
            "Choose a work folder on a local disk"
        )
