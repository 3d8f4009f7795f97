"""The step that ends a job: the books are balanced, the manifest is written, and `_SUCCESS` last of all.

Rule: nothing is sealed that does not add up: rows = succeeded + dead, and the output parts hold exactly those rows.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from orchestrator.collector.finish import Finishing, part_file, revision_folder, slice_count
from orchestrator.domain.changes import JobMoved
from orchestrator.domain.errors import OutputError
from orchestrator.domain.model import Claim, Job, JobState, Step
from orchestrator.domain.progress import Totals

if TYPE_CHECKING:
    from orchestrator.ports import Clock, JobFiles, Ledger

MANIFEST = "_manifest.json"
SUCCESS = "_SUCCESS"


def seal(claim: Claim, *, ledger: Ledger, finishing: Finishing, clock: Clock) -> None:
    """Publish the job's output, or stop the job where it would not be what it claims to be."""
    job = ledger.job(claim.unit.job_id)
    if job.due is not Step.SEAL:
        return
    totals = ledger.totals(job.id)
    try:
        _check_row_counts(totals)
        manifest = _manifest(job, totals, ledger=ledger, finishing=finishing)
    except OutputError as error:
        after = replace(job, state=JobState.STOPPED, due=Step.REVIEW, reason=str(error))
    else:
        folder = revision_folder(finishing.folder, job.revision)
        with finishing.output.create(f"{folder}/{MANIFEST}") as file:
            file.write(json.dumps(manifest, indent=2, sort_keys=True).encode() + b"\n")
        with finishing.output.create(f"{folder}/{SUCCESS}"):
            pass
        ended = JobState.CANCELLED if job.state is JobState.CANCELLING else JobState.FINISHED
        after = replace(job, state=ended, due=Step.REVIEW)
    ledger.record(claim, JobMoved(before=job, after=after, due_at=None), now=clock.now())


def _check_row_counts(totals: Totals) -> None:
    accounted = totals.succeeded + totals.failed + totals.refused
    if totals.waiting or totals.live_chunks or not totals.rows == totals.settled == accounted:
        raise OutputError(
            f"row counts are inconsistent: {totals.rows} rows, {totals.settled} settled, "
            f"{totals.succeeded} succeeded, {totals.failed} failed, {totals.refused} refused, "
            f"{totals.waiting} waiting, {totals.live_chunks} chunks not ended"
        )


def _manifest(job: Job, totals: Totals, *, ledger: Ledger, finishing: Finishing) -> dict[str, Any]:
    parts, rows = [], 0
    folder = revision_folder(finishing.folder, job.revision)
    for shard in ledger.shards(job.id):
        slices = slice_count(shard.row_count, finishing.slice_rows)
        for slice_no in range(slices):
            described = _describe(finishing.output, part_file(folder, shard.shard_no, slice_no, slices))
            parts.append(described)
            rows += described["rows"]
    if rows != totals.rows:
        raise OutputError(f"the output parts hold {rows} rows, the job has {totals.rows}")
    return {
        "job_id": job.id,
        "revision": job.revision,
        "dataset_fingerprint": finishing.fingerprint,
        "rows": totals.rows,
        "succeeded": totals.succeeded,
        "failed": totals.failed + totals.refused,
        "cost_usd": str(totals.cost_usd),
        "parts": parts,
    }


def _describe(output: JobFiles, name: str) -> dict[str, Any]:
    digest, size = xxhash.xxh3_128(), 0
    with output.open(name) as file:
        try:
            rows = pq.read_metadata(file).num_rows
        except pa.ArrowException:
            raise OutputError(f"{name} is damaged: it is no whole Parquet file any more") from None
        file.seek(0)
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return {"file": name.rpartition("/")[2], "rows": rows, "bytes": size, "xxh3_128": digest.hexdigest()}
