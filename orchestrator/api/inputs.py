"""Where a job's dataset is: where the user says, or in the work folder.

Rule 1: a table that a program holds, a stream, a download and a sheet are kept in the work folder, so that the job can
        go on without them.
Rule 2: what can be read only once is read once, however often the program asks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, ref

import pyarrow as pa

from orchestrator.dataset.imported import importer
from orchestrator.dataset.in_memory import keep_in, keep_table
from orchestrator.domain.dataset import ReadOptions
from orchestrator.engine.opening import work_files
from orchestrator.storage.location import is_url, join

if TYPE_CHECKING:
    from orchestrator.api.job import Table

INPUTS: Final = "inputs"
_read_once: WeakKeyDictionary[Any, dict[str, str]] = WeakKeyDictionary()  # where a stream's rows are, by work folder


def readable_place(dataset: Table, options: ReadOptions, work: str) -> str:
    """Return where a dataset can be read, which is kept in the work folder first if need be. Raises DatasetError."""
    if isinstance(dataset, str | os.PathLike):
        place = os.fspath(dataset)
        keep = importer(place, options)
        return place if keep is None else _kept(keep, work)
    if not _is_read_once(dataset):
        return _kept(partial(keep_table, dataset), work)
    places = _read_once.setdefault(dataset, {})
    if work not in places:
        places[work] = _kept(partial(keep_table, dataset), work)
    return places[work]


def _kept(keep: Callable[[Path], Path], work: str) -> str:
    """Keep a dataset in the work folder, and return where."""
    if is_url(work):
        return join(work, keep_in(work_files(work), INPUTS, keep))
    return str(keep(Path(join(work, INPUTS))))


def _is_read_once(table: Any) -> bool:
    """Whether a table is empty after it was read, and can be remembered for the time that the program has it."""
    try:
        return isinstance(table, pa.RecordBatchReader | Iterator) and ref(table) is not None
    except TypeError:  # such as map and zip
        return False
