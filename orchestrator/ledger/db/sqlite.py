"""SQLite as the ledger's database: one machine, nothing to install, one writer at a time.

Rule: a commit waits for the disk, and a file system without reliable locks is refused.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool, StaticPool

from orchestrator.domain.errors import LedgerError
from orchestrator.storage import permissions

BUSY_S: Final = 30
FIRST_S_MAX: Final = 5.0
LOOK_S: Final = 0.02
NETWORK_FILESYSTEMS: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "lustre", "glusterfs", "beegfs", "gpfs", "pvfs2"}
    | {"ocfs2", "gfs2", "davfs", "fuse.davfs2", "fuse.sshfs", "fuse.s3fs", "fuse.glusterfs", "fuse.ceph"}
    | {"fuse.rclone", "fuse.gcsfuse"}
)


_compiled: Final[dict[Any, Any]] = {}  # SQL of statements, of which the program has some hundred


def sqlite_engine(path: Path | None) -> sa.Engine:
    """Return the engine of the ledger in the file `path`; None keeps it in memory. Raises LedgerError."""
    if path is not None:
        refuse_network_disk(path)
        with suppress(OSError):  # SQLite's own error is better
            permissions.make_file(path)  # before SQLite creates it with the umask's mode; its WAL gets the same mode
    dialect, place = _dialect(), ":memory:" if path is None else str(path)
    connect = partial(dialect.connect, place, timeout=BUSY_S, check_same_thread=False)
    pool = (StaticPool if path is None else QueuePool)(connect, dialect=dialect)
    url = sa.URL.create("sqlite", database=place)
    engine = sa.Engine(pool, dialect, url, execution_options={"compiled_cache": _compiled})
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _begin)
    return engine


@cache
def _dialect() -> sa.Dialect:
    """Return the dialect of all ledgers of this process.

    With one of its own, which `create_engine` makes, each would have its statements compiled anew: 40 ms for each job
    that a program asks after.
    """
    engine = sa.create_engine("sqlite://")
    engine.connect().close()  # it asks SQLite's version then
    engine.dispose()
    return engine.dialect


def _prepare(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver would begin transactions by itself, and late
    cursor = connection.cursor()
    _write_ahead(cursor)
    # FULL, not NORMAL: a committed intent that a power loss rolls back is a second payment (RELIABILITY §4).
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute(f"PRAGMA busy_timeout={BUSY_S * 1000}")
    cursor.close()


def _write_ahead(cursor: Any) -> None:
    """Of several who open a new file at once, SQLite refuses some without waiting: they ask again."""
    until = time.monotonic() + FIRST_S_MAX
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(LOOK_S)
        else:
            return


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
