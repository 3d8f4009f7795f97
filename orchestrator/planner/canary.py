"""Whether a job gets a canary, and what came back for its rows."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestrator.domain.canary import ABOVE_ROWS, CanaryRow, Cost, Passed, Stop, verdict
from orchestrator.domain.errors import DatasetError
from orchestrator.job_files import request_files, result_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.model import Chunk
    from orchestrator.domain.reconcile import RowKey
    from orchestrator.ports import JobFiles, Source


def wants_canary(source: Source, canary_rows: int) -> bool:
    """Return whether a job over this dataset sends a canary first: whether it has more than ABOVE_ROWS rows.

    Reads no more rows than that, and none where the number of rows is known.
    """
    if not canary_rows:
        return False
    above = max(ABOVE_ROWS, canary_rows)
    row_count = sum(spec.row_count or 0 for spec in source.shards)
    for spec in source.shards:
        if row_count > above:
            return True
        if spec.row_count is None:
            try:
                for batch in source.batches(spec, columns=source.schema.names[:1]):
                    row_count += batch.num_rows
                    if row_count > above:
                        return True
            except DatasetError:
                return True  # planning reports it, at the row that cannot be read
    return row_count > above


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """A row of the canary, and what came back for it last."""

    key: RowKey
    row: CanaryRow
    text: str | None
    error_message: str | None


def verdict_on(chunks: Sequence[Chunk], job_files: JobFiles) -> Passed | Stop | None:
    """Return the verdict on a canary whose chunks have ended; None while rows of it wait to be sent again."""
    return verdict([one.row for one in returned(chunks, job_files)], _cost(chunks, job_files))


def returned(chunks: Sequence[Chunk], job_files: JobFiles) -> list[Returned]:
    """Return the rows of the canary's ended chunks; of a row that was sent again, what came back last."""
    found: dict[RowKey, Returned] = {}
    for chunk in chunks:  # in the order of their rounds
        found |= {one.key: one for one in _of_chunk(chunk, job_files)}
    return [found[key] for key in sorted(found)]


def _of_chunk(chunk: Chunk, job_files: JobFiles) -> list[Returned]:
    waits = chunk.tally.waiting > 0
    if chunk.part:
        with job_files.open(chunk.part) as part:
            rows = result_parts.read_rows(part)
        return [_row(row, is_waiting=waits and (bool(chunk.regather) or row["retryable"])) for row in rows]
    if not chunk.tally.failed + chunk.tally.waiting + chunk.tally.resent:
        return []  # cut in two: its halves have its rows
    given_up = CanaryRow(succeeded=False, is_waiting=waits, error_code=chunk.error_code)
    return [
        Returned(key=key, row=given_up, text=None, error_message=chunk.error or None)
        for key in request_files.row_keys(job_files, chunk)
    ]


def _row(row: dict[str, Any], *, is_waiting: bool) -> Returned:
    judged = CanaryRow(
        succeeded=row["succeeded"],
        is_waiting=is_waiting and not row["succeeded"],
        error_code=row["error_code"] or "",
    )
    key = (row["shard"], row["row"])
    return Returned(key=key, row=judged, text=row["text"], error_message=row["error_message"])


def _cost(chunks: Sequence[Chunk], job_files: JobFiles) -> Cost | None:
    usd = usd_max = Decimal(0)
    for chunk in chunks:
        if not chunk.part or chunk.cost_usd_max is None:
            continue
        with job_files.open(chunk.part) as part:
            costs = [row["cost_usd"] for row in result_parts.read_rows(part) if row["cost_usd"] is not None]
        if costs:
            usd, usd_max = usd + sum(costs, Decimal(0)), usd_max + chunk.cost_usd_max
    return Cost(usd=usd, usd_max=usd_max) if usd_max else None
