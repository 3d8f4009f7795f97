"""The step that ends a job: it checks the row counts, writes the manifest, and last the file `_SUCCESS`.

Rule 1: a job is sealed only if rows = succeeded + failed, and the output parts hold exactly those rows.
Rule 2: no output part is read: the records written by the finish step say what each part holds.
Rule 3: a finished output folder holds parts and empty marks, nothing else, so that any reader takes it as it is. The
        manifest stands beside it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestrator.collector.finish import Finishing, part_file, revision_folder, slice_count
from orchestrator.domain.changes import JobMoved
from orchestrator.domain.errors import OutputError
from orchestrator.domain.model import Claim, Job, JobState, Step
from orchestrator.domain.progress import Totals
from orchestrator.job_files.output_parts import OutputPart, base_name, read_output_part, recorded_part

if TYPE_CHECKING:
    from orchestrator.ports import Clock, JobFiles, Ledger

SUCCESS = "_SUCCESS"


def manifest_name(folder: str) -> str:
    """Return the name of the manifest of an output folder."""
    return f"{folder}.manifest.json"


def sealed_at(output: JobFiles, folder: str) -> datetime | None:
    """Return when an output was finished, by its manifest; None where that does not say, or is not there."""
    if not output.exists(manifest_name(folder)):
        return None
    with output.open(manifest_name(folder)) as file, suppress(ValueError, TypeError, AttributeError):
        return datetime.fromisoformat(json.loads(file.read()).get("ended_at"))
    return None


def seal(claim: Claim, *, ledger: Ledger, job_files: JobFiles, finishing: Finishing, clock: Clock) -> None:
    """Publish the job's output, or stop the job where the output is incomplete or its counts are inconsistent."""
    job = ledger.job(claim.unit.job_id)
    if job.due is not Step.SEAL:
        return
    totals, now = ledger.totals(job.id), clock.now()
    try:
        _check_row_counts(totals)
        manifest = _manifest(job, totals, ledger=ledger, job_files=job_files, finishing=finishing)
        manifest["ended_at"] = now.isoformat()
    except OutputError as error:
        after = replace(job, state=JobState.STOPPED, due=Step.REVIEW, reason=str(error))
    else:
        folder = revision_folder(finishing.folder, job.revision)
        finishing.output.sweep(folder)
        with finishing.output.create(manifest_name(folder)) as file:
            file.write(json.dumps(manifest, indent=2, sort_keys=True).encode() + b"\n")
        with finishing.output.create(f"{folder}/{SUCCESS}"):
            pass
        ended = JobState.CANCELLED if job.state is JobState.CANCELLING else JobState.FINISHED
        after = replace(job, state=ended, reason="", due=Step.REVIEW)
    ledger.record(claim, JobMoved(before=job, after=after, due_at=None), now=now)


def _check_row_counts(totals: Totals) -> None:
    accounted = totals.succeeded + totals.failed + totals.refused
    if totals.waiting or totals.live_chunks or not totals.rows == totals.settled == accounted:
        raise OutputError(
            f"row counts are inconsistent: {totals.rows} rows, {totals.settled} settled, "
            f"{totals.succeeded} succeeded, {totals.failed} failed, {totals.refused} refused, "
            f"{totals.waiting} waiting, {totals.live_chunks} chunks not ended"
        )


def _manifest(job: Job, totals: Totals, *, ledger: Ledger, job_files: JobFiles, finishing: Finishing) -> dict[str, Any]:
    folder = revision_folder(finishing.folder, job.revision)
    in_place = set(finishing.output.names(folder))
    parts: list[OutputPart] = []
    for shard in ledger.shards(job.id):
        slices = slice_count(shard.row_count, finishing.slice_rows)
        for slice_no in range(slices):
            name = part_file(folder, shard.shard_no, slice_no, slices)
            if name not in in_place:
                raise OutputError(f"the output part {name} is missing: it was written, and has been removed since")
            parts.append(_part(job, name, job_files=job_files, finishing=finishing))
    rows = sum(part.rows for part in parts)
    if rows != totals.rows:
        raise OutputError(f"the output parts hold {rows} rows, the job has {totals.rows}")
    return {
        "job_id": job.id,
        "revision": job.revision,
        "dataset_fingerprint": finishing.fingerprint,
        "rows": totals.rows,
        "succeeded": totals.succeeded,
        "reused": totals.reused,
        "failed": totals.failed + totals.refused,
        **totals.flaws,
        "cost_usd": None if totals.known_cost_usd is None else f"{totals.known_cost_usd:f}",
        "unpriced": totals.unpriced,
        **_shares(parts),
        "parts": [part.as_dict() for part in parts],
    }


def _shares(parts: list[OutputPart]) -> dict[str, str | None]:
    """Return what of the cost is in the rows, and what was replaced on request; None where a part does not say."""
    found = {}
    for name, shown in (("cost_usd", "rows_usd"), ("failed_usd", "failed_rows_usd"), ("replaced_usd", "replaced_usd")):
        amounts = [getattr(part, name) for part in parts]
        found[shown] = None if None in amounts else f"{sum(amounts, Decimal(0)):f}"
    return found


def _part(job: Job, name: str, *, job_files: JobFiles, finishing: Finishing) -> OutputPart:
    """Return the record of an output part. The part is read only where a recovered ledger has no record of it."""
    return recorded_part(job_files, job.revision, base_name(name)) or read_output_part(finishing.output, name)
