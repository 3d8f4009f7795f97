"""What a person may have done to a job: what happens then, what it costs, and the command that does the same.

Rule: an offer is made of what the ledger says at this moment. Its `basis` is what a person decides by; where that has
changed when the answer comes, nothing is done.
"""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from orchestrator.api.amounts import counted
from orchestrator.domain.canary import CANARY
from orchestrator.domain.look import Activity
from orchestrator.domain.model import JobId, JobState
from orchestrator.domain.money import usd
from orchestrator.domain.reconcile import UNREADABLE
from orchestrator.domain.row_kinds import RowKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.api.status import Status, UnresolvedChunk
    from orchestrator.api.viewer import Viewer
    from orchestrator.domain.look import Look

UNKNOWN: Final = "It is not known what that costs: no price of this model is known."
UNATTENDED: Final = "Nothing works on it at present: it goes on once somebody runs it."
NOTHING: Final = "Nothing is sent, and nothing is paid."


class Action(StrEnum):
    """What the page can have done to a job; the last part of its address."""

    APPROVE = "approve"
    RUN = "run"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY = "retry"
    REREAD = "reread"
    RESOLVE = "resolve"


# What may be done to a job, by what it does: nothing to one that has ended, writes its output or is being cancelled. A
# pause is offered where something sends. Decisions, answers to read again and retries have rules of their own.
_AT_WORK: Final = ("PLANNING", "RUNNING", "CANARY", "BATCHES", "ACCOUNT", "BUDGET")
_HALTED: Final = ("UNATTENDED", "STOPPING", "STOPPED", "NEEDS_YOU")
POSSIBLE: Final[Mapping[Activity, frozenset[Action]]] = {
    **{Activity[name]: frozenset({Action.PAUSE, Action.CANCEL}) for name in _AT_WORK},
    **{Activity[name]: frozenset({Action.RUN, Action.RESUME, Action.CANCEL}) for name in _HALTED},
    Activity.PAUSED: frozenset({Action.RESUME, Action.CANCEL}),
}


def may(action: Action, look: Look, *, is_local: bool) -> bool:
    """Return whether an action of the table is possible for a job."""
    if action not in POSSIBLE.get(look.activity, ()):
        return False
    if action is Action.RUN:
        return _may_run(look, is_local=is_local)
    return action is not Action.RESUME or look.paused_at is not None


def _may_run(look: Look, *, is_local: bool) -> bool:
    """Return whether a job goes on if a person runs it. Workers of a fleet go on by themselves, but for a stop."""
    if look.decision or look.state is JobState.CANCELLING:
        return False
    if look.activity in (Activity.UNATTENDED, Activity.STOPPING):
        return is_local
    return look.state is JobState.STOPPED or not look.unresolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One action as its confirmation page shows it."""

    action: Action
    title: str
    button: str
    what: tuple[str, ...]  # happens, a paragraph each
    price: str
    command: str
    basis: str = ""
    kind: str = ""  # of the rows, of a retry
    unreadable: int = 0  # rows that a retry leaves out, unless it is asked to pay for them again
    takes_max_tokens: bool = False
    is_stop: bool = False

    @property
    def shown(self) -> str:
        """The basis, for a form."""
        return hashlib.sha256(self.basis.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why an action is not possible at present."""

    why: str


def offer(action: Action, status: Status, viewer: Viewer, kind: str = "") -> Offer | Refused:
    """Return an action's offer for a job as it stands. `kind` is of the rows of a retry."""
    return _retry(status, viewer, kind) if action is Action.RETRY else _OFFERS[action](status, viewer)


def _approve(status: Status, viewer: Viewer) -> Offer | Refused:
    look = status.look
    if not status.decision:
        return Refused(why="The job waits for no decision: there is nothing to approve.")
    what = [f"It stopped, because {status.reason}."]
    if status.decision == CANARY:
        what.append("The rest of its rows is sent, although the first ones came back like that.")
    elif status.decision == UNREADABLE:
        what.append("It goes on as it is. The answers that cannot be read are kept, and can be read again later.")
    else:
        what.append("It goes on as it is, and sends the rest of its rows.")
    if not look.worked_by:
        what.append(UNATTENDED)
    return Offer(
        action=Action.APPROVE,
        title="Let it go on?",
        button="Approve",
        what=tuple(what),
        price=rest_price(look),
        command=viewer.command("approve", look.job_id),
        basis=f"{status.decision} {status.reason}",
    )


def _run(status: Status, viewer: Viewer) -> Offer | Refused:
    look = status.look
    if not may(Action.RUN, look, is_local=viewer.is_local):
        return Refused(why=_not_to_run(status))
    what = []
    if look.state is JobState.STOPPED or look.activity is Activity.NEEDS_YOU:
        what.append(f"It stopped: {look.reason}. If that is put right, it goes on; else it stops again.")
    if look.activity is Activity.STOPPING:
        what.append("It begins once the process that is stopping has ended.")
    if viewer.is_local:
        what += [
            "This page's process sends, looks and fetches until the job has ended. Nothing is sent twice.",
            "It needs the provider's key in this page's environment. If the page ends first, the job can be run again.",
        ]
    else:
        what.append("The fleet's workers go on with it.")
    return Offer(
        action=Action.RUN,
        title="Go on with it?",
        button="Go on",
        what=tuple(what),
        price=rest_price(look),
        command=viewer.command("run", look.job_id),
    )


def _not_to_run(status: Status) -> str:
    if status.decision:
        return "The job waits for your decision first."
    if status.look.has_ended:
        return "The job has ended: there is nothing to go on with."
    if status.look.state is JobState.CANCELLING:
        return "The job is being cancelled. Where nothing carries that out, cancel it once more."
    return "Something works on the job already, or it needs workers of its fleet: `orchestrator worker` starts one."


def _pause(status: Status, viewer: Viewer) -> Offer | Refused:
    look = status.look
    if not may(Action.PAUSE, look, is_local=viewer.is_local):
        return Refused(why=_not_to_pause(look))
    what = ["Nothing more of it is sent, by no process and no fleet, until it is resumed."]
    if sent := look.rows.at_provider:
        fetched = "are fetched" if look.worked_by else "are fetched once somebody runs the job"
        what.append(f"{counted(sent, 'row', 'rows')} at the provider go on there, and {fetched}.")
    paid = f" What is at the provider is paid: at most {usd(look.money.reserved)}." if look.money.reserved else ""
    return Offer(
        action=Action.PAUSE,
        title="Pause it?",
        button="Pause",
        what=tuple(what),
        price=f"Nothing more is sent.{paid}",
        command=viewer.command("pause", look.job_id),
    )


def _not_to_pause(look: Look) -> str:
    if look.paused_at is not None:
        return "The job is paused already."
    if look.has_ended or look.state is JobState.CANCELLING:
        return "The job has ended, or is being cancelled: there is nothing to pause."
    if look.activity is Activity.WRITING:
        return "All its rows are settled, and its output is being written: there is nothing to pause."
    return "Nothing of it is sent at present. The command holds it back even when somebody runs it."


def _resume(status: Status, viewer: Viewer) -> Offer | Refused:
    look = status.look
    if look.paused_at is None:  # a pause may be ended in every state
        return Refused(why="The job is not paused: there is nothing to resume.")
    what = "What works on it sends again." if look.worked_by else f"It may send again. {UNATTENDED}"
    return Offer(
        action=Action.RESUME,
        title="Resume it?",
        button="Resume",
        what=(f"It is paused since {look.paused_at:%Y-%m-%d %H:%M} UTC.", what),
        price=rest_price(look),
        command=viewer.command("resume", look.job_id),
    )


def _cancel(status: Status, viewer: Viewer) -> Offer | Refused:
    look, rows = status.look, status.look.rows
    if not may(Action.CANCEL, look, is_local=viewer.is_local):
        stands = f"{look.activity.value}{' already' if look.has_ended else ''}"
        return Refused(why=f"The job is {stands}: there is nothing to cancel.")
    kept = counted(rows.answered, "row stays", "rows stay") if rows.answered else "No row is"
    what = [f"{kept} answered, and the output is written of what is there."]
    if rows.at_provider:
        what.append(
            f"{counted(rows.at_provider, 'row is', 'rows are')} at the provider: batches are cancelled there, and what "
            "was answered by then is fetched."
        )
    if unsent := rows.waiting + rows.to_send_again:
        what.append(f"{counted(unsent, 'row is', 'rows are')} not sent, and fail as cancelled. A retry sends them.")
    if rows.needs_decision:
        held = counted(rows.needs_decision, "row waits", "rows wait")
        what.append(f"{held} for your decision all the same: the job ends once you have said what became of the batch.")
    paid = "Nothing more is sent."
    if look.money.reserved:
        paid += f" What the provider has answered by then is paid: at most {usd(look.money.reserved)}."
    return Offer(
        action=Action.CANCEL,
        title="Cancel it?",
        button="Cancel the job",
        what=tuple(what),
        price=paid,
        command=viewer.command("cancel", look.job_id),
        is_stop=True,
    )


def _reread(status: Status, viewer: Viewer) -> Offer | Refused:
    totals = status.totals
    count = totals.unreadable_rows + totals.unread_answers
    if not count:
        return Refused(why="No answer of this job is kept that could not be read.")
    return Offer(
        action=Action.REREAD,
        title="Read its answers again?",
        button="Read again",
        what=(
            f"{counted(count, 'answer', 'answers')} came back in a form that could not be read. They are kept.",
            "They are read again with the present version of this program: that helps after an upgrade.",
        ),
        price=NOTHING,
        command=viewer.command("reread", status.look.job_id),
    )


def _retry(status: Status, viewer: Viewer, kind: str) -> Offer | Refused:
    look, totals = status.look, status.totals
    kind = kind or RowKind.FAILED.value
    if not look.has_ended:
        return Refused(why="Rows are sent again once the job has ended.")
    if kind not in {one.value for one in RowKind}:
        return _retry_of_cause(status, viewer, kind)
    is_failed = kind == RowKind.FAILED
    kept = totals.unreadable_rows if is_failed else totals.unread_answers
    count = (totals.failed if is_failed else totals.flaws[kind]) - kept
    if count <= 0 and not kept:
        apart = f" {counted(totals.refused, 'row', 'rows')} could not be made a request." if is_failed else ""
        return Refused(why=f"No {'row that was sent has failed' if is_failed else f'answer is {kind}'}.{apart}")
    rows = counted(count, *(("failed row", "failed rows") if is_failed else (f"{kind} answer", f"{kind} answers")))
    stands = "" if is_failed else " An answer stands until a new one is there, and where the row fails."
    which = () if is_failed else ("--rows", kind)
    return Offer(
        action=Action.RETRY,
        title=f"Send {rows} again?" if count else "Send rows again whose answers cannot be read?",
        button="Send again",
        what=_what_a_retry_does(status, stands),
        price=_price_of(count, look) + ("" if is_failed else " They are paid for again."),
        command=viewer.command("retry", look.job_id, *which),
        basis=f"{look.revision} {count} {kept}",
        kind=kind,
        unreadable=kept,
        takes_max_tokens=True,
    )


def _retry_of_cause(status: Status, viewer: Viewer, code: str) -> Offer | Refused:
    """Return the offer to send those again that failed for one cause: they are found by the output."""
    look = status.look
    if code not in {one.code for one in look.causes}:
        return Refused(why="No row of this job has failed for that cause.")
    found = viewer.handle(JobId(look.job_id)).plan_retry(rows=code)
    stay = []
    if found.never_sent:
        stay.append(f"{counted(found.never_sent, 'row', 'rows')} could not be made a request, and stay as they are.")
    if found.unreadable:
        stay.append(f"{counted(found.unreadable, 'answer', 'answers')} cannot be read, and stay as they are.")
    if not found.rows:
        return Refused(why=" ".join(["No row that failed for that cause can be sent again.", *stay]))
    about = f"About {usd(found.cost_usd_expected)}, by what they cost before. " if found.cost_usd_expected else ""
    most = UNKNOWN if found.cost_usd_max is None else f"At most {usd(found.cost_usd_max)}."
    return Offer(
        action=Action.RETRY,
        title=f"Send {counted(found.rows, 'row', 'rows')} again that failed as {code}?",
        button="Send again",
        what=(*_what_a_retry_does(status, ""), *stay),
        price=f"{about}{most}",
        command=viewer.command("retry", look.job_id, "--rows", shlex.quote(code)),
        basis=f"{look.revision} {found.rows}",
        kind=code,
        takes_max_tokens=True,
    )


def _what_a_retry_does(status: Status, stands: str) -> tuple[str, str]:
    revision = f"The output becomes revision {status.look.revision + 1}; the present one is kept.{stands}"
    here = "This page's process runs the job until it has ended."
    return revision, "The fleet sends them." if status.workers_alive else here


def _resolve(status: Status, viewer: Viewer) -> Offer | Refused:
    if not status.look.unresolved:
        return Refused(why="No batch of this job needs a decision.")
    return Offer(
        action=Action.RESOLVE,
        title=f"Did the provider make {'this batch' if status.look.unresolved == 1 else 'these batches'}?",
        button="",
        what=(),
        price="",
        command=viewer.command("resolve", status.look.job_id),
    )


def absent_price(chunk: UnresolvedChunk) -> str:
    """Return what it may cost to send an unresolved chunk again."""
    return f"at most {usd(chunk.cost_usd_max)}" if chunk.cost_usd_max else "at a cost that is not known"


def rest_price(look: Look) -> str:
    """Return what the rest of a job costs, as far as it is known."""
    money = look.money
    bound = "" if money.budget is None else f" The budget bounds it: {usd(money.budget)} in all."
    if money.expected is None or money.spent is None:
        return f"It is not known yet what the rest costs.{bound}"
    spent, few = money.spent, look.few_paid
    so_far = f"{counted(few, 'answer', 'answers')} cost" if few else "answers have cost so far"
    return f"About {usd(max(Decimal(0), money.expected - spent))} more, by what {so_far}.{bound}"


def _price_of(count: int, look: Look) -> str:
    each = look.row_cost
    if each is None:
        return UNKNOWN
    return f"About {usd(each * count)}, by what answers of this job have cost."


_OFFERS: Final[Mapping[Action, Callable[[Status, Viewer], Offer | Refused]]] = {
    Action.APPROVE: _approve,
    Action.RUN: _run,
    Action.PAUSE: _pause,
    Action.RESUME: _resume,
    Action.CANCEL: _cancel,
    Action.REREAD: _reread,
    Action.RESOLVE: _resolve,
}
