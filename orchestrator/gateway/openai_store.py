"""What OpenAI's dialect stores in addition: files, and the further columns of a batch that was made from a file.

`files/<file_id>.jsonl` holds the bytes; a batch has a second link to its input, `requests/<batch_id>.json`, so that an
input file may be deleted while its batch runs.

Rule 1: a file is in place before its row is written; on deletion the row is marked before the bytes are removed.
Rule 2: a create checks that its input file exists in the transaction that records the batch: once a delete was
        answered, no batch is made from that file, and a batch that was still validating fails.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from orchestrator.gateway.store import COLUMNS, Batch, Fate, Store, batch_of

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS files (
    number INTEGER PRIMARY KEY AUTOINCREMENT, file_id TEXT NOT NULL UNIQUE, filename TEXT NOT NULL,
    purpose TEXT NOT NULL, size_bytes INTEGER NOT NULL, created_at REAL NOT NULL, expires_at REAL NOT NULL,
    batch_id TEXT NOT NULL, deleted_at REAL
);
CREATE TABLE IF NOT EXISTS openai_batches (
    task_id INTEGER PRIMARY KEY, endpoint TEXT NOT NULL, completion_window TEXT NOT NULL, metadata TEXT NOT NULL,
    validated_at REAL NOT NULL, finalizing_at REAL NOT NULL, output_file_id TEXT NOT NULL,
    error_file_id TEXT NOT NULL, kept_s REAL NOT NULL, errors TEXT NOT NULL, has_errors INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS batches_by_file ON batches (file_id);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file; `batch_id` names the batch whose results it holds and is empty for an uploaded file."""

    number: int = 0
    file_id: str
    filename: str
    purpose: str
    size_bytes: int
    created_at: float
    expires_at: float
    batch_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """The further columns of a batch of OpenAI's dialect; its two file ids are shown once the files exist."""

    endpoint: str
    completion_window: str
    metadata: str  # JSON, `null` without
    validated_at: float
    finalizing_at: float
    output_file_id: str
    error_file_id: str
    kept_s: float  # how long its result files are kept
    errors: str  # JSON: `errors.data` of a batch that fails validation
    has_errors: bool = False


FILE_COLUMNS: Final = tuple(field.name for field in fields(File))
EXTRA_COLUMNS: Final = tuple(field.name for field in fields(Extras))
SELECT_FILE: Final = f"SELECT {', '.join(FILE_COLUMNS)} FROM files WHERE deleted_at IS NULL AND expires_at > ?"  # noqa: S608
SELECT_OPENAI: Final = (
    f"SELECT {', '.join((*COLUMNS, *EXTRA_COLUMNS))} FROM openai_batches JOIN batches USING (task_id)"  # noqa: S608
)


class OpenAIStore:
    """Files and batches of OpenAI's dialect, in the database and folder of a Store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folder = store.folder / "files"
        self._folder.mkdir(exist_ok=True)
        store.run_script(SCHEMA)
        self._sweep()

    def file_path(self, file_id: str) -> Path:
        return self._folder / f"{file_id}.jsonl"

    def add_file(self, file: File) -> None:
        """Record durably a file that is in place."""
        with self._store.transaction() as connection:
            insert_file(connection, file)

    def file(self, file_id: str, now: float) -> File | None:
        """Return a file that is neither deleted nor expired."""
        rows = self._store.query(f"{SELECT_FILE} AND file_id = ?", now, file_id)
        return _file(rows[0]) if rows else None

    def files(self, now: float, *, purpose: str | None, after: File | None, is_rising: bool, limit: int) -> list[File]:
        """Return up to `limit` files behind `after`, newest first, oldest first if `is_rising`."""
        compare, order = (">", "ASC") if is_rising else ("<", "DESC")
        statement = SELECT_FILE
        values: list[object] = [now]
        if purpose is not None:
            statement, values = f"{statement} AND purpose = ?", [*values, purpose]
        if after is not None:
            statement, values = f"{statement} AND number {compare} ?", [*values, after.number]
        return [_file(row) for row in self._store.query(f"{statement} ORDER BY number {order} LIMIT ?", *values, limit)]

    def delete_file(self, file_id: str, clock: Callable[[], float], errors: str) -> bool:
        """Delete a file durably; return whether it existed.

        A batch of it that is still validating fails with `errors`; one whose create is still delayed is never created.
        """
        with self._store.transaction() as connection:
            now = clock()  # read inside the transaction: no create or settlement may happen between the two
            is_deleted = connection.execute(
                "UPDATE files SET deleted_at = ? WHERE file_id = ? AND deleted_at IS NULL AND expires_at > ?",
                (now, file_id, now),
            ).rowcount
            if not is_deleted:
                return False
            late = "SELECT task_id FROM batches WHERE file_id = ? AND submitted_at > ?"
            connection.execute(f"DELETE FROM openai_batches WHERE task_id IN ({late})", (file_id, now))  # noqa: S608
            connection.execute("DELETE FROM batches WHERE file_id = ? AND submitted_at > ?", (file_id, now))
            validating = (
                "SELECT task_id FROM openai_batches JOIN batches USING (task_id)"
                " WHERE file_id = ? AND validated_at > ? AND cancelled_at IS NULL AND NOT is_settled"
            )
            connection.execute(
                f"UPDATE openai_batches SET errors = ? WHERE task_id IN ({validating})",  # noqa: S608
                (errors, file_id, now),
            )
            connection.execute(
                "UPDATE batches SET fate = ?, done_share = 0, ends_at ="  # noqa: S608
                f" (SELECT validated_at FROM openai_batches AS extras WHERE extras.task_id = batches.task_id)"
                f" WHERE task_id IN ({validating})",
                (Fate.FAIL, file_id, now),
            )
        self.file_path(file_id).unlink(missing_ok=True)
        return True

    def batch(self, batch_id: str) -> tuple[Batch, Extras] | None:
        """Return a batch; None if there is none of this dialect."""
        rows = self._store.query(f"{SELECT_OPENAI} WHERE batch_id = ?", batch_id)
        return _pair(rows[0]) if rows else None

    def page(self, *, until: float, after: Batch | None, limit: int) -> list[tuple[Batch, Extras]]:
        """Return up to `limit` batches submitted at or before `until`, newest first, those older than `after`."""
        statement = f"{SELECT_OPENAI} WHERE submitted_at <= ?"
        values: list[object] = [until]
        if after is not None:
            statement += " AND (submitted_at, task_id) < (?, ?)"
            values += [after.submitted_at, after.task_id]
        rows = self._store.query(f"{statement} ORDER BY submitted_at DESC, task_id DESC LIMIT ?", *values, limit)
        return [_pair(row) for row in rows]

    def _sweep(self) -> None:
        known = {str(row[0]) for row in self._store.query("SELECT file_id FROM files WHERE deleted_at IS NULL")}
        for path in self._folder.iterdir():
            if path.stem not in known:
                path.unlink()


def insert_file(connection: sqlite3.Connection, file: File) -> None:
    """Write a file's row."""
    names = FILE_COLUMNS[1:]
    marks = ", ".join("?" for _ in names)
    statement = f"INSERT INTO files ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 - names of ours
    connection.execute(statement, [getattr(file, name) for name in names])


def insert_extras(connection: sqlite3.Connection, task_id: int, extras: Extras) -> None:
    """Write the further columns of a batch."""
    marks = ", ".join("?" for _ in EXTRA_COLUMNS)
    statement = f"INSERT INTO openai_batches (task_id, {', '.join(EXTRA_COLUMNS)}) VALUES (?, {marks})"  # noqa: S608
    connection.execute(statement, [task_id, *(getattr(extras, name) for name in EXTRA_COLUMNS)])


def is_alive(connection: sqlite3.Connection, file_id: str, now: float) -> bool:
    """Return, inside a transaction, whether a file exists."""
    return bool(connection.execute(f"{SELECT_FILE} AND file_id = ?", (now, file_id)).fetchall())


def _file(row: tuple[Any, ...]) -> File:
    return File(**dict(zip(FILE_COLUMNS, row, strict=True)))


def _pair(row: tuple[Any, ...]) -> tuple[Batch, Extras]:
    values = dict(zip(EXTRA_COLUMNS, row[len(COLUMNS) :], strict=True))
    return batch_of(row[: len(COLUMNS)]), Extras(**(values | {"has_errors": bool(values["has_errors"])}))
