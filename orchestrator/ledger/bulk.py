"""Many rows entered into a table at once, without what SQLAlchemy does for each row and each value of it.

Rule 1: times and amounts are converted by the types of their columns: what is entered here is read back like anything
        else. NULL stays NULL.
Rule 2: the statement is made of the names of our columns; every value is a parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa


def insert_rows(tx: sa.Connection, table: sa.Table, columns: tuple[str, ...], rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows whose values stand in the order of `columns`; columns that are not named stay NULL."""
    of_ours = [
        (position, column.type)
        for position, column in enumerate(table.c[name] for name in columns)
        if isinstance(column.type, sa.types.TypeDecorator)
    ]
    values = [_converted(row, of_ours, tx.dialect) for row in rows]
    if values:
        tx.exec_driver_sql(_statement(table, columns, tx.dialect), values)


def _converted(
    row: Sequence[Any], of_ours: Sequence[tuple[int, sa.types.TypeDecorator[Any]]], dialect: sa.Dialect
) -> tuple[Any, ...]:
    values = list(row)
    for position, kind in of_ours:
        if values[position] is not None:
            values[position] = kind.process_bind_param(values[position], dialect)
    return tuple(values)


@lru_cache(maxsize=16)  # for each open database two tables
def _statement(table: sa.Table, columns: tuple[str, ...], dialect: sa.Dialect) -> str:
    names = ", ".join(map(dialect.identifier_preparer.quote, columns))
    mark = "?" if dialect.paramstyle == "qmark" else "%s"
    return f"INSERT INTO {table.name} ({names}) VALUES ({', '.join([mark] * len(columns))})"  # noqa: S608 - names only
