"""The statements of steps, built once: building one takes SQLAlchemy longer than the database takes to answer.

A unit is found by its keys, bound as `the_<key>`; the values to write are parameters with the names of their columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.domain.model import ChunkId, JobId, Unit
from orchestrator.ledger.db.schema import EPOCH, Utc, attempts, chunk_shards, chunks, events, jobs, shards

_UNITS: Final = (chunks, shards, jobs)


def _keys(table: sa.Table) -> list[sa.ColumnElement[bool]]:
    return [key == sa.bindparam(f"the_{key.name}") for key in table.primary_key]


# A chunk is read with the key's mark of its last create. It is stored with the attempt only, so that
# `confirm_same_account` changes one table and no version.
_KEY_MARK: Final = sa.select(attempts.c.key_mark).where(attempts.c.token == chunks.c.token_sent).scalar_subquery()
_READABLE: Final[dict[str, sa.Select[Any]]] = {table.name: sa.select(table) for table in _UNITS} | {
    chunks.name: sa.select(chunks, _KEY_MARK.label("key_mark"))
}
READ: Final = {table.name: _READABLE[table.name].where(*_keys(table)) for table in _UNITS}
# Set the given columns, if the unit's version is unchanged since it was read.
SWAP: Final = {
    table.name: sa.update(table).where(*_keys(table), table.c.version == sa.bindparam("the_version"))
    for table in _UNITS
}
# It changes a row only if the claim is still valid. A step that records has not killed its worker.
STILL_CLAIMED: Final = {
    table.name: sa.update(table).where(*_keys(table), table.c.token == sa.bindparam("the_token")).values(starts=0)
    for table in _UNITS
}
# Extend a lease. A released unit keeps its token until it is claimed again, and must not be leased again.
_UNTIL: Final = sa.bindparam("until", type_=Utc())
RENEW: Final = {
    table.name: sa.update(table)
    .where(*_keys(table), table.c.token == sa.bindparam("the_token"), table.c.lease_until > EPOCH)
    .values(lease_until=sa.case((table.c.lease_until > _UNTIL, table.c.lease_until), else_=_UNTIL))
    for table in _UNITS
}
LET_GO: Final = {
    table.name: sa.update(table)
    .where(*_keys(table), table.c.token == sa.bindparam("the_token"))
    .values(lease_until=EPOCH, starts=0)
    for table in _UNITS
}
# Begin a step. Units whose workers died together get different leases, which shows which of them killed the worker.
START: Final = {
    table.name: sa.update(table)
    .where(*_keys(table), table.c.token == sa.bindparam("the_token"))
    .values(
        lease_until=sa.bindparam("until", type_=Utc()) + table.c.starts * sa.bindparam("spread", type_=sa.BigInteger()),
        starts=table.c.starts + 1,
    )
    .returning(table.c.starts)
    for table in _UNITS
}
# Postpone a unit while the claim is valid; a step that has released it has already set its due time.
PUT_OFF: Final = {
    table.name: sa.update(table)
    .where(*_keys(table), table.c.token == sa.bindparam("the_token"), table.c.lease_until > EPOCH)
    .values(due_at=sa.bindparam("later"), lease_until=EPOCH, starts=0)
    for table in _UNITS
}
# The same, but keep the count of starts: no other worker should begin it either.
GIVE_UP: Final = {
    table.name: sa.update(table)
    .where(*_keys(table), table.c.token == sa.bindparam("the_token"), table.c.lease_until > EPOCH)
    .values(due_at=sa.bindparam("later"), lease_until=EPOCH)
    for table in _UNITS
}
CALL_JOB: Final = (
    sa.update(jobs)
    .where(*_keys(jobs), jobs.c.due_at > sa.bindparam("now", type_=Utc()))
    .values(due_at=sa.bindparam("now", type_=Utc()))
)
SETTLE: Final = (
    sa.update(shards).where(*_keys(shards)).values(settled_count=shards.c.settled_count + sa.bindparam("more"))
)
ADD_FAILED: Final = (
    sa.update(chunk_shards).where(*_keys(chunk_shards)).values(failed=chunk_shards.c.failed + sa.bindparam("more"))
)
CLOSE: Final = sa.update(attempts).where(*_keys(attempts))
ADD: Final = {table.name: sa.insert(table) for table in (attempts, events)}


def keys_of(unit: Unit) -> tuple[sa.Table, dict[str, Any]]:
    """Return a unit's table, and the keys that find its row."""
    if unit.chunk_id is not None:
        return chunks, {"the_id": unit.chunk_id}
    if unit.shard_no is not None:
        return shards, {"the_job_id": unit.job_id, "the_shard_no": unit.shard_no}
    return jobs, {"the_id": unit.job_id}


def unit_of(table: sa.Table, row: sa.RowMapping) -> Unit:
    """Return the unit of a row of its table that has at least its keys."""
    if table is chunks:
        return Unit(job_id=JobId(row["job_id"]), chunk_id=ChunkId(row["id"]))
    if table is shards:
        return Unit(job_id=JobId(row["job_id"]), shard_no=row["shard_no"])
    return Unit(job_id=JobId(row["id"]))


def insert_rows(tx: sa.Connection, table: sa.Table, columns: tuple[str, ...], rows: Iterable[Sequence[Any]]) -> None:
    """Insert many rows at once, without SQLAlchemy's work for each row and value.

    Times and amounts are converted by the types of their columns, as usual; every value is a parameter.

    Args:
        columns: the order of each row's values; columns that are not named stay NULL.
    """
    converted = [
        (position, column.type)
        for position, column in enumerate(table.c[name] for name in columns)
        if isinstance(column.type, sa.types.TypeDecorator)
    ]
    values = [_converted(row, converted, tx.dialect) for row in rows]
    if values:
        tx.exec_driver_sql(_statement(table, columns, tx.dialect), values)


def _converted(
    row: Sequence[Any], converted: Sequence[tuple[int, sa.types.TypeDecorator[Any]]], dialect: sa.Dialect
) -> tuple[Any, ...]:
    values = list(row)
    for position, kind in converted:
        if values[position] is not None:
            values[position] = kind.process_bind_param(values[position], dialect)
    return tuple(values)


@lru_cache(maxsize=16)  # for each open database two tables
def _statement(table: sa.Table, columns: tuple[str, ...], dialect: sa.Dialect) -> str:
    names = ", ".join(map(dialect.identifier_preparer.quote, columns))
    mark = "?" if dialect.paramstyle == "qmark" else "%s"
    return f"INSERT INTO {table.name} ({names}) VALUES ({', '.join([mark] * len(columns))})"  # noqa: S608 - names only
