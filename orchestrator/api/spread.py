"""How a job's answers are spread over tokens and cost, and the dearest of them: from a bounded number of result parts.

Rule 1: at most `SAMPLE_PARTS` and `DEAREST_PARTS` parts are read, each for a few small columns, and none after the time
        is over, whatever the job's size. The ledger says which: some, evenly over the job; and those whose batches have
        cost most for a row. What is told says of how many answers it is.
Rule 2: a part that cannot be read is named, and its answers are left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.collector.join import nearest_floats
from orchestrator.domain.errors import StorageError
from orchestrator.job_files.result_parts import opened, reading

if TYPE_CHECKING:
    from orchestrator.domain.model import JobId
    from orchestrator.engine.workspace import Workspace
    from orchestrator.ports import JobFiles

SAMPLE_PARTS: Final = 20
DEAREST_PARTS: Final = 500  # a part of 10,000 rows takes a millisecond of CPU
DEAREST: Final = 10  # rows
TRIES_MAX: Final = 5  # answers of one row that are looked through for others
UNREAD_MAX: Final = 10  # parts that cannot be read, until no more are tried
COST: Final = ("succeeded", "cost_usd")
COLUMNS: Final = ("shard", "row", "input_tokens", "output_tokens")
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
    is_all: bool  # these are all batches with answers, but for `unread`
    output_tokens: Histogram | None  # None: not known
    cost_usd: Histogram | None
    dearest: tuple[DearRow, ...]
    dearest_of: int  # answers that these were chosen among: of batches that have cost most for a row, with a known cost
    dearest_batches: int  # that these answers are from
    is_dearest_of_all: bool  # no other batch has an answer whose cost is known, but for `unread`
    unread: tuple[str, ...] = ()  # parts that cannot be read, each with the reason: their answers are left out


def spread_of(workspace: Workspace, job_id: JobId, *, until: float) -> Spread:
    """Return how the answers of a job are spread.

    Args:
        until: when to stop reading, by `time.monotonic`.
    """
    reader = _Reader(workspace.context(job_id).job_files)
    total, sample = workspace.views.spread_parts(job_id, SAMPLE_PARTS)
    priced, dear = workspace.views.dearest_parts(job_id, DEAREST_PARTS)
    for name in dict.fromkeys(_in_turn(sample, dear)):
        if reader.is_over(until):
            break
        reader.read(name, is_sample=name in sample, is_dear=name in dear)
    return Spread(
        answers=reader.answers,
        batches=reader.sampled,
        is_all=len(sample) == total and reader.tried.issuperset(sample),
        output_tokens=histogram(reader.sample["tokens"]),
        cost_usd=histogram(reader.sample["costs"]),
        dearest=reader.dearest.rows(),
        dearest_of=reader.dearest.answers,
        dearest_batches=reader.dearest.parts,
        is_dearest_of_all=len(dear) == priced and reader.tried.issuperset(dear),
        unread=tuple(reader.unread),
    )


def _in_turn(one: Sequence[str], other: Sequence[str]) -> Iterator[str]:
    for place in range(max(len(one), len(other))):
        yield from (*one[place : place + 1], *other[place : place + 1])


@dataclass(slots=True)
class _Dearest:
    """The dearest answers of the parts that were seen so far."""

    parts: int = 0
    answers: int = 0  # whose cost is known
    _kept: Any = None  # the dearest first
    _least: Decimal = Decimal(0)  # what an answer costs more than that is among them

    def add(self, file: Any, costs: Any) -> None:
        """See a part; `costs` of its rows, null where it is not known or the row has no answer."""
        self.parts += 1
        self.answers += len(costs) - costs.null_count
        dearest = pc.max(costs).as_py()
        if dearest is None or dearest <= self._least:
            return
        most = min(DEAREST * TRIES_MAX, len(costs) - costs.null_count)
        places = pc.select_k_unstable(pa.table({"cost": costs}), most, [("cost", "descending")])
        found = file.read(columns=list(COLUMNS), use_threads=False).append_column("cost_usd", costs).take(places)
        found = found if self._kept is None else pa.concat_tables([self._kept, found])
        keys = [("cost_usd", "descending"), ("shard", "ascending"), ("row", "ascending")]
        self._kept = found.take(pc.sort_indices(found, sort_keys=keys)[: DEAREST * TRIES_MAX])
        if self._kept.num_rows == DEAREST * TRIES_MAX:
            self._least = self._kept["cost_usd"][-1].as_py()

    def rows(self) -> tuple[DearRow, ...]:
        """Return them, a row that was sent again once."""
        found = dict[tuple[int, int], DearRow]()
        for one in [] if self._kept is None else self._kept.to_pylist():
            if cost := float(one.pop("cost_usd")):
                found.setdefault((one["shard"], one["row"]), DearRow(**one, cost_usd=cost))
        return tuple(found.values())[:DEAREST]


@dataclass(slots=True)
class _Reader:
    """Reads parts, and keeps of each what is told."""

    files: JobFiles
    tried: set[str] = field(default_factory=set)
    sampled: int = 0
    answers: int = 0  # of the sampled
    sample: dict[str, list[Any]] = field(default_factory=lambda: {"tokens": [], "costs": []})
    dearest: _Dearest = field(default_factory=_Dearest)
    unread: list[str] = field(default_factory=list)

    def is_over(self, until: float) -> bool:
        """Return whether no more parts are read: one is, however late it is."""
        return len(self.unread) >= UNREAD_MAX or (bool(self.tried) and time.monotonic() >= until)

    def read(self, name: str, *, is_sample: bool, is_dear: bool) -> None:
        """Read a part."""
        self.tried.add(name)
        try:
            with self.files.open(name) as part, reading(part):
                file = opened(part)
                table = file.read(columns=[*COST, "output_tokens"] if is_sample else list(COST), use_threads=False)
                succeeded = table["succeeded"]
                costs = table["cost_usd"] if pc.all(succeeded).as_py() else _where(succeeded, table["cost_usd"])
                if is_dear:
                    self.dearest.add(file, costs)
        except StorageError as error:
            self.unread.append(str(error) if name in str(error) else f"{name}: {error}")
            return
        if is_sample:
            self.sampled += 1
            self.answers += pc.sum(succeeded).as_py() or 0
            self.sample["costs"].append(nearest_floats(costs))
            self.sample["tokens"].append(_where(succeeded, table["output_tokens"]))


def _where(wanted: Any, values: Any) -> Any:
    """Return values, null where they are not wanted."""
    return pc.if_else(wanted, values, None)


def histogram(columns: Sequence[Any]) -> Histogram | None:
    """Return a histogram of columns of numbers, of those above 0; None where there is none."""
    found = np.concatenate([np.empty(0), *(one.drop_null().to_numpy() for one in columns)])
    found = found[found > 0]
    if not len(found):
        return None
    powers = range(int(np.floor(np.log10(found.min()))), int(np.floor(np.log10(found.max()))) + 1)
    begins = [step * 10**power if power >= 0 else step / 10**-power for power in powers for step in _STEPS]
    places = np.searchsorted(begins, found, side="right") - 1
    counts = np.bincount(np.maximum(places, 0), minlength=len(begins))
    first, last = np.flatnonzero(counts)[[0, -1]]
    return Histogram(begins=begins[first : last + 1], counts=[int(one) for one in counts[first : last + 1]])
