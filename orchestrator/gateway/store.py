"""The state that survives a kill: batches, the items they were billed for, the fault plan and its counters.

SQLite (WAL, synchronous=FULL, because an acknowledged batch must not be lost), and beside it
`requests/<batch_id>.json`, the body as received, and `results/<batch_id>.jsonl`, written once when the batch ends.

Rule 1: a request file is in place before its row is written; a file without a row is deleted at the next start.
Rule 2: the bill of a batch and its counts are written in one transaction.
Rule 3: only one server may use a state folder; a second one is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS plan (
    one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL, body TEXT NOT NULL, creates INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS batches (
    task_id INTEGER PRIMARY KEY AUTOINCREMENT,
    batch_id TEXT NOT NULL UNIQUE, file_id TEXT NOT NULL, digest TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    total INTEGER NOT NULL, model TEXT NOT NULL, first_custom_id TEXT NOT NULL, last_custom_id TEXT NOT NULL,
    submitted_at REAL NOT NULL, ends_at REAL NOT NULL, cancelled_at REAL,
    epoch INTEGER NOT NULL, plan TEXT NOT NULL, number INTEGER NOT NULL, fate TEXT NOT NULL, done_share REAL NOT NULL,
    is_settled INTEGER NOT NULL DEFAULT 0, completed INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0, output_tokens INTEGER NOT NULL DEFAULT 0,
    fees_micro_usd INTEGER NOT NULL DEFAULT 0, has_results INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS occasions (
    batch_id TEXT NOT NULL, name TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (batch_id, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS items (
    task_id INTEGER NOT NULL, row_no INTEGER NOT NULL, custom_id TEXT NOT NULL, body INTEGER NOT NULL,
    outcome INTEGER NOT NULL, PRIMARY KEY (task_id, row_no)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS items_by_custom_id ON items (custom_id, body);
CREATE INDEX IF NOT EXISTS batches_by_time ON batches (submitted_at, task_id);
"""
NAMES_PER_QUERY: Final = 500

# What became of an item: `items.outcome`.
NOT_BILLED: Final = 0
DELIVERED: Final = 1  # billed, and readable in the result file
WITHHELD: Final = 2  # billed, but the fault plan took the answer away

# Further names in `occasions`, beside those of calls.
WHOLE_DOWNLOADS: Final = "whole downloads"
DENIED_DOWNLOADS: Final = "denied downloads"


class Fate(StrEnum):
    """What becomes of a batch; chosen when it is created, and changed by a cancel only."""

    SUCCEED = "succeed"
    FAIL = "fail"
    TOKEN_LIMIT = "token_limit"  # noqa: S105 - no secret
    FAIL_PARTIAL = "fail_partial"
    EXPIRE = "expire"
    CANCEL = "cancel"


NEVER_RUN: Final = frozenset({Fate.FAIL, Fate.TOKEN_LIMIT})


class StateFolderInUse(Exception):
    """Another server has this state folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch as stored; its counts and fees are zero until it is settled."""

    task_id: int
    batch_id: str
    file_id: str
    digest: str
    size_bytes: int
    total: int
    model: str
    first_custom_id: str
    last_custom_id: str
    submitted_at: float
    ends_at: float
    cancelled_at: float | None = None
    plan: str  # the fault plan it was created under, as JSON
    number: int = 0  # among the batches of that plan, from 0
    fate: str
    done_share: float
    is_settled: bool = False
    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    fees_micro_usd: int = 0
    has_results: bool = False


# The columns are the fields; those up to `done_share` are known at the create.
COLUMNS: Final = tuple(field.name for field in fields(Batch))
CREATE_COLUMNS: Final = COLUMNS[1 : COLUMNS.index("done_share") + 1]
SELECT_BATCH: Final = f"SELECT {', '.join(COLUMNS)} FROM batches"  # noqa: S608 - names of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The totals of an ended batch, and its items as (row_no, custom_id, body digest, outcome)."""

    completed: int
    failed: int
    input_tokens: int
    output_tokens: int
    fees_micro_usd: int
    has_results: bool
    has_errors: bool = False  # whether there is a file of rows without an answer
    items: list[tuple[int, str, int, int]]


class Store:
    """The state folder. Safe to call from several threads; every method is one transaction."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("requests", "results"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._lock_file = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock_file.close()
            raise StateFolderInUse(f"{folder}: another gateway is running on this state folder") from error
        self._writer = _connect(folder / "gateway.sqlite3")
        self._writer.executescript(SCHEMA)
        self._writing = threading.Lock()
        # A separate connection for reading: a poll must not wait while the bill of a large batch is written.
        self._reader = _connect(folder / "gateway.sqlite3")
        self._reading = threading.Lock()
        self._sweep()

    def close(self) -> None:
        """Close the database and release the folder."""
        self._reader.close()
        self._writer.close()
        self._lock_file.close()

    def request_path(self, batch_id: str) -> Path:
        return self.folder / "requests" / f"{batch_id}.json"

    def result_path(self, batch_id: str) -> Path:
        return self.folder / "results" / f"{batch_id}.jsonl"

    def plan(self) -> str | None:
        """Return the fault plan in force, as JSON."""
        rows = self.query("SELECT body FROM plan")
        return str(rows[0][0]) if rows else None

    def set_plan(self, body: str) -> None:
        """Set the fault plan; its counts start at zero."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO plan VALUES (1, 1, ?, 0)"
                " ON CONFLICT (one) DO UPDATE SET epoch = epoch + 1, body = excluded.body, creates = 0",
                (body,),
            )

    def count_create(self) -> int:
        """Count one more create; return how many there were under the plan before."""
        with self.transaction() as connection:
            (count,) = connection.execute("UPDATE plan SET creates = creates + 1 RETURNING creates").fetchone()
        return int(count) - 1

    def next_number(self) -> int:
        """Return the number, from 0, of the next batch under the plan."""
        rows = self.query("SELECT max(number) FROM batches WHERE epoch = (SELECT epoch FROM plan)")
        return 0 if rows[0][0] is None else int(rows[0][0]) + 1

    def count_call(self, route: str) -> int:
        """Count one more call of a route; return how many there were under the plan before."""
        (epoch,) = self.query("SELECT epoch FROM plan")[0]
        return self.count(f"plan {epoch}", route)

    def add_batch(self, batch: Batch, also: Callable[[sqlite3.Connection, int], None] | None = None) -> Batch:
        """Record an accepted create durably; return it with its task_id.

        `also` writes further rows in the same transaction; if it raises, nothing is written.
        """
        values = [getattr(batch, name) for name in CREATE_COLUMNS]
        marks = ", ".join("?" for _ in values)
        with self.transaction() as connection:
            task_id = connection.execute(
                f"INSERT INTO batches ({', '.join(CREATE_COLUMNS)}, epoch)"  # noqa: S608 - names of ours, values by mark
                f" VALUES ({marks}, (SELECT epoch FROM plan))",
                values,
            ).lastrowid
            if task_id is None:
                raise RuntimeError("SQLite gave the new batch no row id")
            if also is not None:
                also(connection, task_id)
        return replace(batch, task_id=task_id)

    def batch(self, batch_id: str) -> Batch | None:
        rows = self.query(f"{SELECT_BATCH} WHERE batch_id = ?", batch_id)
        return batch_of(rows[0]) if rows else None

    def batches(self) -> list[Batch]:
        """Return all batches, oldest first, including those whose create is delayed."""
        return [batch_of(row) for row in self.query(f"{SELECT_BATCH} ORDER BY task_id")]

    def cancel(self, batch_id: str, *, cancelled_at: float, ends_at: float, done_share: float) -> None:
        """Record a cancel; later ones change nothing."""
        with self.transaction() as connection:
            connection.execute(
                "UPDATE batches SET fate = 'cancel', cancelled_at = ?, ends_at = ?, done_share = ?"
                " WHERE batch_id = ? AND cancelled_at IS NULL AND NOT is_settled",
                (cancelled_at, ends_at, done_share, batch_id),
            )

    def settle(
        self, batch: Batch, settlement: Settlement, also: Callable[[sqlite3.Connection], None] | None = None
    ) -> None:
        """Write the bill of an ended batch once; write nothing if its fate has changed since the settlement was made.

        `also` writes further rows in the same transaction.
        """
        with self.transaction() as connection:
            changed = connection.execute(
                "UPDATE batches SET is_settled = 1, completed = ?, failed = ?, input_tokens = ?, output_tokens = ?,"
                " fees_micro_usd = ?, has_results = ? WHERE task_id = ? AND NOT is_settled"
                " AND fate = ? AND done_share = ?",
                (
                    settlement.completed,
                    settlement.failed,
                    settlement.input_tokens,
                    settlement.output_tokens,
                    settlement.fees_micro_usd,
                    settlement.has_results,
                    batch.task_id,
                    batch.fate,
                    batch.done_share,
                ),
            ).rowcount
            if changed:
                rows = ((batch.task_id, *item) for item in settlement.items)
                connection.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?)", rows)
                if also is not None:
                    also(connection)

    def times_run(self, custom_ids: Iterable[str]) -> dict[str, int]:
        """Return how often each custom_id ran in settled batches; those that never ran are absent."""
        names = list(custom_ids)
        counts: dict[str, int] = {}
        for start in range(0, len(names), NAMES_PER_QUERY):
            some = names[start : start + NAMES_PER_QUERY]
            marks = ", ".join("?" for _ in some)
            statement = f"SELECT custom_id, count(*) FROM items WHERE custom_id IN ({marks}) GROUP BY 1"  # noqa: S608
            counts.update(self.query(statement, *some))
        return counts

    def count(self, batch_id: str, name: str) -> int:
        """Count one more occasion of this name; return how many the batch had before."""
        with self.transaction() as connection:
            (count,) = connection.execute(
                "INSERT INTO occasions VALUES (?, ?, 1)"
                " ON CONFLICT (batch_id, name) DO UPDATE SET count = count + 1 RETURNING count",
                (batch_id, name),
            ).fetchone()
        return int(count) - 1

    def run_script(self, script: str) -> None:
        """Run a schema script."""
        with self._writing:
            self._writer.executescript(script)

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query; it sees committed data only."""
        with self._reading:
            return self._reader.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run writes in one transaction."""
        with self._writing, self._writer:
            self._writer.execute("BEGIN IMMEDIATE")
            yield self._writer

    def _sweep(self) -> None:
        known = {str(batch_id) for (batch_id,) in self.query("SELECT batch_id FROM batches")}
        for path in (self.folder / "requests").iterdir():
            if path.stem not in known:
                path.unlink()
        for path in (self.folder / "results").glob("*.partial"):
            path.unlink()


def put_in_place(temporary: Path, final: Path) -> None:
    """Move a written file to its final name, durably."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(final)
    sync_folder(final.parent)


def sync_folder(path: Path) -> None:
    """Flush the entries of a folder to disk."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def batch_of(row: tuple[Any, ...]) -> Batch:
    """Return the batch in a row of SELECT_BATCH."""
    values = dict(zip(COLUMNS, row, strict=True))
    flags = {name: bool(values[name]) for name in ("is_settled", "has_results")}
    return Batch(**(values | flags))
