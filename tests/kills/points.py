"""kill -9 at lines of the program, over the whole life of a small job (T4).

Rule 1: the lines are those that a whole run was seen to reach, spread evenly over the modules; which time of a line is
        drawn. Every third trial kills the next run as well, at a line that a run after a kill reaches.
Rule 2: then the job is run again, plainly. See `jobs` for what must hold.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.kills.fork_request import AtLine
from tests.kills.jobs import SmallJob, Workspace
from tests.kills.launcher import ForkServer, ForkServerPool
from tests.kills.outcomes import Campaign, Trial, judged

TWICE_EVERY: Final = 3
SENT: Final = "orchestrator/batches/submit.py"  # a run that died in there leaves a create in doubt


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where a trial kills."""

    number: int
    kills: Sequence[AtLine]

    @property
    def name(self) -> str:
        """The trial, so that it can be done again."""
        return f"point {self.number} " + " ".join(f"--at {at.line}:{at.time}" for at in self.kills)


def points(workspace: Workspace, pool: ForkServerPool, *, trials: int, seed: int = 1) -> Campaign:
    """Kill at so many lines."""
    campaign = Campaign(name="points")
    with campaign.timed():
        first, later = next(pool.each(_survey, [workspace]))
        campaign.figures["lines of the program that a run reaches"] = len(first)
        plans = draw(first, later, trials=trials, seed=seed)
        for trial in pool.each(lambda fork_server, plan: attempt(workspace, fork_server, plan), plans):
            campaign.add(trial)
        campaign.figures["rows paid twice"] = workspace.check_bill()["paid_twice"]
    return campaign


def again(workspace: Workspace, pool: ForkServerPool, kills: Sequence[str]) -> Campaign:
    """Do one trial again: its kills as its name has them, file:line:time."""
    places = [place.rpartition(":") for place in kills]
    plan = Plan(number=0, kills=[AtLine(line=line, time=int(time)) for line, _, time in places])
    campaign = Campaign(name="points, once more")
    with campaign.timed():
        campaign.add(next(pool.each(lambda fork_server, plan: attempt(workspace, fork_server, plan), [plan])))
    return campaign


def draw(first: Mapping[str, int], later: Mapping[str, int], *, trials: int, seed: int) -> list[Plan]:
    """Choose lines of a first run, evenly, and of a later one for every third trial."""
    chance = random.Random(seed)
    places = sorted(later)
    chosen = []
    for number, line in enumerate(_spread(sorted(first), trials, chance)):
        kills = [AtLine(line=line, time=chance.randint(1, first[line]))]
        if number % TWICE_EVERY == 0:
            second = chance.choice(places)
            kills.append(AtLine(line=second, time=chance.randint(1, later[second])))
        chosen.append(Plan(number=number, kills=kills))
    return chosen


def attempt(workspace: Workspace, fork_server: ForkServer, plan: Plan) -> Trial:
    """Kill a job as planned, and see it through."""
    job = workspace.job(f"point-{plan.number}")
    counts: Counter[str] = Counter()
    found: list[str] = []
    with judged(found):
        for at in plan.kills:
            ended = job.run(fork_server, at_line=at)
            assert ended.was_killed or ended.code in (0, 3), str(ended)
            counts["kills"] += ended.was_killed
        seen = job.see_through(fork_server)
        counts["creates held, and resolved by a person"] += seen.held
        counts["of these the provider had"] += seen.adopted
    if not found:
        job.remove()
    return Trial(name=plan.name, failure="; ".join(found), counts=counts)


def _survey(fork_server: ForkServer, workspace: Workspace) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Return the lines that a first run reaches, and those of a run after one that died between POST and record."""
    whole = workspace.job("survey")
    first = whole.run(fork_server, at_line=AtLine())
    assert first.code == 0 and first.lines, str(first)
    broken = workspace.job("survey-broken")
    line = _record_line(first.lines)
    assert broken.run(fork_server, at_line=AtLine(line=line)).was_killed, line
    later = broken.run(fork_server, at_line=AtLine())
    assert later.code in (0, 3), str(later)
    broken.see_through(fork_server)
    return first.lines, later.lines


def _record_line(lines: Mapping[str, int]) -> str:
    """Return the first line after the POST: where the answer is about to be kept."""
    source = (SmallJob.root() / SENT).read_text().splitlines()
    [number] = [place for place, text in enumerate(source, 1) if "create_journal.write_journal(" in text]
    line = f"{SENT}:{number}"
    assert line in lines, line
    return line


def _spread(lines: Sequence[str], count: int, chance: random.Random) -> list[str]:
    """Return `count` of these, evenly spaced from a drawn place on; all of them once before any comes twice."""
    start = chance.random()
    return [lines[int((place + start) * len(lines) / count) % len(lines)] for place in range(count)]
