"""How a person names rows of a job: one way for Python, the commands, the page and agents.

    1f9a63c0-0-2a            its custom_id
    A-17                     its key, where the dataset has a column of keys
    0/42                     SHARD/ROW, both from 0
    42                       its number in the dataset, from 0, where there are no keys

Rule 1: the first that fits is meant, in this order: a key may look like a place.
Rule 2: `key:` may stand before each, as among other ways to choose rows (`wanted_rows`); a key may begin with it, too.
Rule 3: a name of no row is refused, before any row is read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from orchestrator.dataset.keys import has_keys, rows_of_keys
from orchestrator.domain import custom_id
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import ShardState
from orchestrator.storage.open import open_job_files

if TYPE_CHECKING:
    from orchestrator.domain.model import JobId
    from orchestrator.domain.reconcile import RowKey
    from orchestrator.engine.workspace import Workspace

SHOWN: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RowNames:
    """The names of one job's rows, as far as they are planned."""

    job_id: JobId
    folder: str  # of the job: it has the keys
    shard_rows: tuple[int, ...]  # planned so far, of each shard
    numbered_shards: int  # so many of them, the first ones, have rows whose numbers in the dataset are known
    is_planned: bool = True  # all rows are
    key_column: str = ""  # as the job was last described; whether rows have keys is seen in the folder

    def places(self, names: Collection[str]) -> dict[str, RowKey]:
        """Return the row of each name. Raises ConfigError for names of no row."""
        found: dict[str, RowKey] = {}
        others: list[str] = []
        keys = self._keys({spelled for name in names for spelled in _spelled(name)})
        ends = list(accumulate(self.shard_rows[: self.numbered_shards]))
        for name in names:
            place = self._place(name, keys, ends)
            if place is not None and place[0] < len(self.shard_rows) and place[1] < self.shard_rows[place[0]]:
                found[name] = place
            else:
                others.append(name)
        if others:
            raise ConfigError(self._why_not(sorted(others), has_keys=keys is not None))
        return found

    def ids(self, names: Collection[str]) -> list[str]:
        """Return the custom_ids of the rows of these names, in order. Raises ConfigError for names of no row."""
        return sorted({custom_id.custom_id(self._digest, *place) for place in self.places(names).values()})

    @property
    def _digest(self) -> str:
        return self.job_id.rpartition("-")[2]

    def _keys(self, names: Collection[str]) -> dict[str, RowKey] | None:
        """Return the rows of the keys among these names; None where rows have no keys."""
        files = open_job_files(self.folder)
        return rows_of_keys(files, len(self.shard_rows), names) if has_keys(files) else None

    def _of_id(self, name: str) -> RowKey | None:
        return custom_id.parse(custom_id.respelled(name), self._digest)

    def _place(self, name: str, keys: dict[str, RowKey] | None, ends: list[int]) -> RowKey | None:
        for spelled in _spelled(name):
            if place := self._of_id(spelled) or (keys or {}).get(spelled):
                return place
        *_, bare = _spelled(name)
        number = custom_id.row_number(bare) if keys is None else None
        if number is None:
            return custom_id.place(bare)
        shard_no = bisect_right(ends, number)
        return None if shard_no == len(ends) else (shard_no, number - (ends[shard_no] - self.shard_rows[shard_no]))

    def _why_not(self, names: list[str], *, has_keys: bool) -> str:
        first = self._why_not_one(names[0], has_keys=has_keys)
        if len(names) == 1:
            return first
        shown = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
        return f"{len(names):,} rows that you named are not there: {shown}. {first[0].upper()}{first[1:]}"

    def _why_not_one(self, name: str, *, has_keys: bool) -> str:
        *_, bare = _spelled(name)
        if place := custom_id.place(bare):
            return f"job {self.job_id} has no row {place[1]} of shard {place[0]}, or has not planned it yet"
        if custom_id.row_number(bare) is not None and not has_keys:
            known = f"{sum(self.shard_rows):,} rows" + ("" if self.is_planned else " so far")
            return f"job {self.job_id} has {known}, numbered from 0: there is no row {bare}"
        is_id, is_ours = bool(custom_id.respelled(bare)), self._of_id(bare) is not None
        of_another = " (it is an id of another job)" if is_id and not is_ours else ""
        if has_keys:
            column = f" {self.key_column!r}" if self.key_column else " of keys"
            ways, more = "its key", f". The column{column} has no such value"
        else:
            ways = "its number in the dataset, from 0,"
            more = ". With `key` under [dataset] a column of yours names rows"
        return f"job {self.job_id} has no row {bare!r}{of_another}: give its custom_id, {ways} or SHARD/ROW{more}"


def _spelled(name: str) -> Iterator[str]:
    yield name
    if name.startswith(custom_id.KEY):
        yield name.removeprefix(custom_id.KEY).strip()


def row_names(workspace: Workspace, job_id: JobId) -> RowNames:
    """Return how the rows of a job are named now."""
    context, shards = workspace.context(job_id), workspace.ledger.shards(job_id)
    planning = [number for number, shard in enumerate(shards) if shard.state is ShardState.PLANNING]
    return RowNames(
        job_id=job_id,
        folder=context.folder,
        shard_rows=tuple(shard.row_count for shard in shards),
        numbered_shards=planning[0] + 1 if planning else len(shards),  # after one whose size is not known yet: none
        is_planned=not planning,
        key_column=context.spec.dataset_options.key or "",
    )
