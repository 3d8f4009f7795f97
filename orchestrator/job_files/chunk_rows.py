"""The rows of a chunk that are to be sent again.

Rule 1: the caller says how many there must be. Rows of the chunk that are in another chunk by now are told apart by
        that count; a part that does not hold as many is refused, before a row is sent that should not be.
Rule 2: where a person has ever chosen rows one by one, the count tells too little: then those that are in another chunk
        by now are left out by their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Final

from orchestrator.domain.chosen import FAILED_KINDS, Choice, ChosenRows, choice_in
from orchestrator.domain.errors import OutputError
from orchestrator.domain.row_kinds import SENT_AS_FAILED, RowKind
from orchestrator.job_files import request_files, result_parts
from orchestrator.job_files.result_parts import Failed
from orchestrator.job_files.selections import chosen_rows, has_selections

if TYPE_CHECKING:
    from orchestrator.domain.model import Chunk
    from orchestrator.domain.reconcile import RowKey
    from orchestrator.ports import JobFiles, Ledger

# Which failed rows of a part may be meant, each within the next: the count says which. Rows that went again by
# themselves are among the last only; those that cannot be read are the last to be sent again.
_READABLE: Final = (Failed.READABLE, Failed.READABLE_ALL)
_ALL: Final = (Failed.UNREADABLE, Failed.FAILED, Failed.ALL)


def rows_of_kind(
    job_files: JobFiles, chunk: Chunk, kind: str, count: int, later: Callable[[Chunk], Iterable[Chunk]]
) -> list[RowKey]:
    """Return the chunk's rows of a kind: failed, or with an answer of its own or an earlier one that is not whole.

    Args:
        later: returns chunks that were made from rows of this chunk, among others.
    """
    if has_selections(job_files):
        moved = moved_rows(job_files, chunk, later(chunk))
        found = [key for key in _all_of_kind(job_files, chunk, kind) if key not in moved]
    else:
        found = _counted(job_files, chunk, kind, count)
    if len(found) != count:
        where = chunk.part or chunk.requests
        raise OutputError(f"{where} holds {len(found)} {kind} rows of chunk {chunk.name}, the ledger has {count}")
    return found


def later_in(ledger: Ledger, job_files: JobFiles) -> Callable[[Chunk], list[Chunk]]:
    """Return what finds the ended chunks with rows of a chunk's shards."""

    def later(chunk: Chunk) -> list[Chunk]:
        shards = {shard_no for shard_no, _ in request_files.row_keys(job_files, chunk)}
        found = (one.chunk for shard_no in sorted(shards) for one in ledger.contributions(chunk.job_id, shard_no))
        return list({one.id: one for one in found}.values())

    return later


def moved_rows(job_files: JobFiles, chunk: Chunk, later: Iterable[Chunk]) -> set[RowKey]:
    """Return the rows of a chunk that are in one of the later chunks by now."""
    own = set(request_files.row_keys(job_files, chunk))
    moved = set["RowKey"]()
    for one in later:
        if one.shard_no is None and _retry_number(one) > _retry_number(chunk):
            moved.update(own.intersection(request_files.row_keys(job_files, one)))
    return moved


def _retry_number(chunk: Chunk) -> int:
    """Return when a retry chunk was made, by its name; 0 for others. Halves have a letter behind it."""
    return 0 if chunk.shard_no is not None else int(chunk.name.lstrip("r").rstrip("ab"))


def chosen_in(job_files: JobFiles, chunk: Chunk, choice: Choice) -> tuple[ChosenRows, dict[RowKey, str]]:
    """Return the chosen rows of these kinds in a chunk, as it counted them; and why those have failed that have."""
    by_kind = {
        kind: keys for kind, keys in chosen_rows(job_files, choice.selection, chunk).items() if kind in choice.kinds
    }
    every = [key for keys in by_kind.values() for key in keys]
    failed = [key for kind in FAILED_KINDS for key in by_kind.get(kind, ())]
    answered = set(every).difference(failed)
    if chunk.part:
        with job_files.open(chunk.part) as part:
            answered.intersection_update(result_parts.read_succeeded(part))
    found = ChosenRows(
        chunk_id=chunk.id,
        counts={kind: len(keys) for kind, keys in by_kind.items()},
        own=len(answered) if chunk.part else 0,
        by_shard=request_files.count_by_shard(every),
        failed_by_shard=request_files.count_by_shard(failed),
        causes=chunk.causes,
    )
    return found, failed_codes(job_files, chunk, failed)


def failed_codes(job_files: JobFiles, chunk: Chunk, keys: Collection[RowKey]) -> dict[RowKey, str]:
    """Return with which error codes these rows have failed for good in a chunk; nothing where it has no part."""
    if not chunk.part or not keys:
        return {}
    wanted = set(keys)
    with job_files.open(chunk.part) as part:
        failures = result_parts.read_failures(part)
        return {one.key: one.code for one in failures if one.key in wanted and not one.retryable}


def _all_of_kind(job_files: JobFiles, chunk: Chunk, kind: str) -> list[RowKey]:
    """Return the rows that are or were of a kind, also those that are in another chunk by now."""
    if not chunk.part:
        return request_files.row_keys(job_files, chunk)
    with job_files.open(chunk.part) as part:
        found = [] if kind in SENT_AS_FAILED else result_parts.read_kind(part, kind, also_sent=True)
    if kind in (*SENT_AS_FAILED, chunk.improves):
        keeps_unread = kind == RowKind.FAILED or chunk.unread(kind) > 0
        with job_files.open(chunk.part) as part:
            found += result_parts.read_failed(part, Failed.READABLE_ALL if keeps_unread else Failed.ALL)
    return found


def _counted(job_files: JobFiles, chunk: Chunk, kind: str, count: int) -> list[RowKey]:
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


def waiting_rows(job_files: JobFiles, chunk: Chunk, later: Callable[[Chunk], Iterable[Chunk]]) -> list[RowKey]:
    """Return the chunk's rows that wait to be sent again; of chosen ones those of the first kind that waits."""
    choice = choice_in(chunk.regather)
    if choice is not None:
        return chosen_rows(job_files, choice.selection, chunk).get(choice.kinds[0], [])
    if not chunk.part or chunk.regather:
        return rows_of_kind(job_files, chunk, chunk.regather, chunk.tally.waiting, later)
    with job_files.open(chunk.part) as part:
        return result_parts.read_failed(part, Failed.RETRYABLE)
