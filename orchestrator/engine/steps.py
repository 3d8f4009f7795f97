"""Calls each step with its arguments. Imported when the first step runs, as it imports pyarrow and the HTTP client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.batches.cancel import cancel
from orchestrator.batches.poll import poll
from orchestrator.batches.recover import recover
from orchestrator.batches.submit import submit
from orchestrator.collector.collect import collect
from orchestrator.collector.finish import finish
from orchestrator.collector.seal import seal
from orchestrator.domain.model import Claim, Step
from orchestrator.domain.policy import Policy
from orchestrator.engine.job_context import JobContext, limits_of, planning_of
from orchestrator.planner.plan import Planning, plan
from orchestrator.planner.retry import Gathering, retry
from orchestrator.planner.review import review
from orchestrator.planner.split import split
from orchestrator.ports import Checkpoint, Clock, Ledger


def run_step(
    claim: Claim, *, context: JobContext, policy: Policy, ledger: Ledger, clock: Clock, checkpoint: Checkpoint
) -> None:
    """Run the step that was claimed, under the job's present policy."""
    step, names = STEPS[claim.step]
    given = StepContext(context=context, policy=policy, ledger=ledger, clock=clock, checkpoint=checkpoint)
    step(claim, **{name: getattr(given, name) for name in names})


@dataclass(frozen=True, slots=True)
class StepContext:
    """All arguments that steps of one job take, under the job's present policy."""

    context: JobContext
    policy: Policy
    ledger: Ledger
    clock: Clock
    checkpoint: Checkpoint

    def __getattr__(self, name: str) -> Any:
        """Return what is the job's own and does not depend on the policy."""
        return getattr(self.context, name)

    @property
    def planning(self) -> Planning:
        """What is needed to plan."""
        return planning_of(self.context, self.policy, self.checkpoint)

    @property
    def gathering(self) -> Gathering:
        """What is needed to make retry chunks."""
        return gathering_of(self.context, self.policy)


def gathering_of(context: JobContext, policy: Policy) -> Gathering:
    """Return what is needed to make retry chunks of a job."""
    return Gathering(
        limits=limits_of(policy),
        costing=context.costing,
        amending=context.amending,
        changing=context.changing,
    )


# Each step and the names of its arguments, which are attributes of `StepContext`.
STEPS: Final[Mapping[Step, tuple[Callable[..., None], tuple[str, ...]]]] = {
    Step.PLAN: (plan, ("ledger", "job_files", "planning", "clock")),
    Step.SUBMIT: (submit, ("ledger", "job_files", "provider", "clock")),
    Step.RECOVER: (recover, ("ledger", "job_files", "provider", "clock")),
    Step.POLL: (poll, ("ledger", "job_files", "provider", "clock")),
    Step.CANCEL: (cancel, ("ledger", "provider", "clock")),
    Step.COLLECT: (collect, ("ledger", "job_files", "provider", "collecting", "clock", "checkpoint")),
    Step.SPLIT: (split, ("ledger", "job_files", "costing", "clock")),
    Step.REVIEW: (review, ("ledger", "job_files", "clock")),
    Step.RETRY: (retry, ("ledger", "job_files", "gathering", "clock")),
    Step.FINISH: (finish, ("ledger", "job_files", "finishing", "clock", "checkpoint")),
    Step.SEAL: (seal, ("ledger", "job_files", "finishing", "clock")),
}
