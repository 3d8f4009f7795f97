"""Two readers of the output's place, time and again, while its writer is killed and started again (T12).

Rule: a kill falls before a system call on the output, drawn by seed; so each part, the manifest and `_SUCCESS` are met
in every state that they go through. The job has all its answers: each round is a copy of it that has no output yet.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tests.acceptance.datasets import check_exact, marked, read_output
from tests.gateway_process import ROOT
from tests.kills.fork_request import AtCall
from tests.kills.jobs import SmallJob, Workspace
from tests.kills.launcher import ForkServer, ForkServerPool
from tests.kills.outcomes import Campaign, Trial, judged

ROWS: Final = 240
SHARD_ROWS: Final = 40
CALLS_MAX: Final = 12  # to live for: about two parts
READERS: Final = 2
END_S: Final = 60.0  # for a reader to notice that it is over
POLICY: Final = {"chunk_requests_max": SHARD_ROWS}


def readers(workspace: Workspace, pool: ForkServerPool, *, kills: int, seed: int = 1) -> Campaign:
    """Kill the writer so many times, while others read."""
    campaign = Campaign(name="readers while the output is written")
    place, stop, chance = workspace.folder / "read", workspace.folder / "read.stop", random.Random(seed)
    place.mkdir()
    with campaign.timed(), _reading(place, stop) as reading:
        collected = next(pool.each(lambda fork_server, _: _all_but_output(workspace, fork_server), [None]))
        number = 0
        while campaign.counts["kills"] < kills and not campaign.failures:
            one = Round(place / f"round-{number}", kills - campaign.counts["kills"], chance.randrange(1 << 30))
            campaign.add(next(pool.each(lambda fork_server, one: one.play(collected, fork_server), [one])))
            number += 1
        stop.touch()
        for name, count in _seen(reading, campaign).items():
            campaign.counts[f"seen: {name.replace('_', ' ')}"] += count
    return campaign


@dataclass(frozen=True, slots=True)
class Round:
    """One writing of the output, in a folder of its own, by as many processes as it takes."""

    folder: Path
    kills_max: int
    seed: int

    def play(self, collected: SmallJob, fork_server: ForkServer) -> Trial:
        """Kill the writer again and again until the output is whole."""
        chance, counts = random.Random(self.seed), Counter[str]()
        found: list[str] = []
        with judged(found):
            shutil.copytree(collected.work, self.folder / "work")
            job = replace(collected, disk=self.folder)
            [output] = [path.parent / "output" for path in job.work.glob("*/job.json")]
            output.mkdir(exist_ok=True)
            while True:
                is_last = counts["kills"] >= self.kills_max
                number = 0 if is_last else chance.randint(1, CALLS_MAX)
                ended = job.run(fork_server, at_call=AtCall(root=str(output), number=number))
                if not ended.was_killed:
                    break
                counts["kills"] += 1
            assert ended.code == 0, str(ended)
            counts["outputs written"] += 1
            check_exact(read_output(output), marked(ROWS))
        return Trial(name=f"{self.folder.name}, seed {self.seed}", failure="; ".join(found), counts=counts)


def _all_but_output(workspace: Workspace, fork_server: ForkServer) -> SmallJob:
    """Run a job to its end, and have it forget that it wrote its output."""
    job = workspace.job("collected", rows=ROWS, shard_rows=SHARD_ROWS, policy=POLICY)
    ended = job.run(fork_server)
    assert ended.code == 0, str(ended)
    [output] = job.work.glob("*/output")
    for path in (*output.glob("part-*"), output.with_name(f"{output.name}.manifest.json"), output / "_SUCCESS"):
        path.unlink()
    with closing(sqlite3.connect(job.work / "ledger.db")) as ledger, ledger:
        ledger.execute("UPDATE shards SET state = 'planned', finished_slice_count = 0, due_at = 0")
        ledger.execute("UPDATE jobs SET state = 'running', due = 'review', due_at = 0, ended_at = NULL")
    return job


@contextmanager
def _reading(place: Path, stop: Path) -> Iterator[list[subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "tests.kills.output", str(place), str(SHARD_ROWS), str(ROWS), str(stop)]
    reading = [
        subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
        )
        for _ in range(READERS)
    ]
    try:
        yield reading
    finally:
        for process in reading:
            process.kill()
            process.communicate()


def _seen(reading: Sequence[subprocess.Popen[str]], campaign: Campaign) -> Counter[str]:
    total: Counter[str] = Counter()
    for process in reading:
        out, _ = process.communicate(timeout=END_S)
        if process.returncode:
            campaign.failures.append(f"a reader ended with {process.returncode}")
            continue
        found: dict[str, Any] = json.loads(out)
        said = found.pop("said")
        if said:
            campaign.failures.append(said)
        total += Counter(found)
        total.update(partial=0, wrong=0)
    return total
