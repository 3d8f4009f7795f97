"""The rows of a chunk that are to be sent again.

Rule: the caller says how many there must be. Rows of the chunk that are in another chunk by now are told apart by that
count; a part that does not hold as many is refused, before a row is sent that should not be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.domain.errors import OutputError
from orchestrator.domain.row_kinds import ALL_FAILED, SENT_AS_FAILED, RowKind
from orchestrator.job_files import request_files, result_parts
from orchestrator.job_files.result_parts import Failed

if TYPE_CHECKING:
    from orchestrator.domain.model import Chunk
    from orchestrator.domain.reconcile import RowKey
    from orchestrator.ports import JobFiles

# Which failed rows of a part may be meant, each within the next: the count says which. Rows that went again by
# themselves are among the last only; those that cannot be read are the last to be sent again.
_WHICH: Final = {
    RowKind.FAILED.value: (Failed.READABLE, Failed.READABLE_ALL),
    ALL_FAILED: (Failed.UNREADABLE, Failed.FAILED, Failed.ALL),
}


def rows_of_kind(job_files: JobFiles, chunk: Chunk, kind: str, count: int) -> list[RowKey]:
    """Return the chunk's rows of a kind: failed, or with an answer of its own or an earlier one that is not whole."""
    if not chunk.part:
        return request_files.row_keys(job_files, chunk)
    found = own = answered_rows(job_files, chunk, kind)
    if kind in (*SENT_AS_FAILED, chunk.improves):
        for which in _WHICH.get(kind, (Failed.FAILED, Failed.ALL)):
            with job_files.open(chunk.part) as part:
                found = own + result_parts.read_failed(part, which)
            if len(found) == count:
                break
    if len(found) != count:
        raise OutputError(f"{chunk.part} holds {len(found)} {kind} rows of chunk {chunk.name}, the ledger has {count}")
    return found


def unreadable_rows(job_files: JobFiles, chunk: Chunk) -> list[RowKey]:
    """Return the chunk's rows whose answer is kept and cannot be read."""
    if not chunk.part:
        return []
    with job_files.open(chunk.part) as part:
        return result_parts.read_failed(part, Failed.UNREADABLE)


def answered_rows(job_files: JobFiles, chunk: Chunk, kind: str) -> list[RowKey]:
    """Return the chunk's rows with an answer of its own that is of a kind that is not whole."""
    if not chunk.part or kind in SENT_AS_FAILED:
        return []
    with job_files.open(chunk.part) as part:
        return result_parts.read_kind(part, kind)


def waiting_rows(job_files: JobFiles, chunk: Chunk) -> list[RowKey]:
    """Return the chunk's rows that wait to be sent again."""
    if not chunk.part or chunk.regather:
        return rows_of_kind(job_files, chunk, chunk.regather, chunk.tally.waiting)
    with job_files.open(chunk.part) as part:
        return result_parts.read_failed(part, Failed.RETRYABLE)
