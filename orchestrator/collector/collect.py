"""The step that collects results: it archives the bytes, parses them, and assigns each answer to its row.

Rule 1: the provider's bytes are archived whole before they are parsed: an error of the parser can be fixed later
        without paying again.
Rule 2: results are fetched whatever the batch's outcome: the answers of an expired or cancelled batch are paid for.
Rule 3: results of an ended batch that are not there, or are refused, are looked for for hours, at growing intervals;
        the batch's status is asked again each time. Then the chunk is unresolved: a person decides whether to look on,
        or to give them up. Results that the present key's account does not find are requested until the key is set.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING, Final

from orchestrator.collector.settle import Collecting, settle
from orchestrator.domain import custom_id, lifecycle, results_at, retry
from orchestrator.domain.changes import ChunkMoved
from orchestrator.domain.errors import Gone, ProviderError, Unavailable
from orchestrator.domain.lifecycle import RESULTS_LOST, BecameUnresolved
from orchestrator.domain.model import Chunk, ChunkState, Claim, Job, Outcome
from orchestrator.domain.recovery import is_other, other_key_message
from orchestrator.domain.required import required
from orchestrator.domain.results_at import ALL_RESULTS, FAILURES
from orchestrator.job_files import request_files
from orchestrator.ports import Checkpoint, never_interrupted

if TYPE_CHECKING:
    from orchestrator.domain.batch import ResultFile
    from orchestrator.ports import Clock, JobFiles, Ledger, Provider

_LOG: Final = logging.getLogger(__name__)
RESULTS_S_MAX: Final = 21_600.0  # how long results that are not there are looked for
AGE_PER_WAIT: Final = 8  # results that have been missing for an hour are looked for every five minutes
WAIT_S_MAX: Final = 300.0
ABSENT: Final = "results_absent"  # the error code of a chunk whose results are looked for
SHORT_TRIES_MAX: Final = 3  # tries to get as many lines as the provider counted


class ResultsShort(Unavailable):
    """A result file holds fewer lines than the provider counted: perhaps the download was cut."""


class ResultsAbsent(Unavailable):
    """The batch has ended, and its results are not there: none are named, or the file is empty."""


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
    archived = list[str]()
    try:
        for name in _archive(chunk, job_files=job_files, provider=provider, checkpoint=checkpoint):
            archived.append(name)  # one by one: what came before an error is kept
        if not archived and _was_answered(chunk):
            raise ResultsAbsent(f"the results of batch {chunk.batch_id} are empty")
    except ProviderError as error:
        if chunk.error_code != RESULTS_LOST:
            ledger.record(claim, _not_now(chunk, job, error, provider=provider, clock=clock), now=clock.now())
            return
    now = clock.now()
    changes = settle(chunk, job, archived, ledger=ledger, job_files=job_files, collecting=collecting, now=now)
    ledger.record(claim, *changes, now=now)
    _delete_input(chunk, provider)


def _was_answered(chunk: Chunk) -> bool:
    """Return whether the provider says, or must be taken to say, that rows of the batch were answered."""
    all_failed = chunk.done_count == 0 and chunk.failed_count >= chunk.request_count
    return chunk.done_count > 0 or (chunk.outcome is Outcome.COMPLETED and not all_failed)


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
    if chunk.tries or chunk.error_code == RESULTS_LOST:  # a URL may have expired, or there was none yet
        where = provider.status(batch_id).results or where
    if where is None:
        if _was_answered(chunk):
            raise ResultsAbsent(f"batch {batch_id} has ended, and the provider names no results")
        return
    for file in provider.results(batch_id, where):
        name = request_files.raw_name(chunk, file.name)
        if job_files.exists(name) or _keep(job_files, name, file, chunk, checkpoint):
            yield name


def _keep(job_files: JobFiles, name: str, file: ResultFile, chunk: Chunk, checkpoint: Checkpoint) -> bool:
    """Archive one file, unless it is empty; return whether it was.

    A file with fewer lines than the provider counted is kept only after a few tries.
    """
    expected, blocks = _lines_expected(chunk, file), filter(None, file.blocks)
    first = next(blocks, b"")
    if not first.strip():
        first += next(blocks, b"")
    if not first.strip():
        if not expected:
            return False
        words = f"batch {chunk.batch_id}: {file.name} is empty, {expected} lines were promised"
        if file.name != FAILURES:
            raise ResultsAbsent(words)
        if _failed_before(chunk, ResultsShort) < SHORT_TRIES_MAX:  # not for hours: nothing in it was paid for
            raise ResultsShort(words)
        return False
    line_count = result_count = 0
    ends_open = False
    with request_files.archive(job_files, name) as writer:
        for block in chain((first,), blocks):
            checkpoint()
            writer.write(block)
            if line_count == 0:  # perhaps a document: all results in one line
                result_count += len(custom_id.found_in(block))
            line_count += block.count(b"\n")
            ends_open = not block.endswith(b"\n")
        line_count += ends_open
        found = max(line_count, result_count) if line_count == 1 else line_count
        if found < expected and _failed_before(chunk, ResultsShort) < SHORT_TRIES_MAX:
            raise ResultsShort(f"batch {chunk.batch_id}: {found} lines of {file.name}, {expected} were promised")
    return True


def _lines_expected(chunk: Chunk, file: ResultFile) -> int:
    """Return how many lines the provider promises in a file: by its own counts, or by calling the batch complete."""
    if file.line_count is None and file.name == ALL_RESULTS and chunk.outcome is Outcome.COMPLETED:
        return chunk.request_count
    return file.line_count or 0


def _failed_before(chunk: Chunk, kind: type[ProviderError]) -> int:
    """Return how often in a row, up to now, collecting has failed in this way."""
    return chunk.tries if chunk.error_code == kind.__name__ else 0


def _not_now(chunk: Chunk, job: Job, error: ProviderError, *, provider: Provider, clock: Clock) -> ChunkMoved:
    """Return what follows an error: another try later, or, after hours without results, a person."""
    is_absent = isinstance(error, Gone | ResultsAbsent)
    if is_absent and _is_of_another_account(chunk, provider):
        return _wait_for_key(chunk, job, clock=clock)
    if is_absent or retry.is_refusal(error):
        return _look_again(chunk, error, clock=clock)
    # Another error in between does not begin the search for absent results anew: it would never end.
    is_searching = chunk.error_code == ABSENT and not isinstance(error, ResultsShort)
    tries, now = (chunk.tries if is_searching else _failed_before(chunk, type(error))) + 1, clock.now()
    floor_s = error.retry_after_s
    wait = timedelta(seconds=retry.backoff_s(tries, draw=clock.draw(), floor_s=floor_s))
    counted = replace(chunk, tries=tries, error_code=ABSENT if is_searching else type(error).__name__)
    return ChunkMoved(before=chunk, after=lifecycle.failing(counted, str(error), now=now), due_at=now + wait)


def _look_again(chunk: Chunk, error: ProviderError, *, clock: Clock) -> ChunkMoved:
    """Look for results later that are not there; after hours of it, leave it to a person."""
    now, is_first = clock.now(), chunk.error_code not in (ABSENT, ResultsShort.__name__)
    counted = replace(chunk, tries=chunk.tries + 1, error_code=ABSENT)
    counted = lifecycle.failing(replace(counted, failing_since=None) if is_first else counted, "", now=now)
    since = required(counted.failing_since, "time of the first failure")
    until = since + timedelta(seconds=RESULTS_S_MAX)
    if now >= until:
        reason = f"the results of batch {chunk.batch_id} could not be had for {RESULTS_S_MAX / 3600:.0f} hours: {error}"
        unresolved = lifecycle.advance(counted, BecameUnresolved(reason, ABSENT))
        return ChunkMoved(before=chunk, after=unresolved, due_at=None)
    wait_s = min(max((now - since).total_seconds() / AGE_PER_WAIT, retry.DELAY_S_MIN), WAIT_S_MAX)
    wait = timedelta(seconds=wait_s * (0.8 + 0.4 * clock.draw()))
    words = f"{error}; looked for until {until:%Y-%m-%d %H:%M} UTC"
    return ChunkMoved(before=chunk, after=replace(counted, error=words), due_at=now + wait)


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
    words = other_key_message(f"batch {chunk.batch_id} was made", job.account)
    wait = timedelta(seconds=retry.backoff_s(5, draw=clock.draw()))
    # It does not count as a try and resets no count: workers with the right key may be trying as well.
    return ChunkMoved(before=chunk, after=replace(chunk, error=words), due_at=clock.now() + wait)
