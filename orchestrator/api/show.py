"""One row from the source to its answer: see `JobHandle.show`.

Rule: it only reads, and it holds what the row holds: nothing of it goes into a log, a message or a `repr`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson
import pyarrow as pa

from orchestrator.api.documents.document import filled, plain
from orchestrator.api.documents.jobs import Show
from orchestrator.api.row_names import row_names
from orchestrator.api.table_files import json_lines
from orchestrator.collector import answers
from orchestrator.collector.join import positions
from orchestrator.dataset.well_formed import well_formed
from orchestrator.domain import custom_id
from orchestrator.domain.chosen import WHOLE
from orchestrator.domain.errors import ConfigError, DatasetError, OutputError
from orchestrator.domain.model import ENDED
from orchestrator.domain.reconcile import RowKey
from orchestrator.job_files import records, request_files
from orchestrator.job_files.part_cursor import PartCursor

if TYPE_CHECKING:
    from orchestrator.domain.model import Attempt, Chunk, JobId
    from orchestrator.domain.policy import Price
    from orchestrator.engine.job_context import JobContext
    from orchestrator.engine.workspace import Workspace
    from orchestrator.ports import JobFiles

LINE_BYTES_MAX: Final = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class SentBatch:
    """One create of a chunk."""

    attempt: int
    state: str
    batch_id: str | None
    sent_at: datetime
    cost_usd: Decimal | None  # of the whole batch


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTry:
    """A chunk that the row was in: what was sent, and what came back for the row."""

    chunk: str
    round: int
    state: str
    reason: str
    request_file: str
    batches: tuple[SentBatch, ...]
    outcome: Mapping[str, Any] | None = field(repr=False)  # as it was read; None: nothing is read yet
    lines: Mapping[str, str] = field(repr=False)  # as the provider sent them: by file and number of the line
    revision: int  # of the output, for which it was sent
    stands: bool  # the row's answer, or its error, is from here
    request: Any = field(repr=False, default=None)  # where another one was sent than that of the try that stands


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTrace:
    """A row, from the source to its answer."""

    job_id: str
    custom_id: str
    shard: int
    row: int  # in the shard, from 0
    price: Price | None
    source: Mapping[str, Any] | None = field(repr=False)
    source_note: str  # why there is no source row, or what to know of it
    request: Any = field(repr=False)  # as it was sent, in the try that stands; before there is one, in the first
    tries: tuple[RowTry, ...]  # in the order of rounds
    answer: Mapping[str, Any] | None = field(repr=False)  # the columns of the output; None: not answered yet

    def as_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return plain(self.document())

    def document(self) -> Show:
        """Return it for programs."""
        return filled(Show, orjson.loads(orjson.dumps(self, default=_amount)))


def _amount(value: object) -> str:
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def trace(workspace: Workspace, job_id: JobId, named: str) -> RowTrace:
    """Return what is known of a row. Raises ConfigError for a row that the job does not have."""
    context = workspace.context(job_id)
    key = row_names(workspace, job_id).places([named])[named]
    files, spec = context.job_files, context.spec
    name = custom_id.custom_id(spec.digest, *key)
    entries = [entry for entry in workspace.views.chunks_of_row(job_id, key) if _holds(files, entry[0], key)]
    planned = next((line for chunk, _ in entries if (line := _request(files, chunk, key)) is not None), None)
    source, note = _source(context, key, planned)
    standing = _standing(files, [chunk for chunk, _ in entries], key)
    sent = [
        _request(files, chunk, key) or planned if chunk.changes or chunk.amends else planned for chunk, _ in entries
    ]
    request = planned if standing is None else sent[standing]
    found = answers.answer(job_id, key, ledger=workspace.ledger, job_files=files, finishing=context.finishing)
    return RowTrace(
        job_id=job_id,
        custom_id=name,
        shard=key[0],
        row=key[1],
        price=spec.price,
        source=source,
        source_note=note,
        request=None if request is None else orjson.loads(request),
        tries=tuple(
            replace(
                _try(files, chunk, attempts, key, name),
                stands=number == standing,
                request=None if line is None or line == request else orjson.loads(line),
            )
            for number, ((chunk, attempts), line) in enumerate(zip(entries, sent, strict=True))
        ),
        answer=None if found is None else _one(found),
    )


def _holds(files: JobFiles, chunk: Chunk, key: RowKey) -> bool:
    if chunk.shard_no is not None and (chunk.shard_no != key[0] or not chunk.row_start <= key[1] < chunk.row_end):
        return False
    return not chunk.requests or key in request_files.row_keys(files, chunk)


def _request(files: JobFiles, chunk: Chunk, key: RowKey) -> bytes | None:
    if not chunk.requests or not files.exists(chunk.requests):
        return None
    return next((line for found, line in request_files.requests_of(files, chunk) if found == key), None)


def _source(context: JobContext, key: RowKey, request: bytes | None) -> tuple[Mapping[str, Any] | None, str]:
    """Return the row of the dataset, and what to know of it."""
    try:
        source = context.source
        batch = next(source.batches(source.shards[key[0]], row_start=key[1]))
        note = ""
        if request is not None:
            note = _difference(context, key, request)
        row = batch.slice(0, 1)
        whole = pa.RecordBatch.from_arrays([*map(well_formed, row.columns)], schema=row.schema)
        [values] = whole.to_pylist()
        return _with_numbers(_one(whole), values), note
    except (DatasetError, OutputError, IndexError) as error:
        return None, f"the dataset cannot be read: {error}"
    except StopIteration:
        return None, "the dataset has no such row any more"


def _with_numbers(shown: Any, value: Any) -> Any:
    """Return a value for JSON, with numbers that JSON has no form for as prompts have them: as texts, such as nan."""
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    if isinstance(value, dict) and isinstance(shown, dict):
        return {name: _with_numbers(one, value.get(name)) for name, one in shown.items()}
    if isinstance(value, list) and isinstance(shown, list):
        return [_with_numbers(*pair) for pair in zip(shown, value, strict=False)]
    return shown


def _difference(context: JobContext, key: RowKey, request: bytes) -> str:
    try:
        now = next(context.finishing.request_lines(*key), (key[1], None))
    except ConfigError:
        return ""  # a function that only the user's program has
    is_same = now[1] is not None and orjson.loads(now[1]) == orjson.loads(request)
    return "" if is_same else "it has changed since: its request would be another now"


def _standing(files: JobFiles, chunks: Sequence[Chunk], key: RowKey) -> int | None:
    """Return the number of the chunk that the output takes the row's answer or error from; None before there is one."""
    with_part = [number for number, chunk in enumerate(chunks) if chunk.part]
    records_there = [_records(files, chunks[number], key) for number in with_part]
    replacing = [place for place, number in enumerate(with_part) if chunks[number].improves == WHOLE]
    chosen = int(positions(records_there, key[1], 1, replacing)[0]) if records_there else -1
    if chosen < 0:  # a chunk that has failed has no records: the last of those has the error
        return next((number for number in reversed(range(len(chunks))) if _has_failed(chunks[number])), None)
    ends = np.cumsum([table.num_rows for table in records_there])
    return with_part[int(np.searchsorted(ends, chosen, side="right"))]


def _has_failed(chunk: Chunk) -> bool:
    return chunk.state in ENDED and chunk.shard_no is not None and not chunk.part


def _try(files: JobFiles, chunk: Chunk, attempts: tuple[Attempt, ...], key: RowKey, name: str) -> RowTry:
    return RowTry(
        stands=False,
        chunk=chunk.name,
        round=chunk.round,
        revision=chunk.revision,
        state=chunk.state.value,
        reason=chunk.error,
        request_file=chunk.requests,
        batches=tuple(
            SentBatch(
                attempt=one.number,
                state=one.state.value,
                batch_id=one.batch_id,
                sent_at=one.sent_at,
                cost_usd=one.cost_usd,
            )
            for one in attempts
        ),
        outcome=_outcome(files, chunk, key),
        lines=dict(_lines(files, chunk, name)),
    )


def _outcome(files: JobFiles, chunk: Chunk, key: RowKey) -> Mapping[str, Any] | None:
    if not chunk.part:
        return None
    rows = _records(files, chunk, key)
    return _one(rows.to_batches()[0]) if rows.num_rows else None


def _records(files: JobFiles, chunk: Chunk, key: RowKey) -> Any:
    """Return the record of a row in a chunk's part, as a table of one row or none."""
    with files.open(chunk.part) as part:
        cursor = PartCursor(part, shard_no=key[0])
        cursor.skip(key[1])
        return cursor.take(key[1] + 1)


def _lines(files: JobFiles, chunk: Chunk, name: str) -> Iterator[tuple[str, str]]:
    """Yield the lines of the archive that hold the row's id, each with its file and its number, from 1."""
    for file in _archived(files, chunk):
        for number, line in enumerate(_split(request_files.blocks(files, file)), 1):
            if name.encode() in line.lower() and name in custom_id.found_in(line):
                yield f"{file}:{number}", line.decode(errors="replace").rstrip("\r\n")


def _archived(files: JobFiles, chunk: Chunk) -> list[str]:
    """Return the archives of a chunk: from its record, as the folder may hold those of many thousands."""
    record = records.collected_name(chunk.part) if chunk.part else ""
    if record and files.exists(record):
        return [file for file in records.read_collected(files, record).raw if files.exists(file)]
    return [file for file in files.names("raw") if file.startswith(f"raw/{chunk.name}.a")] if chunk.attempt else []


def _split(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield lines, the last one also where it has no end; one that is absurdly long is cut."""
    rest = b""
    for block in blocks:
        *whole, rest = (rest + block).split(b"\n")
        yield from whole
        rest = rest[:LINE_BYTES_MAX]
    if rest:
        yield rest


def _one(batch: pa.RecordBatch) -> dict[str, Any]:
    return orjson.loads(json_lines(batch))  # type: ignore[no-any-return]
