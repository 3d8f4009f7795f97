"""What a person is told about a job that waits for a decision, with commands that work where they are pasted.

Rule: samples hold row contents. They are read from the job's files when they are asked for, and are in no message.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.api import next_commands
from orchestrator.domain.budget import USED_UP
from orchestrator.domain.canary import CANARY, MAX_TOKENS, Kind
from orchestrator.domain.errors import ConfigError, JobNeedsDecision
from orchestrator.domain.model import TERMINAL, Job, JobId
from orchestrator.domain.reconcile import UNREADABLE
from orchestrator.engine.workspace import Workspace


def command(workspace: Workspace, name: str, *given: str) -> str:
    """Return a command that works where it is pasted: with the work folder, unless it is the default one."""
    return next_commands.command(name, workspace.work, *given)


def refuse_undecided(workspace: Workspace, job: Job) -> None:
    """Raise JobNeedsDecision for a job that goes on only once a person has approved it."""
    if job.decision:
        of_canary = ""
        if job.decision == CANARY:
            change = "Raise request.max_tokens in" if MAX_TOKENS in job.reason else "Or correct"
            of_canary = (
                f" The rest was not sent. {change} the job file and run it: that is another job, with a new canary."
            )
        ways = [("approve", "to go on as it is"), ("cancel", "to end it, and keep what was answered")]
        if job.decision == UNREADABLE:
            ways.insert(0, ("reread", "to read the answers again, after an upgrade, for nothing"))
        if workspace.admin.unresolved(job.id):
            ways.insert(0, ("resolve", "first say what became of a create: a batch may exist"))
        typed = "".join(f"\n  {meaning}:\n    {command(workspace, name, job.id)}" for name, meaning in ways)
        raise JobNeedsDecision(f"job {job.id} waits for your decision: {job.reason}.{of_canary}{typed}")


def refuse_unreadable(workspace: Workspace, job_id: JobId) -> None:
    """Raise ConfigError where a retry could only buy answers again that are kept and cannot be read."""
    totals = workspace.ledger.totals(job_id)
    count = totals.unreadable_rows
    if count and totals.failed == count:
        rows = "1 failed row was" if count == 1 else f"{count:,} failed rows were"
        raise ConfigError(
            f"{rows} answered, or may have been, in a form that cannot be read; nothing was sent again.\n"
            f"  to read the answers again, for nothing:\n    {command(workspace, 'reread', job_id)}\n"
            f"  to pay for them again:\n    {command(workspace, 'retry', job_id)} --unreadable"
        )


def refuse_unread_answers(workspace: Workspace, job_id: JobId, kind: str) -> None:
    """Raise ConfigError where answers of a kind are left only whose newer ones are kept and cannot be read."""
    count = workspace.ledger.totals(job_id).flaws[kind]
    if count:
        answers = f"the newer answer of 1 {kind} one" if count == 1 else f"the newer answers of {count:,} {kind} ones"
        raise ConfigError(
            f"{answers} cannot be read; nothing was sent again.\n"
            f"  to read the answers again, for nothing:\n    {command(workspace, 'reread', job_id)}\n"
            f"  to pay for them again:\n    {command(workspace, 'retry', job_id)} --rows {kind} --unreadable"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A row of the canary, and what came back for it."""

    shard: int
    row: int  # in the shard, from 0
    kind: str  # "good", "waiting", "failed", "truncated", "refused", "empty", "unreadable", "invalid"
    error_code: str
    error_message: str = field(repr=False)
    response: str = field(repr=False)

    def as_dict(self) -> dict[str, object]:
        """Return what `--json` prints."""
        texts = {"error_message": self.error_message, "response": self.response}
        return {"shard": self.shard, "row": self.row, "kind": self.kind, "error_code": self.error_code} | texts


def samples_of(workspace: Workspace, job_id: JobId, limit: int) -> list[Sample]:
    """Return rows of the job's canary, those first that are not good."""
    from orchestrator.planner.canary import returned

    ended = [chunk for chunk in workspace.ledger.canary(job_id) if chunk.state in TERMINAL]
    rows = returned(ended, workspace.context(job_id).job_files) if ended else []
    rows.sort(key=lambda one: one.row.kind is Kind.GOOD)
    return [
        Sample(
            shard=one.key[0],
            row=one.key[1],
            kind=one.row.kind.value,
            error_code=one.row.error_code,
            error_message=one.error_message or "",
            response=one.text or "",
        )
        for one in rows[:limit]
    ]


def stop_reason(workspace: Workspace, job: Job) -> str:
    """Return why a job is stopped, and what else can be done about it."""
    reason = job.reason.removeprefix(f"job {job.id}: ")
    if not reason.startswith(USED_UP):
        return reason
    return f"{reason}, or end it and keep what was answered: `{command(workspace, 'cancel', job.id)}`"
