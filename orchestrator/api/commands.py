"""The Python API: plan a job, run it here, submit it to a fleet, open it again.

Rule 1: nothing is sent before the job and its dataset have been checked (`prepare`).
Rule 2: code that reads a dataset or calls a provider is imported by the function that needs it: `status` needs neither.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Unpack, overload

from orchestrator import settings as configuration
from orchestrator.api.driving import drive, run_or_follow
from orchestrator.api.handle import JobHandle
from orchestrator.api.job import Job, JobFields
from orchestrator.api.short_tracebacks import short_traceback
from orchestrator.domain.errors import ConfigError, JobUnknown
from orchestrator.domain.look import OnLook
from orchestrator.domain.model import JobId
from orchestrator.domain.recovery import GUARANTEE
from orchestrator.engine.opening import opened_workspace
from orchestrator.settings import ProviderSettings, refuse_unknown
from orchestrator.storage.location import locate

if TYPE_CHECKING:
    from orchestrator.api.job import Table
    from orchestrator.api.result import Result
    from orchestrator.audit.findings import Audit
    from orchestrator.domain.policy import Price
    from orchestrator.engine.job_context import JobContext
    from orchestrator.planner.estimate import Estimate
    from orchestrator.providers.catalogue import Sold
    from orchestrator.restore.restore import Recovered


JOBS_NAMED: Final = 10  # in a message that another one is unknown


@overload
def plan(job: Job, /, *, limit: int | None = None) -> Estimate: ...
@overload
def plan(dataset: Table, /, *, limit: int | None = None, **fields: Unpack[JobFields]) -> Estimate: ...
@short_traceback
def plan(job: Any, /, *, limit: int | None = None, **fields: Any) -> Estimate:
    """Return what a job would send and cost, with three sample requests. Sends nothing, and needs no key.

    `plan(df, prompt="… {text}", model="…")` is short for `plan(Job(dataset=df, prompt=…, model=…))`.

    Args:
        limit: of a run with this limit.
    """
    from orchestrator.api.estimating import estimated
    from orchestrator.api.prepare import places, prepare
    from orchestrator.dataset.keys import check_keys
    from orchestrator.engine.job_context import JobContext

    described = limited(_job_of(job, fields), limit)
    settings, work = places(described)
    prepared = prepare(described, settings, work)
    rows = prepared.source.read_through()
    if prepared.spec.dataset_options.key:
        check_keys(prepared.source, prepared.spec.dataset_options.key)
    context = JobContext(spec=prepared.spec, work=work, render=prepared.function, opened=prepared.source)
    found = estimated(prepared, described.resolved_policy, work, rows)
    of_rows = ["the dataset has a header and no rows: nothing would be sent"] if found.rows == 0 else []
    notes = (*_notes(described.model, context.sold_as, found.price), *_response_notes(context), *found.notes)
    return replace(found, notes=(*of_rows, *notes), answer_columns=_answer_columns(context))


def limited(job: Job, limit: int | None) -> Job:
    """Return the job over its dataset's first rows, with an output of its own; None: the job as it is."""
    if limit is None:
        return job
    if limit < 1:
        raise ConfigError("limit must be 1 or more: how many of the first rows to send")
    return replace(job, dataset_options={**job.dataset_options, "limit": limit}, output=None)


def _notes(model: str, sold: Sold, price: Price | None) -> Iterator[str]:
    from orchestrator.providers.catalogue import end_of, similar_to

    end = end_of(sold)
    if end is not None:
        yield end.told(sold, datetime.now(UTC).date())
    if price is None:
        if similar := similar_to(model, sold):
            yield f"no price of {model} is known. Did you mean {' or '.join(similar)}?"
        yield (
            "for a cost, give the price of a million tokens, under [provider]: "
            f'`prices."{model}" = {{ input_usd = "0.10", output_usd = "0.40" }}`'
        )


def _response_notes(context: JobContext) -> Iterator[str]:
    from orchestrator.providers.structured_output import added, moved, undescribed

    schema, model = context.spec.response_schema, context.spec.model
    if schema is None:
        return
    rules = context.dialect.rules_for(model)
    if rules is None:
        yield (
            f"{model} is asked for its answer in words (no structured output of it is known): the schema goes at the "
            "end of the system text, into each request, and each answer is checked"
        )
    else:
        optional = added(schema)
        nulls = f"; optional ones may be null: {', '.join(optional)}" if optional else ""
        yield f"asked for by {rules.api}, strict: all fields are required, and no others are taken{nulls}"
        if told := moved(schema, rules):
            yield f"not taken by {rules.api}, so told in the description and checked in the answer: {', '.join(told)}"
    if bare := undescribed(schema):
        yield f"fields without a description, of which the model knows the name alone: {', '.join(bare)}"


def _answer_columns(context: JobContext) -> dict[str, str]:
    """Return the columns of typed answers with their types, as they will be in the output."""
    from orchestrator.collector.join import response_fields

    if context.typed is None:
        return {}
    fields = response_fields(context.spec.output_options, context.typed)
    kinds = (column.type_text for column in context.typed.columns)
    return {field.name: kind for field, kind in zip(fields, kinds, strict=True)}


def identify(job: Job) -> JobId:
    """Return the id of `job`, whether or not it was submitted."""
    from orchestrator.api.prepare import places, prepare

    settings, work = places(job)
    return prepare(job, settings, work).spec.job_id


@overload
def run(
    job: Job,
    /,
    *,
    limit: int | None = None,
    progress: OnLook | bool = True,
    stop: threading.Event | None = None,
    alongside: bool = False,
) -> Result: ...
@overload
def run(
    dataset: Table,
    /,
    *,
    limit: int | None = None,
    progress: OnLook | bool = True,
    stop: threading.Event | None = None,
    alongside: bool = False,
    **fields: Unpack[JobFields],
) -> Result: ...
@short_traceback
def run(
    job: Any,
    /,
    *,
    limit: int | None = None,
    progress: OnLook | bool = True,
    stop: threading.Event | None = None,
    alongside: bool = False,
    **fields: Any,
) -> Result:
    """Run a job in this process to its end and return its result; run again, it resumes, or returns at once.

    `run(df, prompt="… {text}", model="…")` is short for `run(Job(dataset=df, prompt=…, model=…))`.
    It may be called in any thread: `await asyncio.to_thread(orchestrator.run, job)`. Other jobs of the same work folder
    may run meanwhile, in other threads and processes. Where another process runs this job, this one follows it, and
    runs it as soon as that process ends before the job.

    Args:
        limit: run the first rows alone, so many: a paid sample, a job of its own. The run of all rows reuses its
            answers, and `plan` judges the cost of all rows by what they have cost.
        progress: True shows the job on a terminal (on standard error) and in a notebook; False shows nothing; a
            function is called about twice a second with a Look, and nothing is shown.
        stop: set it to end the run early; running steps are recorded first.
        alongside: run it although another job of this name is not finished.

    Raises:
        ConfigError, DatasetError: nothing was sent.
        JobConflict: another job of this name is not finished; the message says how they differ.
        JobUnresolved: some chunks wait for `resolve_created` or `resolve_absent`; the rest is done.
        JobInterrupted: `stop`, Ctrl-C or SIGTERM ended the run.
        JobStopped: the job cannot continue without a person.
        JobNeedsDecision: it is stopped until a person approves it: `JobHandle.approve`.
    """
    described = limited(_job_of(job, fields), limit)
    return _run(described, progress, stop, alongside=alongside)


def _run(described: Job, progress: OnLook | bool, stop: threading.Event | None, *, alongside: bool) -> Result:
    from orchestrator.api.conflict import refuse_conflict
    from orchestrator.api.preflight import check_before_first_create
    from orchestrator.api.prepare import enter, places, prepare, refuse_function

    settings, work = places(described)
    prepared = prepare(described, settings, work)
    job_id = prepared.spec.job_id
    with opened_workspace(work) as workspace:
        context = workspace.equip(prepared.spec, render=prepared.function, source=prepared.source)
        context.require_provider()
        if not alongside:
            refuse_conflict(workspace, prepared.spec)
        if workspace.lock is None:  # a ledger that other processes work on as well
            refuse_function(described)
            check_before_first_create(workspace, context)
            enter(workspace, prepared, context)
            return drive(workspace, job_id, progress, stop)
        return run_or_follow(
            workspace,
            job_id,
            check=lambda: check_before_first_create(workspace, context),
            enter=lambda: enter(workspace, prepared, context),
            progress=progress,
            stop=stop,
        )


@overload
def submit(job: Job, /, *, alongside: bool = False) -> JobHandle: ...
@overload
def submit(dataset: Table, /, *, alongside: bool = False, **fields: Unpack[JobFields]) -> JobHandle: ...
@short_traceback
def submit(job: Any, /, *, alongside: bool = False, **fields: Any) -> JobHandle:
    """Add a job to the ledger for a fleet's workers, and return at once; submitted again, it resumes.

    `submit(df, prompt="… {text}", model="…")` is short for `submit(Job(dataset=df, prompt=…, model=…))`.
    The workers need the provider's key; this process does not. `alongside` is as for `run`.

    Raises:
        ConfigError, DatasetError: nothing was added.
        JobConflict: another job of this name is not finished.
        JobNeedsDecision: the job is known, and stopped until a person approves it: `JobHandle.approve`.
    """
    from orchestrator.api.conflict import refuse_conflict
    from orchestrator.api.prepare import enter, places, prepare, refuse_unshared

    described = _job_of(job, fields)
    settings, work = places(described)
    refuse_unshared(described, work)
    prepared = prepare(described, settings, work)
    with opened_workspace(work) as workspace:
        context = workspace.equip(prepared.spec, source=prepared.source)
        if not alongside:
            refuse_conflict(workspace, prepared.spec)
        enter(workspace, prepared, context)
    return JobHandle(job_id=prepared.spec.job_id, work=work)


def _job_of(job: Any, fields: dict[str, Any]) -> Job:
    if isinstance(job, Job):
        if fields:
            raise ConfigError(f"{', '.join(sorted(fields))}: set this in the Job: a Job takes no further arguments")
        return job
    for name in fields.keys() & {field.name for field in dataclasses.fields(ProviderSettings)}:
        if name not in JobFields.__annotations__:
            raise ConfigError(f"{name} is a setting of the provider: give provider_options={{{name!r}: …}}")
    refuse_unknown(fields, JobFields.__annotations__, "job")
    if "model" not in fields:
        raise ConfigError('model is missing: name it as the provider calls it, as in model="openai/gpt-6-luna-batch"')
    return Job(dataset=job, **fields)


@short_traceback
def open_job(job_id: str, *, work: str | Path | None = None) -> JobHandle:
    """Return a handle on a job of a work folder, by its id or the beginning of it.

    Raises ConfigError where there is no such job, or more than one.
    """
    folder = work_folder(work)
    with opened_workspace(folder, must_exist=True) as workspace:
        known = [job.id for job in workspace.admin.jobs()]
    if JobId(job_id) not in known:
        begin_so = [one for one in known if job_id and one.startswith(job_id)]
        if len(begin_so) > 1:
            several = f"{job_id} is the beginning of several jobs in {folder}: {_named(sorted(begin_so))}"
            raise ConfigError(f"{several}; give more of the id, or the job file")
        if not begin_so:
            others = f"it has: {_named(known)}" if known else "it has none yet"
            raise JobUnknown(f"the work folder {folder} has no job {job_id!r}; {others}")
        [job_id] = begin_so
    return JobHandle(job_id=JobId(job_id), work=folder)


def _named(found: Sequence[str]) -> str:
    return ", ".join(found[:JOBS_NAMED]) + (", …" if found[JOBS_NAMED:] else "")


@short_traceback
def jobs(*, work: str | Path | None = None) -> list[JobHandle]:
    """Return handles on all jobs of a work folder, the newest first."""
    folder = work_folder(work)
    with opened_workspace(folder, must_exist=True) as workspace:
        return [JobHandle(job_id=job.id, work=folder) for job in workspace.admin.jobs()]


@short_traceback
def audit(job: Job | str, *, work: str | Path | None = None, deep: bool = False) -> Audit:
    """Compare a job's ledger with its files, its output and, where there is one, the provider's list. Read-only.

    Args:
        job: a Job, or the id of one.
        deep: digest and parse every file again, and compare the output row by row with the results it was made from.

    Raises ConfigError where the work folder has no such job.
    """
    named, place = (job, work) if isinstance(job, str) else (identify(job), work or job.work)
    handle = open_job(named, work=place)
    with opened_workspace(handle.work) as workspace:
        from orchestrator.audit.audit import audit_job

        return audit_job(workspace, handle.job_id, deep=deep)


@short_traceback
def recover(*, work: str | Path | None = None) -> list[Recovered]:
    """Write jobs back into a ledger that was lost, or that is older than its work folder. Sends nothing.

    Raises:
        ConfigError: there is nothing to recover: no job in the folder, or none that the ledger has lost.
        LedgerBusy: other processes work on the ledger.
    """
    folder = work_folder(work)
    with opened_workspace(folder, must_exist=True, recovers=True) as workspace:
        from orchestrator.restore.restore import recover_work

        return recover_work(workspace)


def work_folder(given: str | Path | None) -> str:
    """Return the location of the given work folder, or of the default one."""
    return configuration.load(os.environ).work if given is None else locate(given)


def guarantee(provider: ProviderSettings) -> str:
    """Return, as one sentence, the guarantee against double payment at this provider."""
    from orchestrator.providers.registry import dialect_of

    return f"{provider.name}: {GUARANTEE[dialect_of(provider).traits.recovery]}"


def at(job: Job, work: str | Path) -> Job:
    """Return `job` with another work folder."""
    return replace(job, work=work)
