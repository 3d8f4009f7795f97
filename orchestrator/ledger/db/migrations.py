"""The ledger's schema: a new ledger gets today's tables; an older one is upgraded by texts that never change.

Rule 1: a new database is made from `schema.py`, and in PostgreSQL the view `due_steps.sql` for those who scale workers.
Rule 2: an upgrade of a released schema is frozen text. It is never generated from present code: a later change of a
        table or a claim condition must not change an older upgrade. Nothing has been released: there is none yet.
Rule 3: a schema that is newer than this program is refused; there are no downgrades.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Final

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, CreateTable

from orchestrator.domain.errors import LedgerTooNew
from orchestrator.ledger.db.schema import meta, metadata

UPGRADES: Final[tuple[str, ...]] = ()  # append only; number n, from 0, takes schema n + 1 to n + 2
SCHEMA: Final = 1 + len(UPGRADES)
_NUMBER: Final = "schema"  # the key in `meta` under which the schema's number is kept


def due_steps() -> str:
    """Return the text of the view `due_steps`, for PostgreSQL."""
    return resources.files(__package__).joinpath("due_steps.sql").read_text(encoding="utf-8")


def present_schema(connection: sa.Connection) -> int:
    """Return the number of the ledger's schema; 0 where it has none yet."""
    if not sa.inspect(connection).has_table(meta.name):
        return 0
    return int(connection.execute(sa.select(meta.c.value).where(meta.c.key == _NUMBER)).scalar() or 0)


def migrate(connection: sa.Connection, upgrades: Sequence[str] = UPGRADES) -> None:
    """Bring the schema up to date within the caller's transaction. Raises LedgerTooNew."""
    present, newest = present_schema(connection), 1 + len(upgrades)
    if present > newest:
        raise LedgerTooNew(
            f"the ledger has schema {present}, and this program knows schemas up to {newest}: a newer version of "
            "the program wrote it. Upgrade this installation (pip install -U batch-orchestrator), or use another "
            "work folder (--work)"
        )
    if present == 0:
        for table in metadata.sorted_tables:
            connection.execute(CreateTable(table))
            # By name: of two indexes that serve a query alike SQLite takes the newer, and a set has no order.
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                connection.execute(CreateIndex(index))
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(due_steps())
        connection.execute(sa.insert(meta).values(key=_NUMBER, value=str(newest)))
        return
    for upgrade in upgrades[present - 1 :]:
        for statement in upgrade.split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)
    if present < newest:
        connection.execute(sa.update(meta).where(meta.c.key == _NUMBER).values(value=str(newest)))
