"""Logs what the ledger has recorded: a batch's life in five lines at `info`, and what stands in its way.

    batch.planned -> batch.sent -> batch.accepted -> batch.ended -> batch.collected

Rule 1: a line is written after the transaction has committed, so it is true; a crash in between loses the line alone.
Rule 2: ids, counts, ages in seconds and amounts in USD only. Reasons are those that the ledger keeps.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Final

from orchestrator import log
from orchestrator.domain.changes import AccountPaused, AttemptClosed, Change, ChunkAdded, ChunkMoved, JobMoved
from orchestrator.domain.model import UNSENT, Chunk, ChunkState, JobId, JobState

S = ChunkState
_log: Final = log.EventLog(__name__)


def log_recorded(job_id: JobId, changes: Iterable[Change], *, now: datetime) -> None:
    """Log changes that were written."""
    if not _log.has_readers:
        return
    changes = list(changes)
    costs = [one.cost_usd for one in changes if isinstance(one, AttemptClosed) and one.cost_usd is not None]
    for change in changes:
        match change:
            case ChunkAdded(chunk=chunk) if chunk.state is S.PLANNED:
                _planned(chunk)
            case ChunkMoved(before=before, after=after) if after.state is not before.state:
                _moved(before, after, sum(costs, Decimal(0)) if costs else None, now)
            case JobMoved(before=before, after=after) if after.state is not before.state:
                tell = _log.warning if after.state is JobState.STOPPED else _log.info
                tell(f"job.{after.state}", job=job_id, **_given(reason=after.reason, decision=after.decision))
            case AccountPaused(account=account, until=until, reason=reason):
                wait_s = round((until - now).total_seconds())
                _log.warning(log.ACCOUNT_PAUSED, job=job_id, account=account, seconds=wait_s, reason=reason)
            case _:
                pass


def _planned(chunk: Chunk) -> None:
    _log.info(
        log.BATCH_PLANNED,
        **_ids(chunk),
        rows=chunk.request_count,
        bytes=chunk.request_bytes,
        tokens_in=chunk.tokens_in,
        **_given(usd_max=_usd(chunk.cost_usd_max)),
    )


def _moved(before: Chunk, after: Chunk, cost_usd: Decimal | None, now: datetime) -> None:
    ids = _ids(after)
    age_s = None if after.sent_at is None else round((now - after.sent_at).total_seconds(), 1)
    match after.state:
        case S.SUBMITTING:
            reserved = _given(usd_reserved=_usd(after.cost_usd_max))
            _log.info(log.BATCH_SENT, **ids, attempt=after.attempt, rows=after.request_count, **reserved)
        case S.SUBMITTED:
            _log.info(log.BATCH_ACCEPTED, **ids, rows=after.request_count, age_s=age_s)
        case S.ENDED:
            counts = {"answered": after.done_count, "failed": after.failed_count}
            _log.info(log.BATCH_ENDED, **ids, **_given(outcome=after.outcome), **counts, age_s=age_s)
        case S.COLLECTED:
            tally = after.tally
            counts = {"succeeded": tally.succeeded, "to_send_again": tally.waiting, "failed": tally.failed}
            _log.info(log.BATCH_COLLECTED, **ids, **counts, age_s=age_s, **_given(usd=_usd(cost_usd)))
        case S.UNRESOLVED | S.FAILED:
            _log.warning(f"batch.{after.state}", **ids, rows=after.request_count, reason=after.error)
        case S.PLANNED | S.UPLOADED if before.state not in UNSENT:
            _log.info(log.BATCH_REFUSED, **ids, attempt=after.attempt, reason=after.error)
        case _:
            _log.debug(f"batch.{after.state}", **ids)


def _ids(chunk: Chunk) -> dict[str, str]:
    ids = {"job": str(chunk.job_id), "chunk": chunk.name}
    return ids if chunk.batch_id is None else ids | {"batch": str(chunk.batch_id)}


def _given(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _usd(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)
