"""Settles the rows of a chunk from its archived results: parses them, writes the part, and tells the ledger.

Rule 1: the provider is not called: what is archived can be read again at any time (see `reread`).
Rule 2: a row that was answered in a form that cannot be read is not sent again; a job most of whose answers in a batch
        cannot be read is stopped for a decision, once: a person who approves it has decided.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, cast

from orchestrator import telemetry
from orchestrator.collector import unreadable
from orchestrator.collector.parse import Quarantined, ReadLine, read_answers
from orchestrator.collector.typed_answers import TypedAnswers
from orchestrator.collector.unreadable import FirstLine
from orchestrator.collector.vectors import Vectors
from orchestrator.domain import lifecycle, money
from orchestrator.domain.causes import Causes
from orchestrator.domain.changes import AttemptClosed, Change, ChunkMoved, Noted, RowsSettled
from orchestrator.domain.lifecycle import RESULTS_LOST, ResultsCollected
from orchestrator.domain.model import AttemptState, Chunk, Job, JobState, Tally
from orchestrator.domain.policy import Price
from orchestrator.domain.reconcile import UNREADABLE, Answer, Reconciliation, RowKey, unanswered
from orchestrator.domain.refusal import after_refused_rows
from orchestrator.domain.required import required
from orchestrator.job_files import records, request_files, result_parts
from orchestrator.job_files.changed_requests import changes_in
from orchestrator.job_files.priced_rows import Sums
from orchestrator.storage.digests import HashedWriter

if TYPE_CHECKING:
    from orchestrator.ports import JobFiles, Ledger

ROWS_MIN: Final = 10  # of a batch of a job that has answers already
FOREIGN_ID: Final = "foreign id"
KNOWN_REASONS: Final = frozenset({FOREIGN_ID, "duplicate"})  # of lines that could be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Collecting:
    """What is needed to read results."""

    job_digest: str
    price: Price | None
    read_line: ReadLine  # the dialect's
    keep_raw: bool = False
    vectors: Vectors | None = None  # where answers are vectors
    typed: TypedAnswers | None = None  # where answers have a schema

    def reads(self, job_files: JobFiles, chunk: Chunk) -> ReadLine:
        """Return what decodes the result lines of a chunk."""
        if self.typed is not None:
            return self.typed.checking(self.read_line, resends=not chunk.amends)
        if self.vectors is None:
            return self.read_line
        return self.vectors.checking(self.read_line, job_files, self.job_digest)


def _absent(chunk: Chunk) -> Answer:
    if chunk.error_code == RESULTS_LOST:
        message = "the batch was answered, but the provider does not hand out its results; a person gave them up"
        return Answer(succeeded=False, error_code=RESULTS_LOST, error_message=message)
    return unanswered(required(chunk.outcome, "outcome"), chunk.error)


def settle(
    chunk: Chunk,
    job: Job,
    archived: list[str],
    *,
    ledger: Ledger,
    job_files: JobFiles,
    collecting: Collecting,
    now: datetime,
) -> list[Change]:
    """Read the archive, write the part, and return what the ledger must know."""
    raw: dict[str, str] = {}
    with Quarantine(job_files, request_files.quarantine_name(chunk)) as quarantine:
        reconciliation = parse(
            chunk, archived, job_files=job_files, collecting=collecting, digests=raw, aside=quarantine.add
        )
    again = chunk.round < job.rounds_max and job.state is not JobState.CANCELLING
    tally, rows = reconciliation.close(_absent(chunk), may_send_again=again, improves=chunk.improves)
    part = request_files.part_name(chunk, may_send_again=again, is_empty=not archived)
    written = write(part, rows, chunk, job_files=job_files, collecting=collecting)
    tally = replace(tally, **written.used)
    collected = replace(lifecycle.advance(chunk, ResultsCollected(part, tally)), causes=written.causes)
    refused = reconciliation.refused
    if refused is not None:  # not the rows' fault: it counts as no try
        collected = replace(collected, round=chunk.round - 1, setbacks=chunk.setbacks + 1)
    _keep_record(job_files, collected, raw, written, now)
    changes: list[Change] = [
        ChunkMoved(before=chunk, after=collected, due_at=None),
        RowsSettled(chunk_id=chunk.id, by_shard=written.settled, failed=written.failed),
        AttemptClosed(token=required(chunk.token, "token"), state=AttemptState.CREATED, cost_usd=written.cost_usd),
    ]
    changes += _remarkable(chunk, tally)
    if refused is not None:
        changes += after_refused_rows(job, collected, refused, batch_id=chunk.batch_id, now=now)
    if reconciliation.is_mostly_unreadable and _is_to_be_stopped(job, tally, ledger):
        first = quarantine.first or quarantine.foreign or FirstLine(file=part, fields="nothing")
        changes.append(unreadable.stop(job, chunk, tally.unreadable_rows + tally.unread_answers, first, now=now))
    return changes


def _keep_record(job_files: JobFiles, chunk: Chunk, raw: dict[str, str], written: Written, now: datetime) -> None:
    """Put the record of the chunk's results in place."""
    records.keep_collected(
        job_files,
        records.Collected(
            chunk=chunk.name,
            attempt=chunk.attempt,
            token=required(chunk.token, "token"),
            batch_id=required(chunk.batch_id, "batch id"),
            outcome=required(chunk.outcome, "outcome"),
            fees_usd=chunk.fees_usd,
            cost_usd=written.cost_usd,
            round=chunk.round,
            setbacks=chunk.setbacks,
            part=chunk.part,
            part_digest=written.digest,
            raw=raw,
            tally=chunk.tally,
            settled=written.settled,
            failed=written.failed,
            causes=written.causes,
            collected_at=now,
            ended_at=chunk.ended_at,
        ),
    )


def _is_to_be_stopped(job: Job, tally: Tally, ledger: Ledger) -> bool:
    """Return whether it is the form of the answers, and not a few damaged lines, and no person has approved it."""
    if UNREADABLE in job.approved.split() or job.state is JobState.CANCELLING:
        return False
    return tally.unreadable_rows + tally.unread_answers >= ROWS_MIN or ledger.totals(job.id).succeeded == 0


def parse(
    chunk: Chunk,
    archived: Iterable[str],
    *,
    job_files: JobFiles,
    collecting: Collecting,
    digests: dict[str, str] | None = None,
    aside: Callable[[str, Quarantined], None] = lambda _file, _line: None,
) -> Reconciliation:
    """Read archived results, and assign each answer to its row.

    Args:
        digests: gets the digest of each file.
        aside: gets each line that was not used, and its file.
    """
    rows = request_files.row_keys(job_files, chunk)
    reconciliation = Reconciliation(rows, collecting.job_digest, is_canary=chunk.is_canary)
    read_line = collecting.reads(job_files, chunk)
    for name in archived:
        blocks = request_files.blocks(job_files, name, digests=digests)
        for line in read_answers(blocks, reconciliation, read_line, keep_raw=collecting.keep_raw):
            aside(name, line)
    return reconciliation


class Written(NamedTuple):
    """A part in place: its cost, its digest, its settled rows and its failed rows by shard, and why these failed."""

    cost_usd: Decimal | None
    used: Mapping[str, int]  # as a tally counts it: see `usage`
    digest: str
    settled: Mapping[int, int]
    failed: Mapping[int, int]
    causes: str


def write(
    part: str, rows: Iterator[tuple[RowKey, Answer]], chunk: Chunk, *, job_files: JobFiles, collecting: Collecting
) -> Written:
    """Write the rows of a chunk, in order, as a part."""
    settled, failed, causes = _Counts(), _Counts(), Causes()
    with job_files.create(part) as file:
        hashed = HashedWriter(file)
        sums = result_parts.write_part(
            cast("BinaryIO", hashed),
            _counted(rows, settled, *((_Counts(), Causes()) if chunk.improves else (failed, causes))),
            batch_id=required(chunk.batch_id, "batch id"),
            round=chunk.round,
            fees_usd=chunk.fees_usd,
            price=changes_in(chunk.changes).price_or(collecting.price),
            content_keys=request_files.content_keys_by_row(job_files, chunk),
        )
    telemetry.TOKENS.add("input", times=sums.input_tokens)
    telemetry.TOKENS.add("output", times=sums.output_tokens)
    return Written(sums.cost_usd, usage(sums), hashed.hexdigest(), settled, failed, causes.text())


def usage(sums: Sums) -> dict[str, int]:
    """Return what the rows of a part used, as fields of a tally."""
    return {
        "unpriced": sums.unpriced,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "wasted_nano_usd": int(sums.wasted_usd / money.PLACES),
    }


class _Counts(dict[int, int]):
    """Rows by shard."""

    def add(self, shard_no: int) -> None:
        """Count one row."""
        self[shard_no] = self.get(shard_no, 0) + 1


def _counted(
    rows: Iterator[tuple[RowKey, Answer]], settled: _Counts, failed: _Counts, causes: Causes
) -> Iterator[tuple[RowKey, Answer]]:
    for key, answer in rows:
        if answer.succeeded or not answer.retryable:
            settled.add(key[0])
        if not answer.succeeded and not answer.retryable:
            failed.add(key[0])
            causes.add(answer.error_code, key)
        yield key, answer


class Quarantine:
    """The file of lines that were not used; it appears once there is one."""

    def __init__(self, job_files: JobFiles, name: str) -> None:
        self.first: FirstLine | None = None  # that cannot be read
        self.foreign: FirstLine | None = None  # that names no row of the batch
        self._job_files, self._name = job_files, name
        self._stack = ExitStack()
        self._out: BinaryIO | None = None

    def __enter__(self) -> Quarantine:
        """Open nothing yet."""
        return self

    def __exit__(self, *error: Any) -> None:
        """Put the file in place, if there is one, unless the reading failed."""
        self._stack.__exit__(*error)

    def add(self, file: str, line: Quarantined) -> None:
        """Keep a line."""
        if line.reason not in KNOWN_REASONS:
            self.first = self.first or FirstLine.of(file, line.line)
        elif line.reason == FOREIGN_ID:
            self.foreign = self.foreign or FirstLine.of_no_row(file, line.line)
        if self._out is None:
            self._out = self._stack.enter_context(self._job_files.create(self._name))
        kept = base64.b64encode(line.line).decode()
        record = {"file": file, "offset": line.offset, "reason": line.reason, "line_base64": kept}
        self._out.write(json.dumps(record).encode() + b"\n")


def _remarkable(chunk: Chunk, tally: Tally) -> Iterator[Change]:
    counts = {name: getattr(tally, name) for name in ("missing", "duplicates", "foreign", "unreadable")}
    if any(counts.values()):
        yield Noted(name="results.imperfect", details={"chunk": chunk.name} | counts)
