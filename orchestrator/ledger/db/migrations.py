"""The ledger's schema: numbered migrations, each a text that never changes after its release.

Rule 1: a released migration is frozen text, one file for each kind of database (`sql/0001_sqlite.sql`,
        `sql/0001_postgresql.sql`). It is never generated from present code: a later change of a table or a claim
        condition must not change an older migration.
Rule 2: a change of `schema.py`, or of the claim conditions, comes with a migration. Tests compare the result of all
        migrations with the present code. Until the first release there is one migration, and it is edited.
Rule 3: a schema that is newer than this program is refused; there are no downgrades.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Final

import sqlalchemy as sa

from orchestrator.domain.errors import LedgerTooNew
from orchestrator.ledger.db.schema import meta

MIGRATIONS: Final = ("0001",)  # append only; number n takes schema n - 1 to n
SCHEMA: Final = len(MIGRATIONS)
_NUMBER: Final = "schema"  # the key in `meta` under which the schema's number is kept


def scripts_of(dialect: str) -> list[str]:
    """Return the text of every migration, in order, for `sqlite` or `postgresql`."""
    folder = resources.files(__package__).joinpath("sql")
    return [folder.joinpath(f"{name}_{dialect}.sql").read_text(encoding="utf-8") for name in MIGRATIONS]


def present_schema(connection: sa.Connection) -> int:
    """Return the number of the ledger's schema; 0 where it has none yet."""
    if not sa.inspect(connection).has_table(meta.name):
        return 0
    return int(connection.execute(sa.select(meta.c.value).where(meta.c.key == _NUMBER)).scalar() or 0)


def migrate(connection: sa.Connection, scripts: Sequence[str] | None = None) -> None:
    """Bring the schema up to date within the caller's transaction. Raises LedgerTooNew.

    Args:
        scripts: the migrations, from the first on; None: those of this program.
    """
    scripts = scripts_of(connection.dialect.name) if scripts is None else scripts
    present = present_schema(connection)
    if present > len(scripts):
        raise LedgerTooNew(
            f"the ledger has schema {present}, and this program knows schemas up to {len(scripts)}: a newer version of "
            "the program wrote it. Upgrade this installation (pip install -U batch-orchestrator), or use another "
            "work folder (--work)"
        )
    for script in scripts[present:]:
        for statement in script.split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)
    if present == 0:
        connection.execute(sa.insert(meta).values(key=_NUMBER, value=str(len(scripts))))
    elif present < len(scripts):
        connection.execute(sa.update(meta).where(meta.c.key == _NUMBER).values(value=str(len(scripts))))
