"""A job's rows as they are answered, page by page: of a job that runs, and of one that has ended.

Rule 1: a page is read from a row on, and ends with the row to go on from. Nothing is counted and nothing is skipped
        over row by row: the counts are the ledger's, and they say which files cannot hold such a row.
Rule 2: one window of rows is in memory. It is read whole, then the time is looked at: each page gets on, however slow.
Rule 3: what a row's answer is follows from the rule that the output follows: see `collector.join`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.api.row_files import COLUMNS, PartReader, RequestReader
from orchestrator.collector.finish import gaps_of
from orchestrator.collector.join import last_gaps, positions, records_of
from orchestrator.domain import custom_id
from orchestrator.domain.causes import OTHER, is_plain
from orchestrator.domain.chosen import WHOLE
from orchestrator.domain.errors import ConfigError, LedgerAway, LedgerError
from orchestrator.domain.model import ENDED_JOBS, ChunkId
from orchestrator.domain.reconcile import UNREADABLE
from orchestrator.domain.row_filter import FLAWS, RowFilter, Shown, Where
from orchestrator.job_files import request_files
from orchestrator.job_files.part_cursor import PartCursor
from orchestrator.job_files.result_parts import PART_SCHEMA

if TYPE_CHECKING:
    from orchestrator.domain.model import Chunk, JobId, Shard
    from orchestrator.domain.reconcile import RowKey
    from orchestrator.engine.workspace import Workspace
    from orchestrator.ports import Contribution, JobFiles

FEWEST: Final = ("succeeded", "error_code", "reused_from")  # that tell of which kind a row is
WINDOW_ROWS_MAX: Final = 5_000
IN_ORDER: Final = [name for name in PART_SCHEMA.names if name in ("shard", "row", *COLUMNS)]
SHOWN_LENGTH_MAX: Final = 20_000  # characters of a text in a list


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRow:
    """A row with its answer or its error."""

    shard: int
    row: int  # in the shard, from 0
    custom_id: str
    asked: str | None = field(repr=False)  # None: its request is not there
    answer: str | None = field(repr=False)
    is_answered: bool
    is_final: bool  # False: it has failed, and is sent again
    code: str  # of its error, or the kind of an answer that is not whole
    message: str = field(repr=False)
    finish_reason: str
    tokens_in: int | None
    tokens_out: int | None
    cost_usd: Decimal | None
    round: int  # how often it was sent
    reused_from: str  # the job that paid for the answer

    @property
    def place(self) -> str:
        """The row as an address names it."""
        return f"{self.shard}-{self.row}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPage:
    """Some rows, in the order of the dataset."""

    rows: tuple[ListedRow, ...]
    next: RowKey | None  # where the next page begins; None: there are no more such rows
    looked_through: int  # rows of the dataset before `next`
    is_cut: bool  # the time was over before the page was full


def row_page(
    workspace: Workspace, job_id: JobId, wanted: RowFilter, *, start: RowKey, limit: int, until: float
) -> RowPage:
    """Return up to `limit` rows from `start` on.

    Args:
        until: when to stop looking, by `time.monotonic`.
    """
    context = workspace.context(job_id)
    has_ended = workspace.ledger.job(job_id).state in ENDED_JOBS
    files, digest, found = context.job_files, context.spec.digest, list[ListedRow]()
    own = None if not wanted.chunk else _rows_of_chunk(workspace, job_id, files, wanted.chunk)
    goes_on, is_cut = None, False
    for shard_no in workspace.views.shards_with(job_id, wanted, from_shard=start[0]):
        if own is not None and shard_no not in own:
            continue
        first = start[1] if shard_no == start[0] else 0
        contributions = workspace.ledger.contributions(job_id, shard_no)
        shard = workspace.ledger.shard(job_id, shard_no)
        with _ShardRows(files, digest, shard, contributions, wanted, has_ended=has_ended) as rows:
            only = None if own is None else own[shard_no]
            for window_end, some in rows.windows(first, only, few=limit):
                found += some
                goes_on = (shard_no, window_end)
                if len(found) > limit:
                    goes_on = (shard_no, found[limit].row)
                    break
                is_cut = time.monotonic() >= until
                if is_cut:
                    break
        if is_cut or len(found) > limit:
            break
    else:
        goes_on = None
    before = 0 if goes_on is None else workspace.views.rows_before(job_id, goes_on)
    return RowPage(rows=tuple(found[:limit]), next=goes_on, looked_through=before, is_cut=is_cut)


def _rows_of_chunk(workspace: Workspace, job_id: JobId, files: JobFiles, name: str) -> dict[int, Any]:
    """Return the rows of a chunk by shard, as sorted arrays. Raises ConfigError where there is no such chunk."""
    try:
        chunk = workspace.ledger.chunk(ChunkId(f"{job_id}/{name}"))
    except LedgerAway:
        raise
    except LedgerError:
        raise ConfigError(f"job {job_id} has no chunk {name!r}") from None
    if chunk.shard_no is not None and not chunk.requests:
        return {chunk.shard_no: np.arange(chunk.row_start, chunk.row_end)}
    keys = np.array(request_files.row_keys(files, chunk), np.int64).reshape(-1, 2)
    return {int(shard_no): np.sort(keys[keys[:, 0] == shard_no, 1]) for shard_no in np.unique(keys[:, 0])}


class _ShardRows:
    """The rows of one shard that have an answer or an error, read forwards, window by window."""

    def __init__(
        self,
        files: JobFiles,
        digest: str,
        shard: Shard,
        contributions: Sequence[Contribution],
        wanted: RowFilter,
        *,
        has_ended: bool,
    ) -> None:
        self._files, self._digest, self._shard_no = files, digest, shard.shard_no
        self._contributions, self._wanted = contributions, wanted
        self._row_end = max([shard.row_count, *(one.chunk.row_end for one in contributions)])
        self._parts = PartReader(files, shard, contributions)
        self._requests = RequestReader(files, shard.shard_no, [one.chunk for one in contributions])
        self._gaps = list(gaps_of(list(contributions)))
        self._has_ended = has_ended

    def __enter__(self) -> _ShardRows:
        return self

    def __exit__(self, *_error: object) -> None:
        self._parts.close()

    def windows(self, first: int, only: Any, *, few: int) -> Iterator[tuple[int, list[ListedRow]]]:
        """Yield (one past the last row, the rows that are wanted) of one window after another.

        Args:
            only: the rows to choose among, sorted; None: all.
            few: how many rows a page has: the first window has as many.
        """
        for start, end in self._ranges(first, only):
            size = WINDOW_ROWS_MAX if self._wanted.text else 1 + few
            while start < end:
                window_end = self._parts.bounded(start, min(end, start + size))
                yield window_end, self._read(start, window_end, only)
                start, size = window_end, min(WINDOW_ROWS_MAX, 2 * size)

    def _ranges(self, first: int, only: Any) -> Iterable[tuple[int, int]]:
        """Return the ranges of rows from `first` on that may hold a row that is wanted."""
        if only is not None:
            return _runs(only[only >= first])
        if self._wanted.shown is Shown.ALL:
            return [(first, self._row_end)]
        base = [one.chunk for one in self._contributions if one.chunk.shard_no is not None]
        found = [(one.row_start, one.row_end) for one in base if self._wanted.may_hold(one)]
        found += [(row, row + 1) for row in self._scattered()]
        return _merged(sorted((max(first, start), end) for start, end in found if end > first))

    def _scattered(self) -> Iterator[int]:
        """Yield the rows in chunks of any rows that may be wanted, and those that were never sent."""
        names = [one.chunk.part for one in self._contributions if one.chunk.shard_no is None and one.chunk.part]
        may = {one.chunk.part for one in self._contributions if self._wanted.may_hold(one.chunk)}
        names = [name for name in names if name in may]
        if self._wanted.shown is Shown.FAILED:
            names += self._parts.refusals
        for name in names:
            with self._files.open(name) as part:
                table = PartCursor(part, shard_no=self._shard_no, columns=FEWEST).take(self._row_end)
            yield from table.filter(self._is_kind(table))["row"].to_pylist()

    def _read(self, start: int, end: int, only: Any) -> list[ListedRow]:
        """Return the rows of a window that are wanted."""
        names, taken = self._parts.take(start, end)
        replacing = {one.chunk.part for one in self._contributions if one.chunk.improves == WHOLE}
        last = [number for number, name in enumerate(names) if name in replacing]
        chosen = positions(taken, start, end - start, last)
        table = pa.concat_tables([*taken, records_of(self._gaps).select(IN_ORDER)])
        bare = np.flatnonzero(chosen < 0)
        gaps = last_gaps(self._gaps, bare + start)
        records = sum(one.num_rows for one in taken)
        chosen[bare] = np.where(gaps >= 0, gaps + records, -1)
        rows = np.flatnonzero(chosen >= 0)
        if only is not None:
            rows = rows[np.isin(rows + start, only)]
        found = table.take(pa.array(chosen[rows]))
        waits = self._waits(names, taken, chosen[rows], found)
        kept = self._is_kind(found).to_numpy(zero_copy_only=False) & ~(waits & (self._wanted.shown is Shown.FAILED))
        rows, found, waits = rows[kept] + start, found.filter(pa.array(kept)), waits[kept]
        texts = dict[int, str]()
        if self._wanted.text:
            kept, texts = self._with_text(rows, found)
            rows, found, waits = rows[kept], found.filter(pa.array(kept)), waits[kept]
        return self._listed(rows, found, waits, texts)

    def _waits(self, names: Sequence[str], taken: Sequence[Any], chosen: Any, found: Any) -> Any:
        """Return which of the records are of rows that have failed and are sent again."""
        if self._has_ended:
            return np.zeros(len(chosen), bool)
        by_part = {one.chunk.part: one.chunk for one in self._contributions if one.chunk.part}
        again = [name in by_part and _all_go_again(by_part[name]) for name in names] + [False]
        ends = np.cumsum([one.num_rows for one in taken], dtype=np.int64)
        of_chunk = np.array(again)[np.searchsorted(ends, chosen, side="right")]
        unread = pc.fill_null(pc.equal(found["error_code"], UNREADABLE), False).to_numpy(zero_copy_only=False)
        failed = ~found["succeeded"].to_numpy(zero_copy_only=False)
        retryable = found["retryable"].to_numpy(zero_copy_only=False)
        waits: Any = failed & (retryable | (of_chunk & ~unread))
        return waits

    def _is_kind(self, table: Any) -> Any:
        """Return which of the records are of the wanted kind."""
        wanted, succeeded = self._wanted, table["succeeded"]
        match wanted.shown:
            case Shown.ANSWERED:
                return succeeded.combine_chunks()
            case Shown.REUSED:
                return pc.and_(succeeded, pc.is_valid(table["reused_from"])).combine_chunks()
            case Shown.FAILED if not wanted.cause:
                return pc.invert(succeeded).combine_chunks()
            case Shown.FAILED:
                codes = table["error_code"]
                has_code = pc.fill_null(pc.equal(codes, wanted.cause), False)
                if wanted.cause == OTHER:
                    has_code = pa.chunked_array([[not is_plain(code) for code in codes.to_pylist()]], pa.bool_())
                return pc.and_(pc.invert(succeeded), has_code).combine_chunks()
        if wanted.shown in FLAWS:
            is_flaw = pc.fill_null(pc.equal(table["error_code"], wanted.shown.value), False)
            return pc.and_(succeeded, is_flaw).combine_chunks()
        return pa.array(np.ones(table.num_rows, bool))

    def _with_text(self, rows: Any, found: Any) -> tuple[Any, dict[int, str]]:
        """Return which of the records have the text, and the requests of these rows."""
        text, where = self._wanted.text, self._wanted.where
        kept = np.zeros(len(rows), bool)
        if where is not Where.REQUEST:
            for name in ("text", "tool_calls", "error_message"):
                is_there = pc.match_substring(found[name], text, ignore_case=True)
                kept |= pc.fill_null(is_there, False).to_numpy(zero_copy_only=False)
        requests: dict[int, str] = {}
        if where is not Where.ANSWER:
            folded = text.casefold()
            requests = self._requests.of(rows.tolist())
            kept |= np.array([folded in requests.get(row, "").casefold() for row in rows.tolist()], bool)
        return kept, requests

    def _listed(self, rows: Any, found: Any, waits: Any, texts: dict[int, str]) -> list[ListedRow]:
        numbers = rows.tolist()
        texts = texts or self._requests.of(numbers)
        return [
            ListedRow(
                shard=self._shard_no,
                row=row,
                custom_id=custom_id.custom_id(self._digest, self._shard_no, row),
                asked=None if row not in texts else texts[row][:SHOWN_LENGTH_MAX],
                answer=_short(record["text"] if record["text"] is not None else record["tool_calls"]),
                is_answered=record["succeeded"],
                is_final=not wait,
                code=record["error_code"] or "",
                message=_short(record["error_message"]) or "",
                finish_reason=record["finish_reason"] or "",
                tokens_in=record["input_tokens"],
                tokens_out=record["output_tokens"],
                cost_usd=record["cost_usd"],
                round=record["round"],
                reused_from=record["reused_from"] or "",
            )
            for row, record, wait in zip(numbers, found.to_pylist(), waits.tolist(), strict=True)
        ]


def _short(text: str | None) -> str | None:
    return None if text is None else text[:SHOWN_LENGTH_MAX]


def _all_go_again(chunk: Chunk) -> bool:
    """Return whether the failed rows of a chunk are sent again, but for those whose answer cannot be read."""
    return chunk.tally.failed == chunk.tally.unreadable_rows


def _runs(rows: Any) -> list[tuple[int, int]]:
    """Return sorted rows as ranges."""
    return _merged([(int(row), int(row) + 1) for row in rows])


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return sorted ranges with those that touch as one."""
    found: list[tuple[int, int]] = []
    for start, end in ranges:
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found
