"""Checks a job against its dataset and adds it to the ledger: everything that happens before the first step.

Rule: every mistake that a user can make is found here, before anything is sent: the columns of the template, the
names of the output's columns, the price where there is a budget, the folder of the output.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa

from orchestrator import settings as configuration
from orchestrator.api.decision import refuse_undecided
from orchestrator.api.inputs import readable_place
from orchestrator.api.job import Job
from orchestrator.api.rereading import send_failed_again
from orchestrator.collector.finish import try_rows
from orchestrator.collector.join import output_schema
from orchestrator.collector.seal import manifest_name
from orchestrator.dataset.dataset import Dataset, open_dataset
from orchestrator.dataset.excel import is_workbook
from orchestrator.dataset.keys import check_keys, has_keys, keep_keys
from orchestrator.domain.dataset import ReadOptions
from orchestrator.domain.errors import ConfigError, DatasetError
from orchestrator.domain.model import Canary, ChunkState, JobId, JobState
from orchestrator.domain.model import Job as JobRecord
from orchestrator.engine import spec as specs
from orchestrator.engine.command_log import record_command
from orchestrator.engine.function_identity import FunctionIdentity, changes_of, function_identity
from orchestrator.engine.job_context import JobContext
from orchestrator.engine.opening import SPEC, check_places
from orchestrator.engine.render_sample import steady_sample_digest
from orchestrator.engine.row_function import RowFunction, imported_function, top_package, version_mark
from orchestrator.engine.spec import Spec
from orchestrator.engine.workspace import Workspace
from orchestrator.job_files import create_journal
from orchestrator.planner.canary import wants_canary
from orchestrator.planner.plan import rows_for
from orchestrator.planner.render import Renderer
from orchestrator.planner.row_template import RowTemplateRenderer
from orchestrator.providers.catalogue import price_of
from orchestrator.providers.registry import dialect_of
from orchestrator.providers.structured_output import refuse_schema
from orchestrator.settings import ProviderSettings, Settings
from orchestrator.storage.location import is_url, locate

OWNER: Final = "_job-"  # and the job's id: an empty file in its output folder, which readers pass over
TRIED_ROWS: Final = 3


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job that has been checked against its dataset."""

    job: Job
    spec: Spec
    source: Dataset
    function: RowFunction | None = None  # renders the rows, if no template does


def places(job: Job) -> tuple[Settings, str]:
    """Return the program's settings, and the job's work folder."""
    settings = configuration.load(os.environ)
    return settings, locate(job.work) if job.work is not None else settings.work


def prepare(job: Job, settings: Settings, work: str) -> Prepared:
    """Open the dataset and check the job against it. Raises ConfigError, DatasetError."""
    options = job.resolved_dataset_options
    location, options = readable_place(job.dataset, options, work), _of_files(options)
    source = open_dataset(location, shard_rows=settings.shard_rows, shard_bytes=settings.shard_bytes, options=options)
    table = _priced(job.provider_settings, job.model)
    response = job.response_schema
    function = imported_function(job.render) if isinstance(job.render, str) else job.render
    spec = Spec(
        name=job.name,
        dataset=locate(location),
        dataset_options=source.options,
        fingerprint=source.fingerprint,
        model=job.model,
        body=None if job.render is not None else job.body,
        response="" if response is None else response.text,
        render_path=job.render if isinstance(job.render, str) else "",
        provider=table,
        shard_rows=settings.shard_rows,
        shard_bytes=settings.shard_bytes,
        output="" if job.output is None else locate(job.output),
        output_options=job.resolved_output_options,
        notify=job.resolved_notify,
    )
    if function is not None:
        spec = _identified(spec, job, source, function)
    _check(spec, job, source, function)
    return Prepared(job, spec, source, function)


def _identified(spec: Spec, job: Job, source: Dataset, function: RowFunction) -> Spec:
    """Return the spec with the identity of its function: its code, and what it renders for the first rows.

    Raises ConfigError for a function that is not the same each time it is called; DatasetError where it fails.
    """

    def identity() -> FunctionIdentity:
        if job.render_version is not None:
            return FunctionIdentity(version_mark(job.render_version), {})
        return function_identity(function, own=top_package(job.render) if isinstance(job.render, str) else "")

    before = identity()
    context = JobContext(spec=spec, work="", render=function, opened=source)
    sample = steady_sample_digest(context.callable_renderer(0, function), source)
    after = identity()
    if before.digest != after.digest:
        raise ConfigError(
            f"render changes a value that it uses ({changes_of(before.parts, after.parts)}), so that its requests may "
            'depend on the ones before: leave such values alone, or give render_version="1" and change it whenever the '
            "function is to give other requests"
        )
    return replace(spec, render=before.digest, render_sample=sample, render_parts=before.parts)


def _of_files(options: ReadOptions) -> ReadOptions:
    """Return the options that a job keeps: with an absolute folder of images."""
    return replace(options.of_files, image_folder=options.image_folder and locate(options.image_folder))


def _priced(table: ProviderSettings, model: str) -> ProviderSettings:
    """Return the provider's table with today's price of the model, unless it has one of its own."""
    if model in table.prices:
        return table
    found = price_of(dialect_of(table).sold_as(model), datetime.now(UTC).date())
    return table if found is None else replace(table, prices={**table.prices, model: found})


def _check(spec: Spec, job: Job, source: Dataset, function: RowFunction | None) -> None:
    policy = job.resolved_policy
    if spec.price is None and policy.budget_usd is not None:
        raise ConfigError(
            f"policy.budget_usd is set, but no price of {spec.model!r} is known. Give it under [provider], USD per "
            f'million tokens: `prices."{spec.model}" = {{ input_usd = "0.10", output_usd = "0.40" }}`'
        )
    context = JobContext(spec=spec, work="", render=function, opened=source)
    _check_response(context)
    vector_type = None if context.vectors is None else pa.list_(pa.float32())
    output_schema(source.schema, spec.output_options, vector_type=vector_type, typed=context.typed)
    _check_first_rows(context.renderer(0, policy), source)
    _check_output(source)


def _check_first_rows(renderer: Renderer, source: Dataset) -> None:
    """Raise DatasetError where none of the first rows can be a request: the others would go the same way."""
    if not isinstance(renderer, RowTemplateRenderer):
        return
    for batch in rows_for(renderer, source, source.shards[0]):
        rendered = renderer.render(batch.slice(0, TRIED_ROWS), row_start=0)
        if rendered.lines and not any(rendered.lines):
            raise DatasetError(f"none of the first rows can be a request: {rendered.refused[0].message}")
        return


def _check_response(context: JobContext) -> None:
    """Raise ConfigError for a schema of answers that the provider would refuse."""
    schema, dialect = context.spec.response_schema, context.dialect
    if schema is None:
        return
    if dialect.gives_vectors:
        raise ConfigError("[response]: the answers of this endpoint are vectors: leave it out")
    if context.typed is not None:
        context.typed.check_schema()
    rules = dialect.rules_for(context.spec.model)
    if rules is not None:
        refuse_schema(schema, rules, context.spec.model)


def _check_output(source: Dataset) -> None:
    """Write the first rows, with all columns, as the output would hold them. Raises DatasetError."""
    none = pa.RecordBatch.from_pylist([], source.schema)
    try_rows(next(source.batches(source.shards[0]), none), source.location)


def enter(workspace: Workspace, prepared: Prepared, context: JobContext) -> None:
    """Add the job to the ledger; a job that is already there resumes. Raises JobNeedsDecision."""
    spec, now = prepared.spec, workspace.clock.now()
    policy = prepared.job.resolved_policy
    opened_with = _known_spec(workspace, spec.job_id)
    is_new = opened_with is None
    has_canary = is_new and wants_canary(prepared.source, policy.canary_rows)
    record = JobRecord(
        id=spec.job_id,
        name=spec.name,
        account=f"{spec.provider.name}/{spec.provider.api_key_env}",
        spec=spec.to_json(),
        policy=policy,
        canary=Canary.WANTED if has_canary else Canary.NONE,
        rounds_max=policy.attempts_max,
    )
    check_places(context)
    if is_new:
        _refuse_lost_ledger(workspace, context)
        prepared.source.read_through()
    key = spec.dataset_options.key
    if key and not has_keys(context.job_files):
        check_keys(prepared.source, key)
        keep_keys(prepared.source, key, context.job_files)
    with context.job_files.create(SPEC) as file:
        file.write(spec.to_json().encode() + b"\n")
    _claim_output(context, opened_with)
    writes_anew = opened_with is not None and _has_other_columns(workspace, opened_with, spec)
    known = workspace.admin.open(record, len(prepared.source.shards), now=now, writes_anew=writes_anew)
    context.text = known.spec  # with fields that another version has added
    present = workspace.admin.resume(spec.job_id, now=now)
    if known.state is JobState.CANCELLED:
        send_failed_again(workspace, spec.job_id)
    record_command(workspace, spec.job_id)
    refuse_undecided(workspace, present)


def _has_other_columns(workspace: Workspace, before: Spec, spec: Spec) -> bool:
    """Return whether a job's output is to have other columns than before. Raises ConfigError where that is too late."""
    if spec.output_options.raw and not before.output_options.raw:
        totals = workspace.ledger.totals(spec.job_id)
        if totals.chunks.get(ChunkState.COLLECTED):
            raise ConfigError(
                f"output.raw was false when answers of job {spec.job_id} were collected, so that the provider's JSON "
                "is not among them: leave output.raw as it was, or run the job under another name"
            )
    return spec.output_options != before.output_options


def refuse_function(job: Job) -> None:
    """Raise ConfigError for a job that only this program can render."""
    if job.render is not None and not isinstance(job.render, str):
        raise ConfigError(
            "render is a function of this program, which a fleet's workers do not have: name one that they can import "
            '(render="package.module:function"), give prompt or messages instead, or run the job with '
            "orchestrator.run(...) on an SQLite ledger of its own (no "
            "ORCHESTRATOR_LEDGER_URL)"
        )


def refuse_unshared(job: Job, work: str) -> None:
    """Raise ConfigError for a dataset or output that only this process, or only this machine, can read or write."""
    refuse_function(job)
    if not is_url(work):
        return  # all machines share that folder, and may share others
    images = job.resolved_dataset_options.image_folder or None
    places = {"job.dataset": job.dataset, "job.output": job.output, "[dataset] image_folder": images}
    for name, place in places.items():
        if not isinstance(place, str | os.PathLike):
            continue
        location = os.fspath(place)
        if not is_url(location) and not (name == "job.dataset" and is_workbook(location)):  # it is read once, here
            raise ConfigError(
                f"{name} {place} is on this machine, and the work folder is {work}: workers on other machines "
                "cannot reach it. Name a place in the object store"
            )


def _known_spec(workspace: Workspace, job_id: JobId) -> Spec | None:
    """Return the spec that a job was opened with; None for a new one."""
    known = [job for job in workspace.admin.jobs() if job.id == job_id]
    return specs.from_json(known[0].spec) if known else None


def _refuse_lost_ledger(workspace: Workspace, context: JobContext) -> None:
    """Raise ConfigError where the job's folder knows of creates and the ledger does not: they would be paid twice."""
    creates = len(context.job_files.names(create_journal.INTENTS))
    if creates:
        raise ConfigError(
            f"the ledger does not know job {context.spec.job_id}, and its folder in {workspace.work} says that "
            f"creates were sent ({creates:,}): to run it would pay for them again. If the ledger was lost, type "
            f"`orchestrator recover --work {shlex.quote(workspace.work)}` and run the job again; if another ledger has "
            "the job, set ORCHESTRATOR_LEDGER_URL to that one"
        )


def _claim_output(context: JobContext, known: Spec | None) -> None:
    """Make sure that only this job writes to its output folder. Raises ConfigError."""
    spec, folder = context.spec, context.output_folder
    if known is not None and known.output != spec.output:
        before = known.output or "its own folder"
        raise ConfigError(
            f"job {spec.job_id} was opened with another output: {before}. Leave job.output as it was; "
            "a finished output may be copied anywhere"
        )
    finishing = context.finishing
    files, mark = finishing.output, f"{finishing.folder}/{OWNER}{spec.job_id}"
    is_ours = files.exists(mark)
    with files.create(mark):
        pass
    there = set(files.names(finishing.folder)) - {mark}
    owners = [name.partition(f"/{OWNER}")[2] for name in sorted(there) if f"/{OWNER}" in name]
    if owners or (not is_ours and (there or files.exists(manifest_name(finishing.folder)))):
        if not is_ours:
            files.remove(mark)
        held = f"the output of job {owners[0]}" if owners else "files already, or its manifest stands beside it"
        raise ConfigError(f"job.output {folder} holds {held}: name an empty or a new folder")
