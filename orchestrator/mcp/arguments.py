"""The arguments of the tools: the JSON Schemas are made from these structs, and what an agent sends is read by them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from orchestrator.api.documents.document import Part

JOB = "a job file (TOML), or the id of a job in the work folder or its beginning"
AMOUNT = r"^[0-9]+(\.[0-9]+)?$"
PAGE_MAX = 100
EXAMPLES_MAX = 10
WAIT_S_MAX = 60

Job = Annotated[str, Meta(description=JOB)]
Text = Annotated[str, Meta(min_length=1)]
Amount = Annotated[str, Meta(pattern=AMOUNT)]
Positive = Annotated[int, Meta(ge=1)]


class JobArguments(Part, frozen=True, kw_only=True):
    """A job: by `job`, or by a table and what is asked about each row of it."""

    job: Annotated[str | None, Meta(description=JOB)] = None
    dataset: Annotated[str | None, Meta(description="instead of `job`: a table; CSV, Parquet, JSON lines …")] = None
    prompt: Annotated[
        str | None, Meta(description="with `dataset`: what is asked about each row, with columns in braces")
    ] = None
    system: Annotated[str | None, Meta(description="with `dataset`: the system text")] = None
    model: Annotated[str | None, Meta(description="with `dataset`: as the provider calls it; default: a cheap one")] = (
        None
    )
    max_tokens: Annotated[Positive | None, Meta(description="with `dataset`: of each answer, at most")] = None
    provider: Annotated[str, Meta(description="with `dataset`: who answers, by its name in the configuration")] = (
        "onerouter"
    )
    limit: Annotated[Positive | None, Meta(description="only the first rows, so many: a sample, a job of its own")] = (
        None
    )


class RunArguments(JobArguments, frozen=True, kw_only=True):
    """A job, and what it may cost."""

    budget_usd: Annotated[
        Amount | None,
        Meta(description="USD, the most that the job may cost; needed unless the job file has one"),
    ] = None


class StatusArguments(Part, frozen=True, kw_only=True):
    """A job, or all of them."""

    job: Annotated[str | None, Meta(description=f"{JOB}; without it: all jobs")] = None
    wait_s: Annotated[
        int, Meta(ge=0, le=WAIT_S_MAX, description="wait so long for the end of a job that runs here")
    ] = 0


class ResultsArguments(Part, frozen=True, kw_only=True):
    """Rows of a job."""

    job: Job
    limit: Annotated[int, Meta(ge=1, le=PAGE_MAX, description="how many rows, at most")] = 10
    after: Annotated[int, Meta(ge=0, description="`next` of the page before")] = 0
    rows: Annotated[
        tuple[Text, ...],
        Meta(
            description="only these: succeeded, failed, truncated, empty, refused, invalid, an error code, a "
            "condition, key: and a row's key, number from 0, or custom_id"
        ),
    ] = ()
    columns: Annotated[tuple[Text, ...] | None, Meta(description="only these columns")] = None
    partial: Annotated[bool, Meta(description="also of a job that has not ended: the rows answered so far")] = False


class FailuresArguments(Part, frozen=True, kw_only=True):
    """Why rows of a job have failed."""

    job: Job
    examples: Annotated[int, Meta(ge=0, le=EXAMPLES_MAX, description="of each cause, at most")] = 3


class OneJob(Part, frozen=True, kw_only=True):
    """A job."""

    job: Job
