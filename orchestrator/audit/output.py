"""Compares the output of an ended job with the ledger, its files with the manifest, its rows with the result parts.

Rule: the dataset is not read; the source columns of the output are used instead.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.audit.chunk_files import damage
from orchestrator.audit.findings import Audit, Waste
from orchestrator.collector.finish import gaps_of, open_parts, part_file, revision_folder, slice_count
from orchestrator.collector.join import Join, Spent, result_fields
from orchestrator.collector.same_rows import SameRows, planned_slices
from orchestrator.collector.seal import SUCCESS, manifest_name
from orchestrator.domain.policy import OutputOptions
from orchestrator.job_files.output_parts import recorded_part
from orchestrator.job_files.part_cursor import PartCursor
from orchestrator.job_files.result_parts import READ_ROWS
from orchestrator.storage.digests import digest_of

if TYPE_CHECKING:
    from orchestrator.collector.typed_answers import TypedAnswers
    from orchestrator.domain.model import Job, Shard
    from orchestrator.domain.progress import Totals
    from orchestrator.ports import Contribution, JobFiles, Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The location of a job's output, and its settings."""

    output: JobFiles
    folder: str  # of the first revision
    job_files: JobFiles
    options: OutputOptions
    job_digest: str
    slice_rows: int
    typed: TypedAnswers | None = None  # where answers have a schema


def check_output(audit: Audit, job: Job, totals: Totals, published: Published, *, deep: bool) -> None:
    """Compare the sealed output with the ledger; with `deep`, every file of every revision with its manifest."""
    for revision in range(1, job.revision + 1):
        folder = revision_folder(published.folder, revision)
        is_present = revision == job.revision
        if not published.output.exists(f"{folder}/{SUCCESS}"):
            if is_present and not job.reason:  # a job that was cancelled without its dataset has none
                audit.differ(folder, "output", ledger=job.state, archive=f"{SUCCESS} is missing")
            continue
        manifest: dict[str, Any] | None = None
        with damage(audit, folder, "manifest"), published.output.open(manifest_name(folder)) as file:
            manifest = {"parts": [], **json.loads(file.read())}
        if manifest is None:
            continue
        if is_present:
            _check_totals(audit, folder, manifest, totals)
            _read_shares(audit, manifest)
        if is_present or deep:
            for part in manifest["parts"]:
                with damage(audit, f"{folder}/{part['file']}", "output part"):
                    _check_part(audit, f"{folder}/{part['file']}", part, published.output, deep=deep)
                with damage(audit, f"{folder}/{part['file']}", "record of the output part"):
                    _check_record(audit, f"{folder}/{part['file']}", part, published.job_files, revision)


def _check_totals(audit: Audit, folder: str, manifest: dict[str, Any], totals: Totals) -> None:
    ours = {
        "rows": totals.rows,
        "succeeded": totals.succeeded,
        "failed": totals.failed + totals.refused,
        **totals.flaws,
        "cost_usd": totals.known_cost_usd,
    }
    found = manifest.get("cost_usd", "NaN")
    theirs = manifest | {"cost_usd": None if found is None else Decimal(found)}
    for name, count in ours.items():
        audit.same(manifest_name(folder), name, ledger=count, archive=theirs.get(name))
    listed = sum(part["rows"] for part in manifest["parts"])
    audit.same(manifest_name(folder), "rows of its parts", ledger=totals.rows, archive=listed)


def _read_shares(audit: Audit, manifest: dict[str, Any]) -> None:
    """Take over what the manifest says of the cost: what is in the rows, and what was replaced on request."""
    rows, failed, replaced = (manifest.get(name) for name in ("rows_usd", "failed_rows_usd", "replaced_usd"))
    if None not in (rows, failed, replaced):
        audit.answered_usd, audit.replaced_usd = Decimal(rows or 0) - Decimal(failed or 0), Decimal(replaced or 0)


def check_shares(audit: Audit, found: Spent, totals: Totals) -> None:
    """Compare what the parts say of the cost with the manifest; all of it must be in rows, replaced, or for nothing."""
    if audit.answered_usd is None or totals.unpriced:
        return
    audit.same(
        "output", "cost of answered rows, USD", ledger=audit.answered_usd, archive=found.rows_usd - found.failed_usd
    )
    audit.same("output", "cost of replaced answers, USD", ledger=audit.replaced_usd, archive=found.replaced_usd)
    maybe = audit.waste.get(Waste.MAYBE_TWICE)
    nothing = audit.wasted_usd - (maybe.usd if maybe is not None else 0)  # that is not on the bill as far as is known
    added_up = audit.answered_usd + found.replaced_usd + nothing
    audit.same("job", "cost = answered rows + replaced + paid for nothing", ledger=totals.cost_usd, archive=added_up)


def _check_part(audit: Audit, name: str, part: dict[str, Any], output: JobFiles, *, deep: bool) -> None:
    with output.open(name) as file:
        if deep:
            audit.same(name, "digest in the manifest", ledger=part["xxh3_128"], archive=digest_of(file))
            file.seek(0)
        audit.same(name, "rows in the manifest", ledger=part["rows"], archive=pq.read_metadata(file).num_rows)


def _check_record(audit: Audit, name: str, part: dict[str, Any], job_files: JobFiles, revision: int) -> None:
    """Compare the record of an output part with its manifest entry. After a recovery the record may be absent."""
    recorded = recorded_part(job_files, revision, part["file"])
    if recorded is not None:
        audit.same(name, "entry in the manifest", ledger=recorded.as_dict(), archive=part)


def check_rows(audit: Audit, job: Job, shard: Shard, ledger: Ledger, published: Published) -> Spent:
    """Join a shard's output again from its parts, and compare it row by row with the published output.

    Returns what its rows have cost.
    """
    contributions = ledger.contributions(job.id, shard.shard_no)
    slices = slice_count(shard.row_count, published.slice_rows)
    folder = revision_folder(published.folder, job.revision)
    with ExitStack() as stack:
        cursors = open_parts(stack, shard, contributions, 0, published.job_files)
        same = SameRows(planned_slices(published.job_files, shard.shard_no, [one.chunk for one in contributions]), 0)
        join, row = None, 0
        for slice_no in range(slices):
            name = part_file(folder, shard.shard_no, slice_no, slices)
            with published.output.open(name) as file:
                opened = pq.ParquetFile(file, pre_buffer=False)
                if join is None:
                    join = _join(shard, opened.schema_arrow, contributions, cursors, published)
                for batch in opened.iter_batches(READ_ROWS, use_threads=False):
                    for plan, column in same.differences(batch):
                        rows = f"rows {plan.row_start} to {plan.row_end - 1}"
                        audit.differ(name, f"column {column}, {rows}", ledger="as it was sent", archive="other values")
                    _compare(audit, name, batch, join, row, published)
                    row += batch.num_rows
    audit.same(f"shard {shard.shard_no}", "rows of the output", ledger=shard.row_count, archive=row)
    spent = Spent() if join is None else join.spent
    audit.spend(Waste.TWICE, spent.twice, spent.twice_usd)
    return spent


def _join(
    shard: Shard, schema: Any, contributions: list[Contribution], cursors: list[PartCursor], published: Published
) -> Join:
    vector_type = _vector_type(schema, published.options)
    results = set(result_fields(published.options, vector_type=vector_type, typed=published.typed).names)
    return Join(
        job_digest=published.job_digest,
        shard_no=shard.shard_no,
        options=published.options,
        source_schema=pa.schema([field for field in schema if field.name not in results], metadata=schema.metadata),
        parts=cursors,
        gaps=list(gaps_of(contributions)),
        vector_type=vector_type,
        typed=published.typed,
    )


def _vector_type(schema: Any, options: OutputOptions) -> Any:
    """Return the type of the column of vectors; None where the output has none among its result columns."""
    name = f"{options.prefix}embedding"
    results = schema.names[schema.names.index(options.custom_id) :]
    return schema.field(name).type if name in results else None


def _compare(audit: Audit, name: str, batch: Any, join: Join, row: int, published: Published) -> None:
    vector_type = _vector_type(batch.schema, published.options)
    results = result_fields(published.options, vector_type=vector_type, typed=published.typed).names
    source = batch.select([column for column in batch.schema.names if column not in results])
    expected = join.add(source, row_start=row)
    for column in results:
        if not _values(batch[column]).equals(_values(expected[column])):
            pairs = zip(expected[column].to_pylist(), batch[column].to_pylist(), strict=True)
            wrong = [row + number for number, (ours, theirs) in enumerate(pairs) if ours != theirs]
            shown = f"another in rows {', '.join(map(str, wrong[:5]))}" + (" …" if len(wrong) > 5 else "")
            audit.differ(name, f"column {column}", ledger="as in the parts", archive=shown)


def _values(column: Any) -> Any:
    """Return a column by its values: the same enum may have another dictionary in each part."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
