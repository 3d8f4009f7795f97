"""What each tool does: a call of the API, and a document.

Rule 1: an answer is bounded: a page of rows has at most `PAGE_BYTES_MAX` bytes, and names the next one.
Rule 2: rows and answers are in `results` alone, and what a provider said of a failed row in `failures`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from orchestrator.api import commands
from orchestrator.api.documents import document
from orchestrator.api.documents.jobs import Failures, Plan, Results
from orchestrator.api.documents.status import Jobs, JobStatus
from orchestrator.api.failures import failures
from orchestrator.domain import money
from orchestrator.domain.errors import ConfigError, JobUnknown, OrchestratorError
from orchestrator.domain.look import Activity
from orchestrator.mcp import arguments
from orchestrator.mcp.background import Background, Running
from orchestrator.mcp.limits import amount

if TYPE_CHECKING:
    from orchestrator.api.documents.document import Document, Part
    from orchestrator.api.documents.upkeep import Error
    from orchestrator.api.handle import JobHandle
    from orchestrator.api.job import Job
    from orchestrator.domain.model import JobId
    from orchestrator.mcp.limits import Limits

PAGE_BYTES_MAX: Final = 200_000
OVERHEAD: Final = 4_000  # bytes of a page beside its rows, at most


@dataclass(slots=True)
class Tools:
    """The tools of one server."""

    work: str
    limits: Limits
    may_approve: bool
    background: Background = field(default_factory=Background)

    def plan(self, given: arguments.JobArguments) -> Plan:
        """Return what a job would send and cost, without its samples: they hold rows."""
        job = self._described(given)
        if job is None:
            raise ConfigError(f"{given.job} is a job that is known: `status` tells what it has cost so far")
        found, budget = commands.plan(job), job.resolved_policy.budget_usd
        values = replace(found, samples=()).as_dict()
        more = {"job_id": commands.identify(job), "model": job.model, "budget_usd": document.usd_or_none(budget)}
        return document.filled(Plan, values, **more)

    def run(self, given: arguments.RunArguments) -> JobStatus | Error:
        """Start a job in the background, and return how it stands; or why it could not be begun."""
        budget_usd = None if given.budget_usd is None else amount(given.budget_usd, "budget_usd")
        job = self._described(given)
        if job is None:
            handle = self._handle(str(given.job))
            budget_usd = _recorded_budget(handle, budget_usd)
            return self._start(
                handle.job_id, budget_usd, lambda look, stop: handle.run(progress=look, stop=stop), lambda: None
            )
        within = self.limits.within(job, budget_usd)
        return self._start(
            commands.identify(within),
            within.resolved_policy.budget_usd or Decimal(0),
            lambda look, stop: commands.run(within, progress=look, stop=stop),
            lambda: commands.submit(within),  # the run takes the new budget from the ledger
        )

    def _start(
        self, job_id: JobId, budget_usd: Decimal, running: Running, apply: Callable[[], object]
    ) -> JobStatus | Error:
        before = self.limits.take(job_id, budget_usd)
        try:
            if self.background.runs_here(job_id):
                apply()
            error = self.background.start(job_id, running)
        except OrchestratorError:
            self.limits.give_back(job_id, before)
            raise
        if error is None:
            return self._handle(job_id).status().document()
        self.limits.give_back(job_id, before)
        return error

    def status(self, given: arguments.StatusArguments) -> JobStatus | Jobs | Error:
        """Return how one job stands, or all of them; or why nothing works on it any more that was run here."""
        if given.job is None:
            try:
                handles = commands.jobs(work=self.work)
            except ConfigError:  # nothing was run in this folder yet
                handles = []
            return Jobs(work=self.work, jobs=tuple(one.status().document() for one in handles))
        handle = self._handle(given.job)
        if given.wait_s:
            self.background.wait(handle.job_id, given.wait_s)
        found, error = handle.status(), self.background.error(handle.job_id)
        return error if error is not None and found.look.activity is Activity.UNATTENDED else found.document()

    def results(self, given: arguments.ResultsArguments) -> Results:
        """Return a page of rows."""
        from orchestrator.api.export import Wanted
        from orchestrator.api.pages import page

        wanted = Wanted(
            kind=given.rows, columns=given.columns, partial=given.partial, limit=given.limit, after=given.after
        )
        return _bounded(page(self._handle(given.job), wanted))

    def failures(self, given: arguments.FailuresArguments) -> Failures:
        """Return why rows have failed."""
        return failures(self._handle(given.job), examples=given.examples)

    def cancel(self, given: arguments.OneJob) -> JobStatus:
        """Cancel a job; one that runs here is cancelled by its run."""
        handle = self._handle(given.job)
        found = handle.status()
        return (found if found.look.has_ended else handle.cancel(progress=False)).document()

    def approve(self, given: arguments.OneJob) -> JobStatus:
        """Approve a job."""
        handle = self._handle(given.job)
        handle.approve()
        return handle.status().document()

    def _described(self, given: arguments.JobArguments) -> Job | None:
        """Return the job that is meant, checked; None where it is named by its id."""
        from orchestrator.api.job import Job, read_job

        if (given.job is None) is (given.dataset is None):
            raise ConfigError("give job (a job file or an id), or dataset and prompt")
        if given.job is not None:
            if any(value is not None for value in (given.prompt, given.system, given.model, given.max_tokens)):
                raise ConfigError("prompt, system, model and max_tokens go with dataset; a job file has its own")
            if not given.job.endswith(".toml"):
                return None
            self.limits.check_path(given.job, "the job file")
            job = commands.at(read_job(Path(given.job)), self.work)
        else:
            from orchestrator.api.drafting import model_of, name_of

            if given.prompt is None:
                raise ConfigError("what is to be asked about each row? Give prompt, with columns in braces")
            job = Job(
                dataset=str(given.dataset),
                name=name_of(str(given.dataset)),
                provider=given.provider,
                model=given.model or model_of(given.provider),
                prompt=given.prompt,
                system=given.system,
                max_tokens=given.max_tokens,
                work=self.work,
            )
        self.limits.check_job(job)
        return commands.limited(job, given.limit)

    def _handle(self, job: str) -> JobHandle:
        """Return the job of the work folder that is meant."""
        if not job.endswith(".toml"):
            return commands.open_job(job, work=self.work)
        described = self._described(arguments.JobArguments(job=job))
        job_id = job if described is None else commands.identify(described)
        try:
            return commands.open_job(job_id, work=self.work)
        except JobUnknown:
            raise JobUnknown(f"{job} has not been run here: it would be job {job_id}. `run` runs it") from None


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: how it is described, what it takes and gives, and what it does."""

    name: str
    description: str
    takes: type[Part]
    gives: tuple[type[Document], ...]
    act: Callable[[Tools, Any], Document | Error]
    only_reads: bool = False
    ends_work: bool = False  # what it does cannot be taken back


ALL: Final = (
    Tool(
        "plan",
        "What a job would send and cost. Sends nothing, costs nothing. Do this before `run`.",
        arguments.JobArguments,
        (Plan,),
        Tools.plan,
        only_reads=True,
    ),
    Tool(
        "run",
        "Start or resume a job, inside a budget in USD, and return at once: batches take minutes to hours. "
        "Then ask `status` now and then. The same job again is never paid twice.",
        arguments.RunArguments,
        (JobStatus,),
        Tools.run,
    ),
    Tool(
        "status",
        "How a job stands, or all jobs: where its rows are, what it costs, what it waits for.",
        arguments.StatusArguments,
        (JobStatus, Jobs),
        Tools.status,
        only_reads=True,
    ),
    Tool(
        "results",
        "A page of rows with the model's answers, in source order. `next` is `after` of the next page.",
        arguments.ResultsArguments,
        (Results,),
        Tools.results,
        only_reads=True,
    ),
    Tool(
        "failures",
        "Why rows have failed: causes, how many rows each, with examples.",
        arguments.FailuresArguments,
        (Failures,),
        Tools.failures,
        only_reads=True,
    ),
    Tool(
        "cancel",
        "End a job and keep what was answered. Rows that are not sent are dropped.",
        arguments.OneJob,
        (JobStatus,),
        Tools.cancel,
        ends_work=True,
    ),
    Tool(
        "approve",
        "Let a job go on that waits for a decision (`decision` in its status), as it is. Then `run` it again.",
        arguments.OneJob,
        (JobStatus,),
        Tools.approve,
    ),
)


def offered(tools: Tools) -> list[Tool]:
    """Return the tools that a server offers: approving is a person's, unless it was allowed."""
    return [tool for tool in ALL if tool.name != "approve" or tools.may_approve]


def _recorded_budget(handle: JobHandle, budget_usd: Decimal | None) -> Decimal:
    """Return the budget that a known job was opened with. Raises ConfigError where another one is asked for."""
    known = handle.status().budget_usd
    if known is None:
        raise ConfigError(f"job {handle.job_id} has no budget: run its job file, with budget_usd")
    if budget_usd not in (None, known):
        raise ConfigError(
            f"job {handle.job_id} has a budget of {money.exact(known)}. For another one run its job file, with "
            "budget_usd"
        )
    return known


def _bounded(found: Results) -> Results:
    """Return a page without the rows that make it too long; they are on the next one."""
    size, kept = OVERHEAD, 0
    for row in found.rows:
        size += len(msgspec.json.encode(row))
        if size > PAGE_BYTES_MAX:
            break
        kept += 1
    if kept == len(found.rows):
        return found
    if not kept:
        raise ConfigError(f"row {found.after} alone has more than {PAGE_BYTES_MAX:,} bytes: choose some columns")
    return msgspec.structs.replace(found, rows=found.rows[:kept], next=found.after + kept)
