"""A Prefect task that gives every row of a table a model's answer, and a flow around it.

Rule 1: the task's result is a location and numbers, never the table, so that the table may have any size.
Rule 2: a retry goes on with the same job; what only a person can decide is not tried again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_link_artifact, create_progress_artifact, update_progress_artifact
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

import orchestrator


def is_worth_a_retry(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether another try may end otherwise: not where a person must decide, or where the job is described wrongly."""
    error = state.result(raise_on_failure=False)
    hopeless = (orchestrator.ConfigError, orchestrator.DatasetError, orchestrator.JobStopped)
    return not isinstance(error, (*hopeless, orchestrator.JobUnresolved, orchestrator.JobConflict, TooManyFailed))


class TooManyFailed(Exception):
    """A job has ended, and more of its rows have failed than may."""


@task(retries=3, retry_delay_seconds=[60, 600, 3600], retry_condition_fn=is_worth_a_retry, cache_policy=None)
def answer_rows(job: Mapping[str, Any], *, on: str = "local", failed_share_max: float = 0.01) -> dict[str, Any]:
    """Run a job to its end; return where its output is, and its counts.

    Args:
        job: the fields of an `orchestrator.Job`.
        on: "local" runs it in this process; "fleet" submits it to the workers of a ledger, and waits for them.
        failed_share_max: fail where more of the rows have failed.
    """
    described, stop = orchestrator.Job(**job), threading.Event()
    try:
        if on == "fleet":
            result = orchestrator.submit(described).wait(progress=shown(), stop=stop)
        else:
            result = orchestrator.run(described, progress=shown(), stop=stop)
    finally:
        stop.set()  # where Prefect ends this task early, nothing more is sent
    told = told_of(result)
    create_link_artifact(str(result.path), link_text=f"output of {result.job_id}", key="batch-orchestrator-output")
    if result.counts["failed"] > failed_share_max * result.counts["rows"]:
        raise TooManyFailed(
            f"{result!r}: {dict(result.errors())}; `orchestrator retry {result.job_id}` sends them again"
        )
    return told


def shown() -> Callable[[orchestrator.Look], None]:
    """Return a progress callback: a line in the log when the job does something else, and a bar in Prefect's page."""
    logger = get_run_logger()
    bar: UUID = create_progress_artifact(0.0, description="rows answered")  # type: ignore[assignment]
    last = ("", -1.0)

    def look(now: orchestrator.Look) -> None:
        nonlocal last
        rows = now.rows
        percent = float(rows.answered * 100 // rows.total) if rows.total and rows.all_read else 0.0
        if now.activity != last[0]:
            logger.info("%s %s: %s of %s rows answered", now.job_id, now.activity, rows.answered, rows.total)
        if percent != last[1]:
            update_progress_artifact(bar, percent)
        last = (now.activity, percent)

    return look


def told_of(result: orchestrator.Result) -> dict[str, Any]:
    """Return what the task returns."""
    cost: Decimal | None = result.cost_usd
    numbers = result.counts | {"cost_usd": None if cost is None else f"{cost:f}"}
    return {"job_id": result.job_id, "output": str(result.path), **numbers}


@flow
def moods(dataset: str, work: str, provider: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Give every review a mood."""
    job = {
        "name": "moods",
        "dataset": dataset,
        "prompt": "One word for the mood of: {text}",
        "model": "openai/gpt-6-luna-batch",
        "max_tokens": 8,
        "work": work,
        **(provider or {}),
    }
    return answer_rows(job)
