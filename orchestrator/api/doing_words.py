"""What processes are at, in a person's words: for `orchestrator status`, the view of a run, and the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.api.amounts import counted, span
from orchestrator.domain.model import Step

if TYPE_CHECKING:
    from orchestrator.domain.look import Look
    from orchestrator.domain.workers import WorkerProcess

AT: Final = {
    Step.PLAN: "plans",
    Step.SUBMIT: "sends",
    Step.RECOVER: "asks what became of",
    Step.POLL: "looks at",
    Step.CANCEL: "cancels",
    Step.COLLECT: "fetches",
    Step.SPLIT: "cuts in two",
    Step.REVIEW: "looks through",
    Step.RETRY: "gathers rows",
    Step.FINISH: "writes the output of",
    Step.SEAL: "ends",
}
SHOWN_MAX: Final = 2  # processes, and steps of each


def stopping(look: Look) -> list[str]:
    """Return what is said of each process that ends and finishes what it has begun; of many, of the first ones."""
    found = [one for one in look.worked_by if one.is_stopping]
    others = len(found) - SHOWN_MAX
    more = [f"{counted(others, 'other process stops', 'other processes stop')}, too."] if others > 0 else []
    return [_told(one, look) for one in found[:SHOWN_MAX]] + more


def _told(one: WorkerProcess, look: Look) -> str:
    begun = [doing for doing in one.doing if doing.job_id == look.job_id]
    still = [
        f"{AT[doing.step]} {doing.unit or 'the job'}, {span(look.at - doing.since)}" for doing in begun[:SHOWN_MAX]
    ]
    still += [f"and {len(begun) - SHOWN_MAX:,} more"] if len(begun) > SHOWN_MAX else []
    rest = f"It still {'; '.join(still)}." if still else "It finishes what it has begun."
    return f"pid {one.pid} on {one.host} is stopping: it begins nothing more. {rest}"
