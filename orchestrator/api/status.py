"""The status of a job, and its unresolved creates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from orchestrator.api.documents.document import plain
from orchestrator.api.documents.status import JobStatus, standing
from orchestrator.api.next_commands import next_commands
from orchestrator.domain.look import Look
from orchestrator.domain.model import JobId, JobState
from orchestrator.domain.progress import Totals
from orchestrator.domain.workers import Kind
from orchestrator.engine import spec as specs

if TYPE_CHECKING:
    from orchestrator.engine.workspace import Workspace

WHOLE: Final = frozenset({JobState.FINISHED, JobState.CANCELLED})  # there is a result


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Status:
    """The status of a job."""

    job_id: str
    state: JobState
    reason: str  # why it is stopped
    look: Look  # the same as a progress callback gets
    totals: Totals  # the ledger's own sums
    decision: str = ""  # what a person must approve (`JobHandle.approve`) before it goes on
    budget_usd: Decimal | None = None
    pause_reason: str = ""  # why its account may not send at present
    workers_alive: int = 0  # running processes of the fleet of its ledger
    beats_alive: int = 0
    model: str = ""
    work: str = ""  # the work folder

    def __repr__(self) -> str:
        """Show the job, its state and its counts; never a row."""
        counts = f"rows={self.totals.rows}, succeeded={self.totals.succeeded}, failed={self.failed}"
        return f"Status(job_id={self.job_id!r}, state={self.state.value!r}, {counts})"

    def _repr_html_(self) -> str:
        """Show in a notebook how the job stands, and the reasons why it cannot continue."""
        from orchestrator.api.look_html import look_html

        paused_at = self.look.paused_at
        notes = [
            ("stopped", self.reason),
            ("paused by you", "" if paused_at is None else f"since {paused_at:%Y-%m-%d %H:%M} UTC"),
            ("waits for a decision", self.decision),
            ("account paused", self.pause_reason),
            ("waits for its budget", self.look.budget_wait),
        ]
        return look_html(self.look, more=[note for note in notes if note[1]])

    @property
    def failed(self) -> int:
        """Failed rows, including those that could not be sent."""
        return self.totals.failed + self.totals.refused

    def as_dict(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return plain(self.document())

    def document(self) -> JobStatus:
        """Return it for programs."""
        return JobStatus(**self.standing())

    def standing(self) -> dict[str, Any]:
        """Return the fields that all documents about one job have."""
        return standing(
            self.look,
            self.totals,
            model=self.model,
            work=self.work,
            paused=self.pause_reason,
            fleet=(self.workers_alive, self.beats_alive),
            commands=self.commands,
        )

    @property
    def commands(self) -> tuple[str, ...]:
        """What a person can type next, where the job waits for one or has ended."""
        return next_commands(self.look, self.work)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnresolvedChunk:
    """A chunk whose last create may or may not have made a batch; a person must find out."""

    chunk: str  # what `resolve_created` and `resolve_absent` take
    requests: int
    sent_at: datetime
    attempt: int
    cost_usd_max: Decimal
    reason: str
    ids: tuple[str, ...] = ()  # what may be the id of its batch, in an answer that was not understood

    def as_dict(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return {
            "chunk": self.chunk,
            "requests": self.requests,
            "sent_at": self.sent_at.isoformat(),
            "attempt": self.attempt,
            "cost_usd_max": f"{self.cost_usd_max:f}",
            "reason": self.reason,
            "ids": list(self.ids),
        }


def status_of(workspace: Workspace, job_id: JobId) -> Status:
    """Return the status of a job."""
    job, now = workspace.ledger.job(job_id), workspace.clock.now()
    kinds = [member.kind for member in workspace.workers.alive(now=now)]
    return Status(
        job_id=job_id,
        state=job.state,
        reason=job.reason,
        decision=job.decision,
        look=workspace.look(job_id),
        totals=workspace.ledger.totals(job_id),
        budget_usd=job.policy.budget_usd,
        pause_reason=workspace.admin.pause_reason(job.account, now=now),
        workers_alive=kinds.count(Kind.WORKER),
        beats_alive=kinds.count(Kind.BEAT),
        model=specs.from_json(job.spec).model,
        work=workspace.work,
    )
