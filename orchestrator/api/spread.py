"""How a job's answers are spread over tokens and cost, and the dearest of them: from a bounded number of result parts.

Rule: at most `SAMPLE_PARTS` and `DEAREST_PARTS` parts are read, each for a few small columns, whatever the job's size.
      The ledger says which: some, evenly over the job; and those whose batches have cost most for a row.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.collector.join import nearest_floats

if TYPE_CHECKING:
    from orchestrator.domain.model import JobId
    from orchestrator.engine.workspace import Workspace
    from orchestrator.ports import JobFiles

SAMPLE_PARTS: Final = 20
DEAREST_PARTS: Final = 10
DEAREST: Final = 10  # rows
TRIES_MAX: Final = 5  # answers of one row that are looked through for others
COLUMNS: Final = ("shard", "row", "succeeded", "input_tokens", "output_tokens", "cost_usd")
_STEPS: Final = (1, 2, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Numbers of answers, in bins that begin at 1, 2 and 5 times a power of ten."""

    begins: Sequence[float]  # of each bin
    counts: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DearRow:
    """An answer that has cost much."""

    shard: int
    row: int
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float

    @property
    def place(self) -> str:
        """The row as an address names it."""
        return f"{self.shard}-{self.row}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How answers are spread."""

    answers: int  # that were looked at
    batches: int  # that they are from
    is_all: bool  # these are all batches with answers
    output_tokens: Histogram | None  # None: not known
    cost_usd: Histogram | None
    dearest: tuple[DearRow, ...]
    dearest_of: int  # batches, those that have cost most for a row
    is_dearest_of_all: bool


def spread_of(workspace: Workspace, job_id: JobId, *, until: float) -> Spread:
    """Return how the answers of a job are spread.

    Args:
        until: when to stop reading, by `time.monotonic`.
    """
    files = workspace.context(job_id).job_files
    total, sample = workspace.views.spread_parts(job_id, SAMPLE_PARTS)
    dear = workspace.views.dearest_parts(job_id, DEAREST_PARTS)
    kept = dict[str, Any]()
    for name in dict.fromkeys(_in_turn(sample, dear)):
        if kept and time.monotonic() >= until:
            break
        kept[name] = _answers(files, name)
    tables = [kept[name] for name in sample if name in kept]
    whole = pa.concat_tables(tables) if tables else None
    dear_tables = [kept[name] for name in dear if name in kept]
    return Spread(
        answers=0 if whole is None else whole.num_rows,
        batches=len(tables),
        is_all=len(tables) == total,
        output_tokens=None if whole is None else histogram(whole["output_tokens"]),
        cost_usd=None if whole is None else histogram(nearest_floats(whole["cost_usd"])),
        dearest=() if not dear_tables else _dearest(pa.concat_tables(dear_tables)),
        dearest_of=len(dear_tables),
        is_dearest_of_all=len(dear_tables) == total,
    )


def _in_turn(one: Sequence[str], other: Sequence[str]) -> Iterator[str]:
    for place in range(max(len(one), len(other))):
        yield from (*one[place : place + 1], *other[place : place + 1])


def _answers(files: JobFiles, name: str) -> Any:
    with files.open(name) as file:
        table = pq.ParquetFile(file).read(columns=list(COLUMNS), use_threads=False)
    return table.filter(table["succeeded"])


def histogram(values: Any) -> Histogram | None:
    """Return a histogram of a column of numbers; None where none is above 0."""
    found = values.drop_null().to_numpy()
    found = found[found > 0]
    if not len(found):
        return None
    powers = range(int(np.floor(np.log10(found.min()))), int(np.floor(np.log10(found.max()))) + 1)
    begins = [step * 10**power if power >= 0 else step / 10**-power for power in powers for step in _STEPS]
    places = np.searchsorted(begins, found, side="right") - 1
    counts = np.bincount(np.maximum(places, 0), minlength=len(begins))
    first, last = np.flatnonzero(counts)[[0, -1]]
    return Histogram(begins=begins[first : last + 1], counts=[int(one) for one in counts[first : last + 1]])


def _dearest(table: Any) -> tuple[DearRow, ...]:
    table = table.filter(pc.greater(pc.fill_null(nearest_floats(table["cost_usd"]), 0.0), 0.0))
    order = pc.sort_indices(table, sort_keys=[("cost_usd", "descending"), ("shard", "ascending"), ("row", "ascending")])
    first = table.take(order[: DEAREST * TRIES_MAX])
    costs = nearest_floats(first["cost_usd"]).to_pylist()
    shards, rows, *tokens = (first[name].to_pylist() for name in ("shard", "row", "input_tokens", "output_tokens"))
    found = dict[tuple[int, int], DearRow]()
    for shard, row, tokens_in, tokens_out, cost in zip(shards, rows, *tokens, costs, strict=True):
        dear = DearRow(shard=shard, row=row, input_tokens=tokens_in, output_tokens=tokens_out, cost_usd=cost)
        found.setdefault((shard, row), dear)  # a row that was sent again is there once
    return tuple(found.values())[:DEAREST]
