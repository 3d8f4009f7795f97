"""What waits for a person, and what may be done to a job: as the pages list it, from a look alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.api.amounts import counted
from orchestrator.domain.look import Activity
from orchestrator.domain.model import JobState
from orchestrator.domain.reconcile import UNREADABLE
from orchestrator.web.offers import Action, may

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.api.viewer import Viewer
    from orchestrator.domain.look import Look

WAYS: Final = {
    Action.RUN: "Go on…",
    Action.RESUME: "Resume…",
    Action.PAUSE: "Pause…",
    Action.CANCEL: "Cancel…",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """The way to an action's confirmation page, and the command that does the same."""

    action: Action
    label: str
    command: str
    query: str = ""
    is_stop: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Something that waits for a person."""

    title: str
    text: str
    notes: tuple[str, ...] = ()
    doors: tuple[Door, ...]


def asks(look: Look, viewer: Viewer) -> list[Ask]:
    """Return what of a job waits for a person."""
    return list(_asks(look, viewer))


def _asks(look: Look, viewer: Viewer) -> Iterator[Ask]:
    def door(action: Action, label: str) -> Door:
        return Door(action=action, label=label, command=viewer.command(action.value, look.job_id))

    if look.has_ended:
        return
    if count := look.unresolved:
        it, its = ("it", "Its") if count == 1 else ("them", "Their")
        noun = "batch needs" if count == 1 else "batches need"
        yield Ask(
            title=f"{count:,} {noun} your decision: {counted(look.rows.needs_decision, 'row', 'rows')}",
            text=(
                f"It is not known whether the provider has made {it}. {its} rows are not sent again before you have "
                "looked: that could pay for them twice."
            ),
            notes=tuple(f"{one.chunk}: {one.reason}" for one in look.decisions[:3]),
            doors=(door(Action.RESOLVE, "Look and decide"),),
        )
    if look.decision:
        first = (door(Action.REREAD, "Read again…"),) if look.decision == UNREADABLE else ()
        doors = (*first, door(Action.APPROVE, "Look and decide"))
        yield Ask(title="It waits for your decision", text=look.reason, doors=doors)
    elif look.state is JobState.STOPPED or (look.activity is Activity.NEEDS_YOU and not look.unresolved):
        title = "It is stopped" if look.state is JobState.STOPPED else "Its account needs you"
        doors = (door(Action.RUN, "Go on…"),) if may(Action.RUN, look, is_local=viewer.is_local) else ()
        yield Ask(title=title, text=look.reason, doors=doors)


def doors(look: Look, viewer: Viewer) -> list[Door]:
    """Return what else may be done to a job."""
    return list(_doors(look, viewer))


def _doors(look: Look, viewer: Viewer) -> Iterator[Door]:
    def door(action: Action, label: str, *given: str, query: str = "", is_stop: bool = False) -> Door:
        command = viewer.command(action.value, look.job_id, *given)
        return Door(action=action, label=label, command=command, query=query, is_stop=is_stop)

    for action, label in WAYS.items():
        # Of what needs a person, the way on stands with what it asks.
        is_asked = action is Action.RUN and look.activity not in (Activity.UNATTENDED, Activity.STOPPING)
        if may(action, look, is_local=viewer.is_local) and not is_asked:
            yield door(action, label, is_stop=action is Action.CANCEL)
    if not look.has_ended:
        return
    if any(cause.code == UNREADABLE for cause in look.causes):
        yield door(Action.REREAD, "Read again…")
    if look.rows.failed:
        yield door(Action.RETRY, "Send failed rows again…")
    for kind, count in look.flaws.items():
        if count:
            yield door(Action.RETRY, f"Send {kind} answers again…", "--rows", kind, query=f"?rows={kind}")
