"""Finds the rows of an ended job that a person means, each with the chunk that counts it: for `retry`.

Rule 1: what is asked about a row is asked of the output, as the person sees it; a shard's output and its parts are
        read side by side, some rows at a time.
Rule 2: a row is counted in the last chunk that had it. One without such a chunk was never a request: it is not sent.
Rule 3: a row whose newest answer is kept and cannot be read stays as it is: it may be paid for already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.api.row_names import row_names
from orchestrator.api.wanted_rows import BoundRows, WantedRows, bound
from orchestrator.collector.finish import part_file, revision_folder, slice_count
from orchestrator.collector.join import FAILED
from orchestrator.domain.causes import causes_less
from orchestrator.domain.chosen import WHOLE, ChosenRows
from orchestrator.domain.errors import StorageError
from orchestrator.domain.model import Chunk, Job, Shard
from orchestrator.domain.money import PLACES
from orchestrator.domain.reconcile import UNREADABLE
from orchestrator.domain.row_kinds import INVALID, INVALID_CODES, RowKind
from orchestrator.job_files import request_files
from orchestrator.job_files.part_cursor import PartCursor
from orchestrator.job_files.selections import ShardSelection, kept_selection

if TYPE_CHECKING:
    from orchestrator.engine.job_context import JobContext
    from orchestrator.engine.workspace import Workspace
    from orchestrator.ports import JobFiles

READ_ROWS: Final = 5_000
_OF_PART: Final = ("shard", "row", "succeeded", "retryable", "error_code")


@dataclass(slots=True, kw_only=True)
class Chosen:
    """The rows that were found."""

    rows: list[ChosenRows] = field(default_factory=list)  # by chunk
    never_sent: int = 0  # could not become a request, or were not planned
    unreadable: int = 0  # stay as they are
    paid_usd: Decimal = Decimal(0)  # what the answers of `priced` rows have cost
    priced: int = 0

    @property
    def counts(self) -> Counter[str]:
        """How many there are of each kind."""
        return sum((Counter(one.counts) for one in self.rows), Counter())

    @property
    def total(self) -> int:
        """How many rows can be sent again."""
        return sum(one.total for one in self.rows)


@dataclass(slots=True)
class _OfChunk:
    chunk: Chunk
    counts: Counter[str] = field(default_factory=Counter)
    own: int = 0
    by_shard: Counter[int] = field(default_factory=Counter)
    failed_by_shard: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)  # of failed rows that are among the chunk's causes

    def add(self, shard_no: int, kind: str, code: str, *, is_own: bool, is_final: bool) -> None:
        self.counts[kind] += 1
        self.by_shard[shard_no] += 1
        if kind in (RowKind.FAILED, INVALID):
            self.failed_by_shard[shard_no] += 1
            if is_final:
                self.codes[code] += 1
        else:
            self.own += is_own

    def rows(self) -> ChosenRows:
        return ChosenRows(
            chunk_id=self.chunk.id,
            counts=dict(self.counts),
            own=self.own,
            by_shard=dict(self.by_shard),
            failed_by_shard=dict(self.failed_by_shard),
            causes=causes_less(self.chunk.causes, self.codes),
        )


def choose(
    workspace: Workspace, context: JobContext, job: Job, rows: WantedRows, *, kept_in: JobFiles, selection: str
) -> Chosen:
    """Find the rows that are meant, and keep in `kept_in` which they are, under the name of the selection.

    Raises ConfigError where a column, a code or a key is not there, StorageError where the output cannot be read.
    """
    search = _Search(workspace, context, job, rows, kept_in, selection)
    for shard in workspace.ledger.shards(job.id):
        search.look_at(shard)
    search.found.rows = [one.rows() for one in search.by_chunk.values()]
    return search.found


class _Search:
    def __init__(
        self, workspace: Workspace, context: JobContext, job: Job, rows: WantedRows, kept_in: JobFiles, selection: str
    ) -> None:
        self.found = Chosen()
        self.by_chunk: dict[str, _OfChunk] = {}
        self.wanted: BoundRows | None = None
        self._workspace, self._context, self._job, self._rows = workspace, context, job, rows
        self._kept_in, self._selection = kept_in, selection

    def look_at(self, shard: Shard) -> None:
        """Find the rows of a shard."""
        finishing, prefix = self._context.finishing, self._context.spec.output_options.prefix
        folder = revision_folder(finishing.folder, self._job.revision)
        slices = slice_count(shard.row_count, finishing.slice_rows)
        shown = [f"{prefix}status", f"{prefix}error_code", f"{prefix}cost_usd"]
        start = 0
        with ExitStack() as stack:
            homes = _Homes(stack, self._workspace, self._context.job_files, self._job, shard)
            kept: ShardSelection | None = None
            for slice_no in range(slices):
                name = part_file(folder, shard.shard_no, slice_no, slices)
                with _opened(finishing.output, name) as file:
                    wanted = self._bound(file.schema_arrow)
                    columns = list(dict.fromkeys([*shown, *wanted.columns]))
                    for batch in file.iter_batches(READ_ROWS, columns=columns, use_threads=False):
                        places = np.flatnonzero(wanted.mask(batch).to_numpy(zero_copy_only=False))
                        if len(places):
                            if kept is None:
                                keeping = kept_selection(self._kept_in, self._selection, shard.shard_no)
                                kept = stack.enter_context(keeping)
                            kept.add(*self._added(homes, batch.select(shown), start, places))
                        start += batch.num_rows

    def _bound(self, schema: pa.Schema) -> BoundRows:
        if self.wanted is None:
            options = self._context.spec.output_options
            self.wanted = bound(self._rows, schema, options, row_names(self._workspace, self._job.id))
        return self.wanted

    def _added(
        self, homes: _Homes, batch: pa.RecordBatch, start: int, places: Any
    ) -> tuple[list[int], list[str], list[str]]:
        """Count the rows at these places, and return those that can be sent: their numbers, chunks and kinds."""
        kept: tuple[list[int], list[str], list[str]] = ([], [], [])
        states, found = homes.of(start, batch.num_rows), self.found
        statuses, codes, costs = (column.take(pa.array(places)).to_pylist() for column in batch.columns)
        for place, status, code, cost in zip(places.tolist(), statuses, codes, costs, strict=True):
            home = states.home[place]
            if home < 0:
                found.never_sent += 1
            elif states.is_unreadable[place]:
                found.unreadable += 1
            else:
                chunk = homes.chunks[home]
                kind = _kind(status, code)
                one = self.by_chunk.setdefault(chunk.name, _OfChunk(chunk))
                is_final = bool(chunk.part) and not states.is_retryable[place]
                one.add(homes.shard_no, kind, code or "", is_own=bool(states.succeeded[place]), is_final=is_final)
                kept[0].append(start + place)
                kept[1].append(chunk.name)
                kept[2].append(kind)
                if cost is not None:
                    found.paid_usd += Decimal(cost).quantize(PLACES)
                    found.priced += 1
        return kept


def _kind(status: str, code: str | None) -> str:
    if status == FAILED:
        return INVALID if code in INVALID_CODES else RowKind.FAILED.value
    return code or WHOLE


@contextmanager
def _opened(output: JobFiles, name: str) -> Iterator[Any]:
    try:
        with output.open(name) as file:
            yield pq.ParquetFile(file, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        what = f"{name} of the output cannot be read ({type(error).__name__}), and rows are chosen by it"
        raise StorageError(what) from None


class _States(NamedTuple):
    home: Any  # the number of the chunk that counts a row; -1: none
    succeeded: Any  # in that chunk
    is_retryable: Any
    is_unreadable: Any


class _Homes:
    """The chunks of a shard, and which of them counts a row."""

    def __init__(self, stack: ExitStack, workspace: Workspace, job_files: JobFiles, job: Job, shard: Shard) -> None:
        self.shard_no = shard.shard_no
        found = workspace.ledger.contributions(job.id, shard.shard_no)
        self.chunks = [one.chunk for one in found if one.chunk.requests]  # others stand for rows that were not planned
        self._cursors, self._bare = dict[int, PartCursor](), dict[int, Any]()
        for number, chunk in enumerate(self.chunks):
            if chunk.part:
                file = stack.enter_context(job_files.open(chunk.part))
                self._cursors[number] = PartCursor(file, shard_no=shard.shard_no, columns=_OF_PART)
            else:
                keys = request_files.row_keys(job_files, chunk)
                self._bare[number] = np.array([row for place, row in keys if place == shard.shard_no], np.int64)

    def of(self, row_start: int, row_count: int) -> _States:
        """Return where these rows are counted. Rows must be asked for in order."""
        home = np.full(row_count, -1, np.int64)
        succeeded, retryable, unreadable = (np.zeros(row_count, bool) for _ in range(3))
        for number in range(len(self.chunks)):
            if number in self._bare:
                first, end = np.searchsorted(self._bare[number], [row_start, row_start + row_count])
                rows = self._bare[number][first:end] - row_start
                home[rows], succeeded[rows], retryable[rows], unreadable[rows] = number, False, False, False
                continue
            cursor = self._cursors[number]
            cursor.skip(row_start)
            table = cursor.take(row_start + row_count)
            rows = table["row"].to_numpy() - row_start
            home[rows] = number
            succeeded[rows], retryable[rows] = table["succeeded"].to_numpy(), table["retryable"].to_numpy()
            code = pc.fill_null(pc.equal(table["error_code"], UNREADABLE), fill_value=False)
            unreadable[rows] = code.to_numpy() & ~succeeded[rows]
        return _States(home, succeeded, retryable, unreadable)
