"""The rows that a person asks for: of the output, of what was answered so far, or of the answers alone; to one file.

Rule 1: the rows are streamed; the file appears when it is whole, and replaces another only where that was asked for.
Rule 2: nothing of the job changes: it may be running.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.api.result import BATCH_ROWS, chosen
from orchestrator.api.row_names import row_names
from orchestrator.api.status import WHOLE
from orchestrator.api.table_files import format_of, write_table, written
from orchestrator.api.wanted_rows import bound, codes_of, wanted_rows
from orchestrator.collector import answers
from orchestrator.domain.dataset import answers_command
from orchestrator.domain.errors import ConfigError, DatasetError, OutputError
from orchestrator.engine.opening import opened_workspace
from orchestrator.storage.location import is_url, locate, parent_and_name
from orchestrator.storage.open import open_job_files

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.api.result import Result
    from orchestrator.domain.model import JobId
    from orchestrator.domain.policy import OutputOptions
    from orchestrator.engine.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows and columns; see `JobHandle.export`."""

    kind: str | Collection[str] | None = None
    keys: Sequence[object] = ()
    columns: Sequence[str] | None = None
    partial: bool = False
    without_source: bool = False
    limit: int | None = None  # the first of them
    after: int = 0  # so many of them are passed over


@dataclass(frozen=True, slots=True)
class Rows:
    """The columns and the rows, which are read when they are taken."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    options: OutputOptions


@contextmanager
def opened_rows(work: str, job_id: JobId, wanted: Wanted, result_of: Callable[[], Result]) -> Iterator[Rows]:
    """Return the columns and the rows. Raises what `result_of` raises, unless less than the output is wanted."""
    with opened_workspace(work) as workspace:
        job = workspace.ledger.job(job_id)
        is_whole = job.state in WHOLE and not job.reason  # cancelled without its dataset, it has no output
        meant = wanted_rows(wanted.kind, wanted.keys, codes_of(workspace.look(job_id).causes))
        options = workspace.context(job_id).spec.output_options
        if not wanted.without_source and (is_whole or not wanted.partial):
            result = result_of()
            few = BATCH_ROWS if wanted.limit is None or meant else max(1, min(wanted.limit, BATCH_ROWS))
            rows = result.iter_batches(columns=wanted.columns, kind=meant, batch_rows=few, skip=wanted.after)
            yield Rows(result.schema(wanted.columns), _some(rows, 0, wanted.limit), result.options)
            return
        schema, found = opened_answers(workspace, job_id, has_source=not wanted.without_source)
        columns = wanted.columns
        filtered = bound(meant, schema, options, row_names(workspace, job_id))
        rows = map(filtered.of, found)
        if columns is not None:
            names = chosen(columns, schema)
            schema = schema.empty_table().select(names).schema
            rows = (batch.select(names) for batch in rows)
        yield Rows(schema, _some((batch for batch in rows if batch.num_rows), wanted.after, wanted.limit), options)


def _some(batches: Iterator[pa.RecordBatch], skip: int, limit: int | None) -> Iterator[pa.RecordBatch]:
    """Yield rows: without the first ones, and not more than so many; what comes after them is not read."""
    if skip:
        batches = _after(batches, skip)
    if limit is None:
        yield from batches
        return
    while limit > 0 and (batch := next(batches, None)) is not None:
        yield batch.slice(0, limit)
        limit -= min(limit, batch.num_rows)


def _after(batches: Iterator[pa.RecordBatch], skip: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        passed = min(skip, batch.num_rows)
        skip -= passed
        if passed < batch.num_rows:
            yield batch.slice(passed)


def opened_answers(
    workspace: Workspace, job_id: JobId, *, has_source: bool
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return the columns and the rows of what was answered so far."""
    context, ledger = workspace.context(job_id), workspace.ledger
    files, finishing = context.job_files, context.finishing
    if not has_source:
        schema = answers.answers_schema(job_files=files, finishing=finishing, has_source=False)
        return schema, answers.answers(job_id, ledger=ledger, job_files=files, finishing=finishing)
    with _way_out(job_id):
        schema = answers.answers_schema(job_files=files, finishing=finishing, has_source=True)
    return schema, _told(job_id, answers.joined_answers(job_id, ledger=ledger, job_files=files, finishing=finishing))


def _told(job_id: JobId, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with _way_out(job_id):
        yield from batches


@contextmanager
def _way_out(job_id: JobId) -> Iterator[None]:
    """Name the command that needs no dataset."""
    try:
        yield
    except (DatasetError, OutputError) as error:
        raise type(error)(f"{error}. {answers_command(job_id)}") from None


def streamed_rows(form: str, opened: AbstractContextManager[Rows]) -> Iterator[bytes]:
    """Yield rows as a file, piece by piece; `form` is "csv" or "jsonl"."""
    with opened as found:
        yield from written(form, found.schema, found.batches)


def write_rows(
    path: str | Path,
    opened: AbstractContextManager[Rows],
    *,
    force: bool,
    exact_text: bool,
) -> int:
    """Write rows to one file, and return how many there are."""
    location = locate(path)
    folder, name = parent_and_name(location)
    if not is_url(location) and Path(location).is_dir():
        raise ConfigError(f"{path} is a folder: name a file in it, such as {Path(path) / 'answers.csv'}")
    kind = format_of(name)
    files = open_job_files(folder, is_private=False)
    if files.exists(name) and not force:
        raise ConfigError(f"{path} exists: name another file, or replace it (--force; force=True in Python)")
    with opened as found, files.create(name) as file:
        rows = write_table(file, kind, found.schema, found.batches, exact_text=exact_text)
        if force:
            files.remove(name)  # the new file is written by now
    return rows
