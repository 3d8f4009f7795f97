"""T13 in real time: what a leak looks like. Memory, open files and threads of a fleet that has one job after the other.

Rule 1: what is measured are the fleet's own processes; gateway, broker and whoever submits are beside them.
Rule 2: memory goes up and down with the chunks at hand, so of each twenty seconds the least counts; and of all the
        time the second half, when everything that is kept on purpose has been seen once.
Rule 3: each job ends exact and audited, or there are no figures.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import psutil

import orchestrator
from benchmarks.fleet import Fleet, a_fleet, workers_alive
from orchestrator import JobHandle
from tests.acceptance.datasets import MODEL, check_audit, check_counts, check_exact, marked, read_output

ROWS: Final = 2_000
CHUNK: Final = 50
AT_A_TIME: Final = 2
IN_FLIGHT: Final = 6  # of the account: enough to leak, and it leaves room beside it
PROCESSES: Final = 3  # of a worker
LOOK_S: Final = 1.0
WINDOW_S: Final = 20.0
FAULTS: Final = {"create": {"refuse": {"429": 0.05}}, "rows": {"fail": {"500": 0.05}, "times": 1}}
MIB: Final = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The fleet's processes at one moment."""

    at_s: float
    rss_mb: float
    files: int
    threads: int


def soak(minutes: int) -> dict[str, Any]:
    """Keep a fleet busy for so long, and return what it held."""
    with a_fleet("sqlite", "--duration-s", "1") as fleet:
        fleet.gateway.set_faults(FAULTS)
        for role in ("worker", "beat"):
            fleet.start(role)
        _until_joined(fleet)
        began, samples, done = time.monotonic(), list[Sample](), 0
        running = [_submit(fleet, number) for number in range(AT_A_TIME)]
        while time.monotonic() - began < minutes * 60:
            samples.append(_sample(fleet, time.monotonic() - began))
            time.sleep(LOOK_S)
            for job in [job for job in running if job.status().state == "finished"]:
                _check(job)
                running.remove(job)
                done += 1
                running.append(_submit(fleet, done + AT_A_TIME - 1))
        bill = fleet.gateway.bill()
    return {
        "minutes": minutes,
        "jobs": done,
        "batches": bill["creates"],
        "paid_twice": bill["paid_twice"] - bill["excused"],
        **figures(samples),
    }


def figures(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the slope of the memory over the second half, and what else was open in its first and last third."""
    half = [sample for sample in samples if sample.at_s >= samples[-1].at_s / 2]
    third = max(1, len(half) // 3)
    first, last = half[:third], half[-third:]
    return {
        "rss_mb": round(statistics.median(sample.rss_mb for sample in last)),
        "rss_mb_per_minute": round(_slope(half) * 60, 2),
        **{
            f"{what}_{when}": statistics.median_low(getattr(sample, what) for sample in some)
            for what in ("files", "threads")
            for when, some in (("first", first), ("last", last))
        },
    }


def told(figures: dict[str, Any]) -> None:
    """Print the figures for people."""
    sys.stdout.write(
        f"{figures['minutes']} minutes, {figures['jobs']} jobs, {figures['batches']:,} batches, "
        f"{figures['paid_twice']} rows paid twice\n"
        f"memory of all processes {figures['rss_mb']} MB, {figures['rss_mb_per_minute']:+} MB a minute\n"
        f"open files {figures['files_first']} → {figures['files_last']}, "
        f"threads {figures['threads_first']} → {figures['threads_last']}\n"
    )


def _until_joined(fleet: Fleet) -> None:
    while workers_alive(fleet) < PROCESSES:
        time.sleep(LOOK_S)


def _submit(fleet: Fleet, number: int) -> JobHandle:
    return orchestrator.submit(
        marked(ROWS),
        prompt=f"{{text}} for job {number}",
        model=MODEL,
        work=fleet.work,
        provider_options={"base_url": fleet.gateway.url, "poll_s_min": 0.5, "poll_s_max": 1.0},
        policy={"chunk_requests_max": CHUNK, "retry_gather_s": 0.2, "batches_in_flight_max": IN_FLIGHT},
    )


def _check(job: JobHandle) -> None:
    result = job.results()
    check_exact(read_output(result.path), marked(ROWS))
    check_counts(result.status.as_dict())
    check_audit(job.job_id, job.work)


def _sample(fleet: Fleet, at_s: float) -> Sample:
    rss = files = threads = 0
    for process in fleet.processes:
        for member in process.family():
            with contextlib.suppress(psutil.NoSuchProcess), member.oneshot():
                rss += member.memory_info().rss
                files += member.num_fds()
                threads += member.num_threads()
    return Sample(at_s=at_s, rss_mb=rss / MIB, files=files, threads=threads)


def _slope(samples: Sequence[Sample]) -> float:
    """Return how the memory grows, MB a second, along the least of each window."""
    windows: dict[int, Sample] = {}
    for sample in samples:
        number = int(sample.at_s / WINDOW_S)
        if number not in windows or sample.rss_mb < windows[number].rss_mb:
            windows[number] = sample
    least = list(windows.values())
    if len(least) < 2:
        return 0.0
    return statistics.linear_regression([one.at_s for one in least], [one.rss_mb for one in least]).slope
