"""The operations of Anthropic's Message Batches, without HTTP.

Stored beside a batch: the API version of its create, by which its requests are checked, and when it was deleted.

Rule 1: a create is refused for the names of its requests only; what is wrong in a request's parameters fails that
        request when the batch runs.
Rule 2: a batch cannot fail. What the fault plan lets fail ends with requests that expired.
"""

from __future__ import annotations

import functools
import re
import sqlite3
import uuid
from pathlib import Path
from typing import Final

import msgspec

from orchestrator.gateway.faults import Fault
from orchestrator.gateway.intake import CheckedBody, RequestRefused, checked_body, read_rows
from orchestrator.gateway.lines import LineForm
from orchestrator.gateway.service import Service
from orchestrator.gateway.settings import LineShape
from orchestrator.gateway.simulated import answer_anthropic
from orchestrator.gateway.states import end_of_cancel, share_run
from orchestrator.gateway.store import COLUMNS, Batch, Fate, batch_of

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS anthropic_batches (
    task_id INTEGER PRIMARY KEY, version TEXT NOT NULL, deleted_at REAL
);
"""
SELECT: Final = (
    f"SELECT {', '.join(COLUMNS)}, version FROM anthropic_batches JOIN batches USING (task_id)"  # noqa: S608
    " WHERE deleted_at IS NULL AND submitted_at <= ?"
)
PREFIX: Final = "msgbatch_"
CUSTOM_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
FORM: Final = LineForm(shape=LineShape.ANTHROPIC, is_complete=True)
FATES: Final = dict.fromkeys((Fate.FAIL, Fate.TOKEN_LIMIT, Fate.FAIL_PARTIAL), Fate.EXPIRE)


def is_message_batch(batch_id: str) -> bool:
    """Return whether an id has the form of a message batch's."""
    return batch_id.startswith(PREFIX)


class AnthropicService:
    """Anthropic's dialect on top of a Service."""

    def __init__(self, service: Service) -> None:
        self.service = service
        service.store.run_script(SCHEMA)

    def accept(self, arrived: Path, version: str) -> Batch | Fault:
        """Make a batch of a received body, durably; see `Service.accept`."""

        def also(connection: sqlite3.Connection, task_id: int) -> None:
            connection.execute("INSERT INTO anthropic_batches VALUES (?, ?, NULL)", (task_id, version))

        batch_id = f"{PREFIX}01{uuid.uuid4().hex[:22]}"
        checked = self._checked(arrived)
        return self.service.accept_checked(arrived, checked, batch_id=batch_id, fates=FATES, also=also)

    def look(self, batch_id: str) -> Batch:
        """Return a batch; raise RequestRefused(404) if there is none."""
        found = self.service.store.query(f"{SELECT} AND batch_id = ?", self.service.clock.now(), batch_id)
        if not found:
            raise RequestRefused(404, f"Message Batch {batch_id[:64]} not found.")
        return batch_of(found[0][:-1])

    def page(self, *, after: str | None, before: str | None, limit: int) -> tuple[list[Batch], bool]:
        """Return a page of batches, newest first, and whether there are more in that direction."""
        until, values = self.service.clock.now() - self.service.plan.list.lag_s, list[object]()
        cursor, order, compare = after or before, "DESC", "<"
        if before and not after:
            order, compare = "ASC", ">"
        statement = SELECT
        if cursor:
            start = self.look(cursor)
            statement += f" AND (submitted_at, task_id) {compare} (?, ?)"
            values += [start.submitted_at, start.task_id]
        statement += f" ORDER BY submitted_at {order}, task_id {order} LIMIT ?"
        rows = self.service.store.query(statement, until, *values, limit + 1)
        found = [batch_of(row[:-1]) for row in rows[:limit]]
        return found if order == "DESC" else found[::-1], len(rows) > limit

    def cancel(self, batch_id: str) -> Batch:
        """Cancel a batch, once; raise RequestRefused(400) if it has ended."""
        batch, now = self.look(batch_id), self.service.clock.now()
        if now >= batch.ends_at:
            raise RequestRefused(400, f"Message Batch {batch_id} has ended already and cannot be canceled.")
        done_share = min(batch.done_share, share_run(batch, now))
        ends_at = end_of_cancel(batch, now)
        self.service.store.cancel(batch_id, cancelled_at=now, ends_at=ends_at, done_share=done_share)
        return self.look(batch_id)

    def delete(self, batch_id: str) -> None:
        """Delete a batch that has ended; its bill stays."""
        batch, now = self.look(batch_id), self.service.clock.now()
        if now < batch.ends_at:
            raise RequestRefused(400, f"Message Batch {batch_id} has not ended; cancel it first.")
        with self.service.store.transaction() as connection:
            statement = "UPDATE anthropic_batches SET deleted_at = ? WHERE task_id = ?"
            connection.execute(statement, (now, batch.task_id))

    def settled(self, batch: Batch) -> Batch:
        """Settle a batch that has ended. Slow; one at a time."""
        if batch.is_settled or self.service.clock.now() < batch.ends_at:
            return batch
        statement = "SELECT version FROM anthropic_batches WHERE task_id = ?"
        [(version,)] = self.service.store.query(statement, batch.task_id)
        return self.service.settle_as(batch.batch_id, FORM, functools.partial(answer_anthropic, str(version)))

    def _checked(self, path: Path) -> CheckedBody:
        rows = read_rows(path)
        if not rows:
            raise RequestRefused(400, "requests: List should have at least 1 item after validation, not 0")
        if len(rows) > self.service.config.requests_max:
            raise RequestRefused(413, f"{len(rows)} requests, at most {self.service.config.requests_max} are allowed")
        seen: set[str] = set()
        for number, row in enumerate(rows):
            if CUSTOM_ID.fullmatch(row.custom_id) is None:
                message = "String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"
                raise RequestRefused(400, f"requests.{number}.custom_id: {message}")
            if row.custom_id in seen and not self.service.config.accepts_duplicates:
                raise RequestRefused(400, f"requests.{number}.custom_id: must be unique in the batch")
            if bytes(memoryview(row.params)[:1]) != b"{":
                raise RequestRefused(400, f"requests.{number}.params: Input should be a valid dictionary")
            seen.add(row.custom_id)
        return checked_body(path, rows, model=_model_of(rows[0].params))


def _model_of(params: msgspec.Raw) -> str:
    try:
        model = msgspec.json.decode(params).get("model")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError):
        return ""
    return model if isinstance(model, str) else ""
