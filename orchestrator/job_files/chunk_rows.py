"""The rows of a chunk that are to be sent again.

Rule: the caller says how many there must be. Rows of the chunk that are in another chunk by now are told apart by that
count; a part that does not hold as many is refused, before a row is sent that should not be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.domain.errors import OutputError
from orchestrator.domain.row_kinds import SENT_AS_FAILED, RowKind
from orchestrator.job_files import request_files, result_parts
from orchestrator.job_files.result_parts import Failed

if TYPE_CHECKING:
    from orchestrator.domain.model import Chunk
    from orchestrator.domain.reconcile import RowKey
    from orchestrator.ports import JobFiles

# Which failed rows of a part may be meant, each within the next: the count says which. Rows that went again by
# themselves are among the last only; those that cannot be read are the last to be sent again.
_READABLE: Final = (Failed.READABLE, Failed.READABLE_ALL)
_ALL: Final = (Failed.UNREADABLE, Failed.FAILED, Failed.ALL)


def rows_of_kind(job_files: JobFiles, chunk: Chunk, kind: str, count: int) -> list[RowKey]:
    """Return the chunk's rows of a kind: failed, or with an answer of its own or an earlier one that is not whole."""
    if not chunk.part:
        return request_files.row_keys(job_files, chunk)
    found = own = answered_rows(job_files, chunk, kind)
    if kind in (*SENT_AS_FAILED, chunk.improves):
        keeps_unread = kind == RowKind.FAILED or chunk.unread(kind) > 0
        for which in _READABLE if keeps_unread else _ALL:
            with job_files.open(chunk.part) as part:
                failed = result_parts.read_failed(part, which)
            found = failed if which is Failed.UNREADABLE else own + failed
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
