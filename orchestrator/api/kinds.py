"""Selects rows by their kind: succeeded, failed, or answers that are not whole."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

import pyarrow.compute as pc

from orchestrator.collector.join import FAILED, SUCCEEDED
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.row_kinds import RowKind

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.domain.policy import OutputOptions

KINDS: Final = (SUCCEEDED, *(kind.value for kind in RowKind))


def kinds_named(names: str | Collection[str] | None) -> frozenset[str]:
    """Return the kinds of these names; none: all rows. Raises ConfigError."""
    found = frozenset([names] if isinstance(names, str) else names or ())
    for name in sorted(found - set(KINDS)):
        raise ConfigError(f"there is no kind of rows {name!r}: give one of {', '.join(KINDS)}")
    return found


def kind_columns(kinds: Collection[str], options: OutputOptions) -> list[str]:
    """Return the columns that say of which of these kinds a row is."""
    status, code = f"{options.prefix}status", f"{options.prefix}error_code"
    return [] if not kinds else [status, code] if set(kinds) - {SUCCEEDED, FAILED} else [status]


def of_kinds(batch: pa.RecordBatch, kinds: Collection[str], options: OutputOptions) -> pa.RecordBatch:
    """Return the rows that are of one of the kinds; an answer that is not whole is of its own kind, and succeeded."""
    if not kinds:
        return batch
    has_succeeded = pc.equal(batch[f"{options.prefix}status"], SUCCEEDED)
    wanted = pc.and_(has_succeeded, SUCCEEDED in kinds)
    if FAILED in kinds:
        wanted = pc.or_(wanted, pc.invert(has_succeeded))
    for kind in set(kinds) - {SUCCEEDED, FAILED}:
        is_kind = pc.fill_null(pc.equal(batch[f"{options.prefix}error_code"], kind), fill_value=False)
        wanted = pc.or_(wanted, pc.and_(has_succeeded, is_kind))
    return batch.filter(wanted)
