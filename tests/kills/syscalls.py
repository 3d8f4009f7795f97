"""kill -9, EIO and ENOSPC at system calls of a mini-run (T5).

Rule 1: a kill falls before the n-th call that changes the disk or uses the network, for every n until a run comes to
        its end without one. An error falls on the n-th call that changes the disk: once, or from there on for good.
Rule 2: whatever falls, the program ends by itself, with a sentence for people; run again, it ends exact.
"""

from __future__ import annotations

import errno
from collections import Counter
from dataclasses import dataclass
from typing import Final

from tests.kills.fork_request import AtCall
from tests.kills.jobs import UNRESOLVED, Workspace
from tests.kills.launcher import ForkServer, ForkServerPool
from tests.kills.outcomes import Campaign, Trial, judged

ROWS: Final = 2
ENDS: Final = frozenset({0, 1, 2, UNRESOLVED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What falls on a call."""

    name: str
    errno: int = 0
    is_lasting: bool = False


KILL: Final = Fault(name="kill -9")
ERRORS: Final = (
    Fault(name="EIO once", errno=errno.EIO),
    Fault(name="EIO from then on", errno=errno.EIO, is_lasting=True),
    Fault(name="ENOSPC once", errno=errno.ENOSPC),
    Fault(name="ENOSPC from then on", errno=errno.ENOSPC, is_lasting=True),
)


@dataclass(frozen=True, slots=True)
class Task:
    """One fault at one call."""

    fault: Fault
    number: int


@dataclass(frozen=True, slots=True)
class _Tried:
    trial: Trial
    met: bool


def syscalls(workspace: Workspace, pool: ForkServerPool, fault: Fault, *, every: int = 1, start: int = 1) -> Campaign:
    """Let a fault fall on each `every`-th call, until a run meets none."""
    campaign = Campaign(name=f"{fault.name} at system calls")
    with campaign.timed():
        calls = next(pool.each(lambda fork_server, _: _count(workspace, fork_server, fault), [None]))
        campaign.figures["calls of a run"] = calls
        number, came_to_the_end = start, False
        while not came_to_the_end:
            tasks = [Task(fault, at) for at in range(number, max(calls, number) + every, every)]
            for tried in pool.each(lambda fork_server, task: _attempt(workspace, fork_server, task), tasks):
                came_to_the_end |= not tried.met
                if tried.met or tried.trial.failure:
                    campaign.add(tried.trial)
            number = tasks[-1].number + every
        campaign.figures["rows paid twice"] = workspace.check_bill()["paid_twice"]
    return campaign


def _count(workspace: Workspace, fork_server: ForkServer, fault: Fault) -> int:
    """Return how many calls a run makes that this fault can fall on; another run may make a few more or fewer."""
    job = workspace.job(f"{fault.name} counted".replace(" ", "-"), rows=ROWS)
    ended = job.run(fork_server, at_call=AtCall(root=str(job.disk), with_network=not fault.errno))
    assert ended.code == 0, str(ended)
    job.remove()
    return ended.calls


def _attempt(workspace: Workspace, fork_server: ForkServer, task: Task) -> _Tried:
    fault = task.fault
    name = f"{fault.name} at call {task.number}"
    job = workspace.job(name.replace(" ", "-"), rows=ROWS)
    counts: Counter[str] = Counter()
    found: list[str] = []
    met = True
    with judged(found):
        at = AtCall(
            root=str(job.disk),
            number=task.number,
            errno=fault.errno,
            is_lasting=fault.is_lasting,
            with_network=not fault.errno,
        )
        ended = job.run(fork_server, at_call=at)
        met = bool(ended.at)
        name = f"{name} ({ended.at})"
        if fault.errno:
            assert ended.code in ENDS, str(ended)
            assert "Traceback" not in ended.said, str(ended)
            assert ended.code == 0 or ended.said, str(ended)
            counts["ended by itself, and said why"] += ended.code != 0
            counts["did its work all the same"] += ended.code == 0
        else:
            assert ended.was_killed or (ended.code == 0 and not met), str(ended)
        seen = job.see_through(fork_server)
        counts["creates held, and resolved by a person"] += seen.held
        counts["of these the provider had"] += seen.adopted
    if not found:
        job.remove()
    return _Tried(Trial(name=name, failure="; ".join(found), counts=counts), met)
