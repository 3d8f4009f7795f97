"""Which rows a person means: one language for `results`, `export` and `retry`.

    failed, truncated            kinds, and error codes such as schema_mismatch; several at once
    llm_score < 0.3              a condition on columns: see `domain.row_expression`
    key:A-17                     one row, by any of its names: see `row_names`

Rule 1: a row is meant where one of them fits.
Rule 2: what names nothing that there is, is refused: a kind, a code, a column, a key.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.collector.conditions import columns_needed, is_true
from orchestrator.collector.join import FAILED, SUCCEEDED
from orchestrator.domain.causes import OTHER, Cause
from orchestrator.domain.custom_id import KEY
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import Outcome
from orchestrator.domain.reconcile import UNANSWERED
from orchestrator.domain.row_expression import Node, parsed
from orchestrator.domain.row_kinds import FLAWED, INVALID, INVALID_CODES, KINDS

if TYPE_CHECKING:
    from orchestrator.api.row_names import RowNames
    from orchestrator.domain.policy import OutputOptions

CANCELLED: Final = UNANSWERED[Outcome.CANCELLED][0]
_NAMES: Final = re.compile(r"\s*[\w.:-]+(\s*,\s*[\w.:-]+)*\s*,?\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedRows:
    """The rows that are meant. Empty: all."""

    statuses: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()  # error codes; those of answers that are not whole are their kinds
    conditions: tuple[Node, ...] = ()
    keys: frozenset[str] = frozenset()  # names of single rows: see `row_names`

    def __bool__(self) -> bool:
        """Whether some rows may be left out."""
        return bool(self.statuses or self.codes or self.conditions or self.keys)

    @property
    def kinds(self) -> frozenset[str]:
        """The statuses and codes, where these are all that it asks for; else none."""
        return frozenset() if self.conditions or self.keys else self.statuses | self.codes


@dataclass(slots=True, kw_only=True)
class BoundRows:
    """A filter on the columns of one job's output."""

    rows: WantedRows
    options: OutputOptions
    columns: list[str] = field(default_factory=list)  # that it reads
    ids: pa.Array | None = None  # of the rows that are named

    def of(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows of a batch that are meant; it has all columns that the filter reads."""
        return batch.filter(self.mask(batch)) if self.rows else batch

    def mask(self, batch: pa.RecordBatch) -> pa.Array:
        """Return for each row whether it is meant."""
        wanted = pa.repeat(pa.scalar(not self.rows), batch.num_rows)
        if self.rows.statuses:
            status = batch[f"{self.options.prefix}status"]
            wanted = pc.or_(wanted, pc.is_in(status, value_set=pa.array(sorted(self.rows.statuses), status.type)))
        if self.rows.codes:
            code = batch[f"{self.options.prefix}error_code"]
            wanted = pc.or_(wanted, pc.is_in(code, value_set=pa.array(sorted(self.rows.codes), code.type)))
        for condition in self.rows.conditions:
            wanted = pc.or_(wanted, is_true(condition, batch))
        if self.rows.keys:
            wanted = pc.or_(wanted, pc.is_in(batch[self.options.custom_id].cast(pa.string()), value_set=self.ids))
        return wanted


def wanted_rows(
    rows: str | Collection[str] | None, keys: Iterable[object] = (), codes: Collection[str] | None = ()
) -> WantedRows:
    """Return the rows that were asked for. Raises ConfigError for a kind that does not exist.

    Args:
        rows: one or several of: kinds and error codes, with commas between them; a condition; `key:` and a key.
        keys: names of single rows: see `row_names`.
        codes: error codes that the job has, beside those that are always known; None: any may be there.
    """
    statuses, found, conditions = set[str](), set[str](), list[Node]()
    named = {str(key) for key in keys}
    for term in [rows] if isinstance(rows, str) else rows or ():
        if term.startswith(KEY):
            named.add(term.removeprefix(KEY).strip())
        elif _NAMES.fullmatch(term):
            for name in (part.strip() for part in term.split(",")):
                if name in (SUCCEEDED, FAILED):
                    statuses.add(name)
                elif name.startswith(KEY):
                    named.add(name.removeprefix(KEY))
                elif name:
                    found |= _codes_named(name, codes)
        elif term.strip():
            conditions.append(parsed(term))
    return WantedRows(
        statuses=frozenset(statuses), codes=frozenset(found), conditions=tuple(conditions), keys=frozenset(named)
    )


def codes_of(causes: Iterable[Cause]) -> set[str] | None:
    """Return the error codes that rows of a job may have; None where the ledger does not know them all.

    Rows that waited to be sent again when their job was cancelled are counted as cancelled, and keep the code that they
    failed with.
    """
    codes = {cause.code for cause in causes if cause.code}
    return None if codes & {CANCELLED, OTHER} else codes


def _codes_named(name: str, codes: Collection[str] | None) -> frozenset[str]:
    if name == INVALID:
        return INVALID_CODES
    if name in FLAWED or name in INVALID_CODES or codes is None or name in codes:
        return frozenset([name])
    more = f"; error codes of this job: {', '.join(sorted(codes))}" if codes else ""
    raise ConfigError(
        f"there is no kind of rows {name!r}: give one of {', '.join((SUCCEEDED, *KINDS))}{more}; or a condition such "
        "as \"llm_response = 'maybe'\", or key:ID"
    )


def bound(rows: WantedRows, schema: pa.Schema, options: OutputOptions, names: RowNames) -> BoundRows:
    """Return the filter on these columns. Raises ConfigError for a column that is not there, or a name of no row."""
    prefix = options.prefix
    needed = [f"{prefix}status"] * bool(rows.statuses) + [f"{prefix}error_code"] * bool(rows.codes)
    for condition in rows.conditions:
        needed += columns_needed(condition, schema)
    found = BoundRows(rows=rows, options=options)
    if rows.keys:
        needed.append(options.custom_id)
        found.ids = pa.array(names.ids(rows.keys), pa.string())
    found.columns = list(dict.fromkeys(needed))
    return found
