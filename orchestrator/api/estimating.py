"""Estimates a job with what the work folder has: answers that are not bought again, and what answers have cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from orchestrator.api.prepare import Prepared
from orchestrator.domain import money
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import JobId
from orchestrator.domain.policy import Policy
from orchestrator.domain.unit_costs import Planned, unit_costs
from orchestrator.engine.job_context import JobContext, planning_of
from orchestrator.engine.opening import opened_workspace
from orchestrator.engine.workspace import Workspace
from orchestrator.planner.estimate import Estimate, estimate
from orchestrator.planner.plan_notes import policy_notes
from orchestrator.providers.catalogue import context_tokens_of


def estimated(prepared: Prepared, policy: Policy, work: str, rows: int | None) -> Estimate:
    """Return what a job would send and cost; `rows`: how many the dataset has, where they were counted."""
    with _ledger_at(work) as workspace:
        others = tuple if workspace is None else workspace.admin.jobs
        context = JobContext(
            spec=prepared.spec,
            work=work,
            render=prepared.function,
            opened=prepared.source,
            others=others,
            counts_own=True,
        )
        found = estimate(
            planning_of(context, policy),
            canary_rows=policy.canary_rows,
            rows=rows,
            context_tokens=context_tokens_of(context.sold_as),
        )
        if workspace is not None:
            found = _judged_by_answers(workspace, found)
        of_policy = policy_notes(
            policy,
            cost_usd_expected=found.cost_usd_expected,
            cost_usd_max=found.cost_usd_max,
            can_be_null=prepared.source.format != "csv" or bool(prepared.source.options.null_values),
        )
        return replace(found, notes=(*of_policy, *found.notes))


@contextmanager
def _ledger_at(work: str) -> Iterator[Workspace | None]:
    """Open a work folder for looking; None where there is none, or no ledger in it."""
    with ExitStack() as stack:
        try:
            workspace = stack.enter_context(opened_workspace(work, must_exist=True))
        except ConfigError:
            workspace = None
        yield workspace


def _judged_by_answers(workspace: Workspace, found: Estimate) -> Estimate:
    """Return an estimate whose expected cost is what answers of the jobs that are reused from have cost."""
    settled = [one for job_id in found.reused_from for one in workspace.views.settled_batches(JobId(job_id))]
    each = unit_costs(settled)
    if each is None:
        return found
    planned = Planned(requests=found.requests, tokens=found.tokens_in, cost_usd_max=found.cost_usd_max)
    expected = money.quantize(each.of(planned))
    return replace(found, cost_usd_expected=expected, judged_by=sum(one.requests for one in settled))
