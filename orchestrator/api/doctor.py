"""`orchestrator doctor`: looks at all that a run depends on, and says what to do. It creates and uploads nothing.

Rule: a check that fails does not hide the others.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator import settings as configuration
from orchestrator.api.commands import open_job
from orchestrator.domain.checks import NEEDS_PERSON, WRONG_INPUT, Check, Level
from orchestrator.domain.errors import ConfigError, DatasetError, LedgerBusy, OrchestratorError
from orchestrator.engine.opening import opened_workspace
from orchestrator.providers.check import check_provider
from orchestrator.providers.registry import provider_settings
from orchestrator.settings import Settings
from orchestrator.storage.location import is_url, locate

if TYPE_CHECKING:
    from orchestrator.api.job import Job
    from orchestrator.domain.notices import Notify
    from orchestrator.planner.estimate import Estimate

SAMPLE_ROWS: Final = 2_000  # rendered for the estimate
FREE_BYTES_MIN: Final = 1 << 30
BYTES_PER_ANSWER_TOKEN: Final = 8  # the raw line around it included
COPIES: Final = 2  # of what is sent and answered: archived, and in parts and output


def examine(job: Job | str | None, work: str | None, environment: Mapping[str, str]) -> Iterator[Check]:
    """Check a job, its provider and the program's own settings; without a job, all providers that have a key.

    Args:
        job: a job as it would be run, or the id of one in the work folder.
    """
    try:
        settings = configuration.load(environment)
    except ConfigError as error:
        yield Check(name="settings", level=Level.ERROR, found=str(error))
        return
    place, estimated, notify = work or settings.work, None, None
    if isinstance(job, str):
        notify = yield from _known_job(job, place, environment)
    elif job is not None:
        place, notify = work or (settings.work if job.work is None else locate(job.work)), job.resolved_notify
        check, estimated = _job(job, settings, place)
        yield check
        yield from check_provider(job.provider_settings, environment, job.model)
    else:
        yield from _providers(environment)
    from orchestrator.api.notifying import check_notices

    yield from check_notices(notify, settings, environment)
    yield from _work_folder(place, settings, environment)
    yield from _disk(place, estimated)


def _known_job(job_id: str, work: str, environment: Mapping[str, str]) -> Generator[Check, None, Notify | None]:
    """Check the provider of a job as it was opened; return where its notices go."""
    try:
        handle = open_job(job_id, work=work)
        with opened_workspace(work) as workspace:
            spec, state = workspace.context(handle.job_id).spec, workspace.ledger.job(handle.job_id).state
    except OrchestratorError as error:
        code = WRONG_INPUT if isinstance(error, ConfigError) else NEEDS_PERSON
        yield Check(name="job", level=Level.ERROR, found=str(error), code=code)
        return None
    yield Check(name="job", found=f"{job_id} is {state.value}")
    yield from check_provider(spec.provider, environment, spec.model)
    return spec.notify


def _job(job: Job, settings: Settings, work: str) -> tuple[Check, Estimate | None]:
    from orchestrator.api.prepare import prepare
    from orchestrator.engine.job_context import JobContext, planning_of
    from orchestrator.planner.estimate import estimate

    try:
        prepared = prepare(job, settings, work)
        context = JobContext(spec=prepared.spec, work=work, render=prepared.function, opened=prepared.source)
        found = estimate(planning_of(context, job.resolved_policy), rows_max=SAMPLE_ROWS, canary_rows=0)
    except (ConfigError, DatasetError) as error:
        return Check(name="job", level=Level.ERROR, found=str(error)), None
    about = found.about
    text = f"{prepared.spec.job_id}: {about}{found.requests:,} requests"
    if found.refused:
        todo = "`orchestrator plan` shows samples"
        return Check(
            name="job", level=Level.WARNING, found=f"{text}, {about}{found.refused:,} rows refused", todo=todo
        ), found
    return Check(name="job", found=text), found


def _providers(environment: Mapping[str, str]) -> Iterator[Check]:
    tables = [
        provider_settings(name, {})
        for name in configuration.read_toml(configuration.config_folder() / "providers.toml")
    ]
    with_key = [table for table in tables if table.api_key_env in environment]
    for table in with_key:
        yield from (replace(check, name=f"{table.name} {check.name}") for check in check_provider(table, environment))
    if not with_key:
        names = ", ".join(table.api_key_env for table in tables)
        yield Check(
            name="key", level=Level.WARNING, found=f"none of {names} is set", todo="Set the one of your provider"
        )


def _work_folder(place: str, settings: Settings, environment: Mapping[str, str]) -> Iterator[Check]:
    """Check that the work folder can be written and locked, and that its ledger can be opened."""
    if not is_url(place) and not Path(place).exists():
        yield _new_folder(Path(place))
        if not settings.ledger_url:
            return
    from orchestrator.api.notifying import check_received
    from orchestrator.engine.locks import beside_runs
    from orchestrator.engine.opening import open_workspace
    from orchestrator.storage.open import check_place

    try:
        check_place(place)
        workspace = open_workspace(place, settings.ledger_url, environment)
    except OrchestratorError as error:
        yield Check(name="work folder", level=Level.ERROR, found=str(error), code=NEEDS_PERSON)
        return
    try:
        count = len(workspace.admin.jobs())
        jobs = "1 job" if count == 1 else f"{count:,} jobs"
        yield Check(name="ledger", found=f"{'reached' if settings.ledger_url else 'in ' + place}: {jobs}")
        yield from check_received(workspace)
        if workspace.lock is None:
            yield Check(name="work folder", found=f"{place} can be written")
            return
        with beside_runs(workspace.lock):
            yield Check(name="work folder", found=f"{place} can be written and locked")
    except LedgerBusy as error:
        yield Check(name="work folder", level=Level.WARNING, found=str(error))
    except OrchestratorError as error:
        yield Check(name="ledger", level=Level.ERROR, found=str(error), code=NEEDS_PERSON)
    finally:
        workspace.close()


def _new_folder(folder: Path) -> Check:
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if above.is_dir() and os.access(above, os.W_OK):
        return Check(name="work folder", found=f"{folder} is made by the first run")
    return Check(
        name="work folder",
        level=Level.ERROR,
        found=f"{folder} cannot be made: {above} is not writable for you",
        todo="Name another folder with --work",
    )


def _disk(place: str, estimated: Estimate | None) -> Iterator[Check]:
    """Compare the free space with what the job needs: requests, raw results, parts and output."""
    if is_url(place):
        return
    folder = next(path for path in (Path(place).absolute(), *Path(place).absolute().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    needed = FREE_BYTES_MIN
    if estimated is not None:
        needed = COPIES * (estimated.request_bytes + estimated.tokens_out_max * BYTES_PER_ANSWER_TOKEN)
    found = f"{free / 1e9:,.1f} GB are free at {folder}"
    if free >= needed:
        yield Check(name="disk", found=found)
        return
    found += f", the job may need {needed / 1e9:,.1f} GB" if estimated is not None else ""
    yield Check(name="disk", level=Level.WARNING, found=found, todo="Free some, or name another disk with --work")
