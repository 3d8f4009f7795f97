"""A disk that is full, and one that loses its power while the output is written (T11).

Rule 1: no part of a dataset is ever seen under the output's final name, and the program says which place is full.
Rule 2: once there is space, or power, again, the job is run again, plainly, and ends exact, with nothing paid twice.

A full disk is a small tmpfs where one can be mounted; elsewhere the system calls that would need space fail, from the
n-th on. A loss of power is a kill, after which the disk keeps what was synced, and of the rest what a seed says.
"""

from __future__ import annotations

import errno
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.kills.fork_request import AtCall, Ended
from tests.kills.jobs import UNRESOLVED, SmallJob, Workspace
from tests.kills.launcher import ForkServer, ForkServerPool
from tests.kills.outcomes import Campaign, Trial, judged
from tests.kills.output import Sight, look

ROWS: Final = 12
SHARD_ROWS: Final = 4
STEP: Final = 4  # how many calls are tried before it is asked whether the run has come to its end
ROOMY_KB: Final = 64 << 10
SMALLEST_KB: Final = 16
ENDS: Final = frozenset({0, 1, 2, UNRESOLVED})
SEEDS: Final = (0, 1, 2)  # 0: all that was not synced is lost


@dataclass(frozen=True, slots=True)
class _Loss:
    number: int
    seed: int
    folder: str


def full(workspace: Workspace, pool: ForkServerPool, *, sizes: int) -> Campaign:
    """Run a job on so many disks, each too small or only just not."""
    campaign = Campaign(name="full disks")
    with campaign.timed():
        is_mounted = can_mount(workspace.folder / "probe")
        campaign.figures["disks"] = "tmpfs" if is_mounted else "ENOSPC from a system call on"
        need = next(pool.each(lambda fork_server, _: _need(workspace, fork_server, is_mounted=is_mounted), [None]))
        steps = [1 + (need - 1) * place // max(1, sizes - 1) for place in range(sizes)]
        attempt = _on_small_disk if is_mounted else _without_space
        for trial in pool.each(lambda fork_server, size: attempt(workspace, fork_server, size), steps):
            campaign.add(trial)
        campaign.figures["rows paid twice"] = workspace.check_bill()["paid_twice"]
    return campaign


def power(workspace: Workspace, pool: ForkServerPool, *, every: int = 1, is_whole: bool = False) -> Campaign:
    """Lose the power before each `every`-th system call from the first on the output on; or of the whole run."""
    campaign = Campaign(name="power lost, the whole run" if is_whole else "power lost while the output is written")
    with campaign.timed():
        number, came_to_the_end = 1, False
        while not came_to_the_end:
            tasks = [
                _Loss(number + place * every, seed, "" if is_whole else "collected")
                for place in range(STEP)
                for seed in SEEDS
            ]
            for trial, met in pool.each(lambda fork_server, loss: _lose_power(workspace, fork_server, loss), tasks):
                came_to_the_end |= not met
                if met or trial.failure:
                    campaign.add(trial)
            number += STEP * every
        campaign.figures["rows paid twice"] = workspace.check_bill()["paid_twice"]
    return campaign


def check_visible(job: SmallJob) -> None:
    """Check that all that can be seen of the output is whole."""
    sight = Sight()
    for folder in job.work.glob("*/output"):
        look(folder, shard_rows=SHARD_ROWS, rows=ROWS, sight=sight)
    assert (sight.partial, sight.wrong) == (0, 0), sight.said


def _lose_power(workspace: Workspace, fork_server: ForkServer, loss: _Loss) -> tuple[Trial, bool]:
    name = f"power lost before call {loss.number}, seed {loss.seed}"
    job = workspace.job(f"power{loss.folder}-{loss.number}-{loss.seed}", rows=ROWS, shard_rows=SHARD_ROWS)
    at = AtCall(root=str(job.disk), number=loss.number, power_seed=loss.seed, folder=loss.folder)
    counts: Counter[str] = Counter()
    found: list[str] = []
    met = True
    with judged(found):
        ended = job.run(fork_server, at_call=at)
        met = bool(ended.at)
        name = f"{name} ({ended.at})"
        assert ended.was_killed or (ended.code == 0 and not met), str(ended)
        check_visible(job)
        seen = job.see_through(fork_server)
        counts["creates held, and resolved by a person"] += seen.held
        check_visible(job)
    if not found:
        job.remove()
    return Trial(name=name, failure="; ".join(found), counts=counts), met


def _on_small_disk(workspace: Workspace, fork_server: ForkServer, size_kb: int) -> Trial:
    job = workspace.job(f"full-{size_kb}", rows=ROWS, shard_rows=SHARD_ROWS)
    found: list[str] = []
    counts: Counter[str] = Counter()
    with judged(found), _mounted(job.disk, SMALLEST_KB + size_kb):
        counts += _ends_well(job, job.run(fork_server))
        _sized(job.disk, ROOMY_KB)
        job.see_through(fork_server)
        check_visible(job)
    return Trial(name=f"a disk of {SMALLEST_KB + size_kb} KiB", failure="; ".join(found), counts=counts)


def _without_space(workspace: Workspace, fork_server: ForkServer, number: int) -> Trial:
    job = workspace.job(f"full-from-{number}", rows=ROWS, shard_rows=SHARD_ROWS)
    found: list[str] = []
    counts: Counter[str] = Counter()
    with judged(found):
        at = AtCall(root=str(job.disk), number=number, errno=errno.ENOSPC, is_lasting=True)
        counts += _ends_well(job, job.run(fork_server, at_call=at))
        job.see_through(fork_server)
        check_visible(job)
    return Trial(name=f"no space from call {number} on", failure="; ".join(found), counts=counts)


def _ends_well(job: SmallJob, ended: Ended) -> Counter[str]:
    """Check how a run on a full disk ends: by itself, with a sentence that names the place, and nothing in pieces."""
    assert ended.code in ENDS, str(ended)
    assert "Traceback" not in ended.said, str(ended)
    check_visible(job)
    if ended.code == 0:
        return Counter({"had space enough": 1})
    assert str(job.work) in ended.said, f"it does not say where: {ended}"
    return Counter({"said what is full": 1})


def _need(workspace: Workspace, fork_server: ForkServer, *, is_mounted: bool) -> int:
    """Return how much a whole run takes: KiB, or system calls."""
    job = workspace.job("need", rows=ROWS, shard_rows=SHARD_ROWS)
    if not is_mounted:
        return job.run(fork_server, at_call=AtCall(root=str(job.disk))).calls
    with _mounted(job.disk, ROOMY_KB):
        assert job.run(fork_server).code == 0
        used = sum(path.stat().st_blocks for path in job.disk.rglob("*")) // 2
    # The ledger's log is gone at the end: a run needs about as much again.
    return used * 2


@contextmanager
def _mounted(folder: Path, size_kb: int) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_kb}k,mode=700", "kills", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _sized(folder: Path, size_kb: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size_kb}k", str(folder)], check=True)


def can_mount(folder: Path) -> bool:
    """Say whether a disk in memory can be mounted here."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", "size=64k", "kills", str(folder)]
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    subprocess.run(["umount", str(folder)], check=True)
    return True
