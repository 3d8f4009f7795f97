"""Row locks on PostgreSQL, taken in one order, so that there is no deadlock.

    account  ->  its rate limits  ->  job  ->  its shards and chunks  ->  attempts

Rule 1: a transaction that writes more than one unit, or writes what it has computed from several rows, locks the
        job's row first; one that concerns what an account may send locks the account's row before that.
Rule 2: a transaction without the job's lock writes one unit only, and waits for no lock while it holds that one.
        Picking work skips locked rows instead of waiting for them.
Rule 3: SQLite has one writer at a time, so nothing needs to be locked there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from orchestrator.domain.model import JobId
from orchestrator.ledger.db.schema import accounts, jobs


def has_row_locks(tx: sa.Connection) -> bool:
    """Return whether other transactions can write at the same time."""
    return tx.dialect.name != "sqlite"


def lock_accounts(tx: sa.Connection, names: Collection[str]) -> None:
    """Insert the accounts' rows where missing, and lock them until the transaction ends."""
    for name in sorted(names):
        add_new(tx, accounts, {"name": name})
    if has_row_locks(tx) and names:
        mine = sa.select(accounts.c.name).where(accounts.c.name.in_(sorted(names))).order_by(accounts.c.name)
        tx.execute(mine.with_for_update())


def lock_job(tx: sa.Connection, job_id: JobId) -> None:
    """Lock the job's row until the transaction ends."""
    if has_row_locks(tx):
        tx.execute(sa.select(jobs.c.id).where(jobs.c.id == job_id).with_for_update())


def add_new(tx: sa.Connection, table: sa.Table, values: Mapping[str, Any]) -> bool:
    """Insert a row unless its key exists; return whether it was inserted. Waits for a concurrent insert of the key."""
    insert = sqlite.insert(table) if tx.dialect.name == "sqlite" else postgresql.insert(table)
    new = insert.values(**values).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
    return tx.execute(new).rowcount == 1
