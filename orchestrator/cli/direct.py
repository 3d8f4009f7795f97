"""A job without a job file: `orchestrator run reviews.csv --prompt "…" --model …`."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator.cli.arguments import from_file, is_file
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.policy import Reuse

if TYPE_CHECKING:
    from orchestrator.api.job import Job

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked about each row, as options say it."""

    prompt: str | None
    system: str | None
    model: str | None
    max_tokens: int | None
    provider: str | None

    @property
    def is_given(self) -> bool:
        """Whether JOB is a table, and the options are the rest of the job."""
        return any(value is not None for value in astuple(self))


def request_options(command: Command) -> Command:
    """Give a command the options of a request, as one argument `request`."""

    @click.option("--prompt", help="JOB is a table: ask this about each row, with columns in braces.")
    @click.option("--system", help="Beside --prompt: the system text.")
    @click.option("--model", help="Beside --prompt: the model. Default: a cheap one.")
    @click.option("--max-tokens", type=click.IntRange(min=1), help="Beside --prompt: of each answer, at most.")
    @click.option("--provider", help="Beside --prompt: who answers. Default: onerouter.")
    @wraps(command)
    def with_request(*args: Any, **given: Any) -> Any:
        names = ("prompt", "system", "model", "max_tokens", "provider")
        return command(*args, request=Request(*(given.pop(name) for name in names)), **given)

    return with_request  # type: ignore[return-value]


def described(job: str, work: str | None, request: Request, *, fresh: bool = False) -> Job | None:
    """Return the job that a job file, or a table and options, describe; None where JOB is the id of one."""
    if not request.is_given:
        return from_file(job, work, fresh=fresh) if is_file(job) else None
    if job.endswith(".toml"):
        raise ConfigError(f"{job} says what is asked: --prompt and its options go with a table, not with a job file")
    if request.prompt is None:
        raise ConfigError(f"what is to be asked about each row of {job}? Add --prompt 'One word for: {{COLUMN}}'")
    from orchestrator.api import commands
    from orchestrator.api.drafting import model_of, name_of
    from orchestrator.api.job import Job

    provider = request.provider or "onerouter"
    found = Job(
        dataset=job,
        name=name_of(job),
        provider=provider,
        model=request.model or model_of(provider),
        prompt=request.prompt,
        system=request.system,
        max_tokens=request.max_tokens,
        work=commands.work_folder(work),
    )
    return replace(found, policy=replace(found.resolved_policy, reuse=Reuse.NEVER)) if fresh else found


def typed(job: str, request: Request) -> str:
    """Return JOB and the options as a person types them."""
    given = {
        "--prompt": request.prompt,
        "--system": request.system,
        "--model": request.model,
        "--max-tokens": request.max_tokens,
        "--provider": request.provider,
    }
    told = (f"{name} {shlex.quote(str(value))}" for name, value in given.items() if value is not None)
    return " ".join((shlex.quote(job), *told))
