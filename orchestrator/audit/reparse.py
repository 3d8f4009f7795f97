"""Compares the files of a chunk with each other: raw results are digested and parsed again, and compared with the part.

Rule: it holds one chunk in memory, as collecting its results did.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import xxhash

from orchestrator.audit.chunk_files import AS_COLLECTED, as_collected, damage
from orchestrator.audit.findings import Audit
from orchestrator.collector.parse import read_answers
from orchestrator.domain import custom_id
from orchestrator.domain.model import ChunkState
from orchestrator.domain.reconcile import UNREADABLE, Answer, Reconciliation, RowKey
from orchestrator.job_files import records, request_files
from orchestrator.job_files.result_parts import batches_of
from orchestrator.storage.digests import digest_of

if TYPE_CHECKING:
    from orchestrator.collector.settle import Collecting
    from orchestrator.domain.model import Chunk
    from orchestrator.domain.snapshot import Entry
    from orchestrator.ports import JobFiles

ANSWERED: Final = (
    "text",
    "finish_reason",
    "tool_calls",
    "reasoning",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "request_id",
    "error_code",
    "error_message",
)
ROWS_SHOWN_MAX: Final = 3  # differences reported row by row for one part; the rest are counted together
_NO_LINE: Final = Answer(succeeded=False, error_code="no line")


def check_deep(audit: Audit, entry: Entry, job_files: JobFiles, collecting: Collecting) -> None:
    """Digest and parse everything of one chunk again."""
    chunk = entry.chunk
    if not chunk.requests or chunk.state is ChunkState.SPLIT or not job_files.exists(chunk.requests):
        return
    keys: list[RowKey] = []
    with damage(audit, chunk.name, "file of requests"):
        keys = _check_requests(audit, entry, job_files, collecting)
    if chunk.state is ChunkState.REUSED and keys:
        with damage(audit, chunk.name, "reused answers"):
            _check_reused(audit, chunk, keys, job_files)
    if chunk.state is not ChunkState.COLLECTED or not keys:
        return
    raw = _raw_names(audit, chunk, job_files)
    with damage(audit, chunk.name, "raw results"):
        reconciliation = Reconciliation(keys, collecting.job_digest, is_canary=chunk.is_canary)
        for name in raw:
            for _line in read_answers(
                request_files.blocks(job_files, name),
                reconciliation,
                collecting.reads(job_files, chunk),
                keep_raw=collecting.keep_raw,
            ):
                pass
        _compare(audit, chunk, reconciliation, job_files)


def _check_reused(audit: Audit, chunk: Chunk, keys: list[RowKey], job_files: JobFiles) -> None:
    """Check that each copied answer is one to the row's own request, names who paid, and costs nothing."""
    asked = dict(zip(keys, request_files.content_keys(job_files, chunk), strict=True))
    columns = ["shard", "row", "succeeded", "content_key", "reused_from", "cost_usd"]
    wrong = 0
    with job_files.open(chunk.part) as file:
        for batch in batches_of(file, columns):
            for row in batch.to_pylist():
                is_own = asked.pop((row["shard"], row["row"]), None) == row["content_key"]
                wrong += not (is_own and bool(row["reused_from"]) == row["succeeded"] and row["cost_usd"] == 0)
    audit.same(chunk.name, "rows whose reused answer is not one to their request", ledger=0, archive=wrong + len(asked))


def _check_requests(audit: Audit, entry: Entry, job_files: JobFiles, collecting: Collecting) -> list[RowKey]:
    """Return the rows of the requests, whose bytes must be those that were planned."""
    chunk, digest = entry.chunk, xxhash.xxh3_128()
    keys = request_files.row_keys(job_files, chunk)
    line_count = size_bytes = named = 0
    for line in request_files.lines(job_files, chunk.requests):
        digest.update(line)
        size_bytes += len(line)
        if line_count < len(keys):
            named += f'"{custom_id.custom_id(collecting.job_digest, *keys[line_count])}"'.encode() in line
        line_count += 1
    found = digest.hexdigest()[:12]
    audit.same(chunk.name, "digest of the requests", ledger=request_files.content_digest(chunk.requests), archive=found)
    audit.same(chunk.name, "requests in the file", ledger=chunk.request_count, archive=line_count)
    audit.same(chunk.name, "requests that name their row", ledger=chunk.request_count, archive=named)
    audit.same(chunk.name, "bytes of requests", ledger=chunk.request_bytes, archive=size_bytes)
    by_shard = request_files.count_by_shard(keys)
    audit.same(chunk.name, "rows by shard", ledger=dict(entry.rows_by_shard), archive=dict(sorted(by_shard.items())))
    return keys


def _raw_names(audit: Audit, chunk: Chunk, job_files: JobFiles) -> list[str]:
    """Return the raw files of the chunk's results, once their digests are compared."""
    name = records.collected_name(chunk.part)
    found = None
    if job_files.exists(name):
        with damage(audit, chunk.name, "record of what the batch gave"):
            found = records.read_collected(job_files, name)
    if found is None:
        begins = f"raw/{chunk.name}.a{chunk.attempt}."
        return [raw for raw in job_files.names("raw") if raw.startswith(begins)]
    for file, digest in [*found.raw.items(), (found.part, found.part_digest)]:
        if job_files.exists(file):
            with damage(audit, chunk.name, file), job_files.open(file) as opened:
                audit.same(chunk.name, f"digest of {file}", ledger=digest, archive=digest_of(opened))
    return [raw for raw in found.raw if job_files.exists(raw)]


def _compare(audit: Audit, chunk: Chunk, reconciliation: Reconciliation, job_files: JobFiles) -> None:
    """Compare the raw results with the ledger's counts and with the part, row by row."""
    is_reread = records.is_reread(chunk.part)
    tally, rows = reconciliation.close(_NO_LINE, may_send_again=".final" not in chunk.part)
    if not job_files.exists(chunk.part):
        return
    readable = 0
    wrong = 0
    kept = _kept_rows(job_files, chunk.part)
    for key, answer in rows:
        row = next(kept, None)
        if row is not None and (row["shard"], row["row"]) == key and row["error_code"] == UNREADABLE:
            readable += answer.error_code != UNREADABLE
        elif row is None or (row["shard"], row["row"]) != key or not _says(row, answer, is_reread=is_reread):
            wrong += 1
            if wrong <= ROWS_SHOWN_MAX:
                shown = "no row" if row is None else f"another answer for row {row['row']} of shard {row['shard']}"
                audit.differ(
                    f"{chunk.name} row {key[1]} of shard {key[0]}",
                    "answer, parsed again",
                    ledger=chunk.part,
                    archive=shown,
                )
    if next(kept, None) is not None:
        audit.differ(chunk.name, "rows of the part", ledger=chunk.request_count, archive="more")
    if wrong > ROWS_SHOWN_MAX:
        audit.differ(chunk.name, "more answers, parsed again", ledger=chunk.part, archive=wrong - ROWS_SHOWN_MAX)

    if readable:
        audit.notes.append(f"{chunk.name}: {readable} rows can be read now: orchestrator reread {audit.job_id}")
        return
    for count in (name for name in AS_COLLECTED if name != "unpriced"):
        ours, theirs = as_collected(chunk.tally, count), getattr(tally, count)
        audit.same(chunk.name, f"{count}, parsed again", ledger=ours, archive=theirs)


def _kept_rows(job_files: JobFiles, part: str) -> Iterator[dict[str, Any]]:
    with job_files.open(part) as file:
        columns = ["shard", "row", "succeeded", "retryable", "choices", *ANSWERED]
        for batch in batches_of(file, columns):
            yield from batch.to_pylist()


def _says(row: dict[str, Any], answer: Answer, *, is_reread: bool) -> bool:
    """Return whether a row of a part equals the raw result; a reread marks the rows that are sent again by its own."""
    if answer is _NO_LINE or answer.error_code == _NO_LINE.error_code:
        return not row["succeeded"]  # the reason for a missing line depends on the batch's outcome
    is_alike = is_reread or row["retryable"] == answer.retryable
    same = row["succeeded"] == answer.succeeded and is_alike
    choices = None if answer.choices is None else [choice._asdict() for choice in answer.choices]
    return same and row["choices"] == choices and all(row[name] == getattr(answer, name) for name in ANSWERED)
