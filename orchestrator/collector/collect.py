"""The step that collects results: it archives the bytes, parses them, and assigns each answer to its row.

Rule 1: the provider's bytes are archived whole before they are parsed: an error of the parser can be fixed later
        without paying again.
Rule 2: results are fetched whatever the batch's outcome: the answers of an expired or cancelled batch are paid for.
Rule 3: rows whose answers the provider made and then lost have failed and are not sent again automatically: they were
        paid for. Results that the present key's account does not find are requested again until the right key is set.
        Where the provider has them and refuses to give them, the chunk becomes unresolved.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from orchestrator.collector.parse import Quarantined, ReadLine, read_answers
from orchestrator.collector.vectors import Vectors
from orchestrator.domain import lifecycle, results_at, retry
from orchestrator.domain.changes import AttemptClosed, Change, ChunkMoved, Noted, RowsSettled
from orchestrator.domain.errors import Gone, ProviderError, TransientError, Unavailable
from orchestrator.domain.lifecycle import BecameUnresolved, ResultsCollected
from orchestrator.domain.model import AttemptState, Chunk, ChunkState, Claim, Job, JobState, Outcome, Tally
from orchestrator.domain.policy import Price
from orchestrator.domain.reconcile import Answer, Reconciliation, RowKey, unanswered
from orchestrator.domain.recovery import is_other, other_key_words
from orchestrator.domain.required import required
from orchestrator.domain.results_at import ALL_RESULTS
from orchestrator.job_files import records, request_files, result_parts
from orchestrator.ports import Checkpoint, never_interrupted
from orchestrator.storage.digests import HashedWriter

if TYPE_CHECKING:
    from orchestrator.domain.batch import ResultFile
    from orchestrator.ports import Clock, JobFiles, Ledger, Provider

_LOG: Final = logging.getLogger(__name__)
TRIES_MAX: Final = 8  # tries to find results at the announced place
SHORT_TRIES_MAX: Final = 3  # tries to get as many lines as the provider counted


class ResultsShort(Unavailable):
    """A result file holds fewer lines than the provider counted: perhaps the download was cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collecting:
    """What is needed to read results."""

    job_digest: str
    price: Price | None
    read_line: ReadLine  # the dialect's
    keep_raw: bool = False
    vectors: Vectors | None = None  # where answers are vectors

    def reads(self, job_files: JobFiles) -> ReadLine:
        """Return what decodes the result lines of this job."""
        if self.vectors is None:
            return self.read_line
        return self.vectors.checking(self.read_line, job_files, self.job_digest)


def collect(
    claim: Claim,
    *,
    ledger: Ledger,
    job_files: JobFiles,
    provider: Provider,
    collecting: Collecting,
    clock: Clock,
    checkpoint: Checkpoint = never_interrupted,
) -> None:
    """Collect an ended batch, or postpone the step if its results are not there yet."""
    chunk = ledger.chunk(required(claim.unit.chunk_id, "chunk"))
    if chunk.state is not ChunkState.ENDED:
        return
    job = ledger.job(chunk.job_id)
    archived, lost = list[str](), False
    try:
        for name in _archive(chunk, job_files=job_files, provider=provider, checkpoint=checkpoint):
            archived.append(name)  # one by one: what came before an error is kept
    except ProviderError as error:
        if isinstance(error, Gone) and _is_of_another_account(chunk, provider):
            ledger.record(claim, _wait_for_key(chunk, job, clock=clock), now=clock.now())
            return
        if not isinstance(error, Gone) or _failed_before(chunk, Gone) + 1 < TRIES_MAX:
            ledger.record(claim, _later(chunk, error, clock=clock), now=clock.now())
            return
        lost = chunk.done_count > 0 or bool(chunk.results)
    absent = _absent(chunk, lost=lost)
    changes = _settle(chunk, job, archived, absent, job_files=job_files, collecting=collecting)
    ledger.record(claim, *changes, now=clock.now())
    _delete_input(chunk, provider)


def _delete_input(chunk: Chunk, provider: Provider) -> None:
    """Delete the input file of a collected batch, to free space at the provider. Nothing depends on it."""
    if chunk.file_id is None or provider.files is None or is_other(chunk.key_mark, provider.traits.key_mark):
        return  # to another account the same id may be another file
    try:
        provider.files.delete(chunk.file_id)
    except ProviderError as error:  # it expires by itself
        _LOG.info("input file %s of chunk %s was not deleted: %s", chunk.file_id, chunk.name, error)


def _archive(chunk: Chunk, *, job_files: JobFiles, provider: Provider, checkpoint: Checkpoint) -> Iterator[str]:
    """Archive every result file of the batch; yield the name of each once it is in place. Raises ProviderError."""
    where, batch_id = results_at.from_text(chunk.results), required(chunk.batch_id, "batch id")
    if chunk.tries:  # a URL may have expired, or there was none yet
        where = provider.status(batch_id).results or where
    if where is None:
        if chunk.outcome is Outcome.COMPLETED:
            raise Gone(f"batch {batch_id} is complete, but the provider names no results")
        return
    for file in provider.results(batch_id, where):
        name = request_files.raw_name(chunk, file.name)
        if not job_files.exists(name):
            _keep(job_files, name, file, chunk, checkpoint)
        yield name


def _keep(job_files: JobFiles, name: str, file: ResultFile, chunk: Chunk, checkpoint: Checkpoint) -> None:
    """Archive one file; a file with fewer lines than the provider counted is kept only after a few tries."""
    line_count, ends_open = 0, False
    with request_files.archive(job_files, name) as writer:
        for block in file.blocks:
            checkpoint()
            writer.write(block)
            line_count += block.count(b"\n")
            ends_open = not block.endswith(b"\n") if block else ends_open
        line_count += ends_open
        expected = _lines_expected(chunk, file)
        if line_count < expected and _failed_before(chunk, ResultsShort) < SHORT_TRIES_MAX:
            raise ResultsShort(f"batch {chunk.batch_id}: {line_count} lines of {file.name}, {expected} were promised")


def _lines_expected(chunk: Chunk, file: ResultFile) -> int:
    """Return how many lines the provider promises in a file: by its own counts, or by calling the batch complete."""
    if file.line_count is None and file.name == ALL_RESULTS and chunk.outcome is Outcome.COMPLETED:
        return chunk.request_count
    return file.line_count or 0


def _failed_before(chunk: Chunk, kind: type[ProviderError]) -> int:
    """Return how often in a row, up to now, collecting has failed in this way."""
    return chunk.tries if chunk.error_code == kind.__name__ else 0


def _later(chunk: Chunk, error: ProviderError, *, clock: Clock) -> ChunkMoved:
    tries = _failed_before(chunk, type(error)) + 1
    if retry.is_refusal(error) and tries >= retry.REFUSALS_MAX:
        reason = f"the provider does not hand out the results of batch {chunk.batch_id}: {error}"
        return ChunkMoved(before=chunk, after=lifecycle.advance(chunk, BecameUnresolved(reason)), due_at=None)
    floor_s = error.retry_after_s if isinstance(error, TransientError) else None
    wait = timedelta(seconds=retry.backoff_s(tries, draw=clock.draw(), floor_s=floor_s))
    after = replace(chunk, tries=tries, error_code=type(error).__name__, error=str(error))
    return ChunkMoved(before=chunk, after=after, due_at=clock.now() + wait)


def _is_of_another_account(chunk: Chunk, provider: Provider) -> bool:
    """Whether the key is another than the batch was made with, and is not shown to know the batch all the same."""
    if not is_other(chunk.key_mark, provider.traits.key_mark):
        return False
    try:
        provider.status(required(chunk.batch_id, "batch id"))
    except ProviderError:
        return True
    return False


def _wait_for_key(chunk: Chunk, job: Job, *, clock: Clock) -> ChunkMoved:
    words = other_key_words(f"batch {chunk.batch_id} was made", job.account)
    wait = timedelta(seconds=retry.backoff_s(5, draw=clock.draw()))
    # It does not count as a try and resets no count: workers with the right key may be trying as well.
    return ChunkMoved(before=chunk, after=replace(chunk, error=words), due_at=clock.now() + wait)


def _absent(chunk: Chunk, *, lost: bool) -> Answer:
    if lost:
        return Answer(
            succeeded=False,
            error_code="results_lost",
            error_message="the batch was answered, but the provider no longer has its results",
        )
    return unanswered(required(chunk.outcome, "outcome"), chunk.error)


def _settle(
    chunk: Chunk, job: Job, archived: list[str], absent: Answer, *, job_files: JobFiles, collecting: Collecting
) -> list[Change]:
    """Read the archive, write the part, and return what the ledger must know."""
    expected = request_files.row_keys(job_files, chunk)
    reconciliation = Reconciliation(expected, collecting.job_digest)
    raw: dict[str, str] = {}
    read_line = collecting.reads(job_files)
    _quarantine(
        job_files,
        request_files.quarantine_name(chunk),
        (
            (name, line)
            for name in archived
            for line in read_answers(
                request_files.blocks(job_files, name, digests=raw),
                reconciliation,
                read_line,
                keep_raw=collecting.keep_raw,
            )
        ),
    )
    again = chunk.round < job.rounds_max and job.state is not JobState.CANCELLING
    tally, rows = reconciliation.close(absent, may_send_again=again, improves=chunk.improves)
    settled, failed = _Counts(), _Counts()
    part = request_files.part_name(chunk, may_send_again=again, is_empty=not archived)
    with job_files.create(part) as file:
        hashed = HashedWriter(file)
        cost, unpriced = result_parts.write_part(
            cast("BinaryIO", hashed),
            _counted(rows, settled, _Counts() if chunk.improves else failed),
            batch_id=required(chunk.batch_id, "batch id"),
            round=chunk.round,
            fees_usd=chunk.fees_usd,
            price=collecting.price,
        )
    tally = replace(tally, unpriced=unpriced)
    collected = lifecycle.advance(chunk, ResultsCollected(part, tally))
    _keep_record(collected, cost, raw, hashed.hexdigest(), settled, failed, job_files=job_files)
    changes: list[Change] = [
        ChunkMoved(before=chunk, after=collected, due_at=None),
        RowsSettled(chunk_id=chunk.id, by_shard=settled, failed=failed),
        AttemptClosed(token=required(chunk.token, "token"), state=AttemptState.CREATED, cost_usd=cost),
    ]
    return [*changes, *_remarkable(chunk, tally)]


def _keep_record(
    chunk: Chunk,
    cost_usd: Decimal | None,
    raw: dict[str, str],
    part_digest: str,
    settled: _Counts,
    failed: _Counts,
    *,
    job_files: JobFiles,
) -> None:
    """Write, beside the part, the record of what the ledger gets next."""
    records.keep_collected(
        job_files,
        records.Collected(
            chunk=chunk.name,
            attempt=chunk.attempt,
            token=required(chunk.token, "token"),
            batch_id=required(chunk.batch_id, "batch id"),
            outcome=required(chunk.outcome, "outcome"),
            fees_usd=chunk.fees_usd,
            cost_usd=cost_usd,
            part=chunk.part,
            part_digest=part_digest,
            raw=raw,
            tally=chunk.tally,
            settled=settled,
            failed=failed,
        ),
    )


class _Counts(dict[int, int]):
    """Rows by shard."""

    def add(self, shard_no: int) -> None:
        """Count one row."""
        self[shard_no] = self.get(shard_no, 0) + 1


def _counted(
    rows: Iterator[tuple[RowKey, Answer]], settled: _Counts, failed: _Counts
) -> Iterator[tuple[RowKey, Answer]]:
    for key, answer in rows:
        if answer.succeeded or not answer.retryable:
            settled.add(key[0])
        if not answer.succeeded and not answer.retryable:
            failed.add(key[0])
        yield key, answer


def _quarantine(job_files: JobFiles, name: str, found: Iterable[tuple[str, Quarantined]]) -> None:
    lines = []
    for file, line in found:
        kept = base64.b64encode(line.line).decode()
        lines.append(json.dumps({"file": file, "offset": line.offset, "reason": line.reason, "line_base64": kept}))
    if lines:
        with job_files.create(name) as out:
            out.write(("\n".join(lines) + "\n").encode())


def _remarkable(chunk: Chunk, tally: Tally) -> Iterator[Change]:
    counts = {name: getattr(tally, name) for name in ("missing", "duplicates", "foreign", "unreadable")}
    if any(counts.values()):
        yield Noted(name="results.imperfect", details={"chunk": chunk.name} | counts)
