"""Lost creates in OpenAI's dialect: does a job heal by itself, and does anybody pay twice?

    python -m benchmarks.heal                     a hundred trials, seeds 1 to 100
    python -m benchmarks.heal --seed 17           one of them again

Each trial has a gateway, a work folder and a bill of its own. A seed draws what goes wrong with the first creates, how
far the list lags behind, and what else fails while the job looks for its batch. The job is run by the real command
line, in a process of its own; where it is killed, it is run once more, and that is all the help it gets. A trial has
passed when the command ends with 0, each row has its own answer, and the gateway's bill names no row twice.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.acceptance.command_line import CommandLine, command_line, kill, wait_until
from tests.acceptance.datasets import (
    check_audit,
    check_counts,
    check_exact,
    marked,
    read_output,
    write_dataset,
    write_job,
)
from tests.gateway_process import API_KEY, GatewayProcess, running_gateway

ROWS: Final = 60
CHUNK: Final = 20
CREATE_S: Final = 3.0  # how long the client waits for the answer to a create
LAG_S: Final = 2.0  # how long it is told that the list may lag; the gateway's list lags less
PROVIDER: Final = {"create_s_max": CREATE_S, "list_lag_s": LAG_S, "poll_s_min": 0.2, "poll_s_max": 0.5}
DEADLINE_S: Final = 240.0
ENDED: Final = frozenset({"completed", "failed", "expired", "cancelled"})
CREATED_THEN: Final = ("500", "502", "503", "504", "408", "409")
KINDS: Final = (
    "answered 500",  # or 502, 503, 504, 408, 409: and the batch is there
    "cut",
    "silence",
    "killed before the answer",
    "killed at any time",
    "late",  # cut at once; the batch comes later, unless the input file is gone by then
    "500, and nothing there",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is to go wrong."""

    seed: int
    kind: str
    plan: Mapping[str, Any]
    kill_after_s: float | None = None  # after the first create is at the gateway; None: not at all


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What it came to."""

    trial: Trial
    seconds: float = 0.0
    creates: int = 0
    paid_twice: int = 0
    states: list[str] = field(default_factory=list)  # of the batches, at the gateway
    failure: str = ""


def draw_trial(seed: int) -> Trial:
    """Draw a trial; the kinds take turns."""
    chance, kind = random.Random(seed), KINDS[seed % len(KINDS)]
    count = chance.choice((1, 1, 2, 3))
    create: dict[str, Any] = {}
    match kind:
        case "answered 500":
            create = {"accept_then": {chance.choice(CREATED_THEN): count}}
        case "cut":
            create = {"lost": count}
        case "silence" | "killed before the answer":
            create = {"hang": count, "hang_s": 60.0}
        case "late":
            create = {"late": count, "late_s": round(chance.uniform(0.2, 12.0), 1)}
        case "500, and nothing there":
            create = {"refuse": {"500": count}}
    kill_after_s = {"killed before the answer": 0.0, "killed at any time": chance.uniform(0.0, 1.5)}.get(kind)
    return Trial(seed=seed, kind=kind, plan={"create": create, **_troubles(chance)}, kill_after_s=kill_after_s)


def _troubles(chance: random.Random) -> dict[str, Any]:
    """Draw what else goes wrong while the batch is looked for."""
    listing: dict[str, Any] = {"lag_s": chance.choice((0.0, round(chance.uniform(0.1, 0.9 * LAG_S), 1)))}
    troubles: dict[str, Any] = {"list": listing}
    if chance.random() < 0.3:
        listing |= chance.choice(({"refuse": {"500": 1}}, {"refuse": {"429": 1}}, {"lost": 1}))
    if chance.random() < 0.3:
        troubles["delete"] = chance.choice(({"refuse": {"500": 1}}, {"accept_then": {"500": 1}}, {"lost": 1}))
    if chance.random() < 0.2:
        troubles["upload"] = chance.choice(({"refuse": {"503": 1}}, {"accept_then": {"500": 1}}, {"lost": 1}))
    return troubles


def play(trial: Trial, folder: Path) -> Outcome:
    """Run one trial; what went wrong stands in the outcome."""
    outcome = Outcome(trial=trial)
    began = time.monotonic()
    with running_gateway(folder / "gateway", "--duration-s", "1") as gateway:
        gateway.set_faults(trial.plan)
        cli = command_line(folder / "user", key=None, OPENAI_API_KEY=API_KEY)
        try:
            _run(trial, cli, gateway, folder)
            _await_stragglers(trial, gateway)
        except (AssertionError, RuntimeError) as error:
            outcome.failure = str(error) or "the output is not exact"
        bill = gateway.bill()
        outcome.creates, outcome.paid_twice = bill["creates"], bill["paid_twice"]
        outcome.states = sorted(batch["state"] for batch in gateway.batches())
        if outcome.paid_twice:
            outcome.failure = outcome.failure or f"{outcome.paid_twice} rows were paid twice"
    outcome.seconds = time.monotonic() - began
    return outcome


def _run(trial: Trial, cli: CommandLine, gateway: GatewayProcess, folder: Path) -> None:
    dataset = write_dataset(folder / "rows.parquet", ROWS)
    job = write_job(
        folder / "heal.toml",
        dataset,
        gateway.url,
        job={"provider": "openai"},
        request={"model": "gpt-6-luna"},
        provider=PROVIDER,
        policy={"canary_rows": 0, "chunk_requests_max": CHUNK, "retry_gather_s": 0.2},
    )
    if trial.kill_after_s is not None:
        _run_and_kill(trial.kill_after_s, cli, gateway, job)
    finished = cli.run("run", job, "--json", deadline_s=DEADLINE_S)
    assert finished.code == 0, f"exit code {finished.code}: {finished.said[-500:]}"
    report = json.loads(finished.out)
    check_exact(read_output(report["output"]), marked(ROWS))
    check_counts(report)
    check_audit(report["job"]["id"], cli.work)


def _await_stragglers(trial: Trial, gateway: GatewayProcess) -> None:
    """Wait until a late create must have come, and everything at the gateway has ended: only then is the bill whole."""
    came_at = time.monotonic() + trial.plan["create"].get("late_s", 0.0)
    wait_until(lambda: time.monotonic() > came_at, "the late creates")
    wait_until(lambda: {batch["state"] for batch in gateway.batches()} <= ENDED, "the end of every batch")


def _run_and_kill(after_s: float, cli: CommandLine, gateway: GatewayProcess, job: Path) -> None:
    process = cli.start("run", job)
    wait_until(lambda: bool(gateway.batches()) or process.poll() is not None, "a create at the gateway")
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=after_s)
    kill(process)


def main() -> int:
    """Run the trials that are asked for, and print a table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int, help="of the only trial to be run")
    parser.add_argument("--at-a-time", type=int, default=8)
    parser.add_argument("--json", action="store_true", help="the sums as one line of JSON instead of a table")
    options = parser.parse_args()
    seeds = [options.seed] if options.seed is not None else range(1, options.trials + 1)
    place = Path(tempfile.mkdtemp(prefix="heal-"))
    with ThreadPoolExecutor(options.at_a_time) as pool:
        trials = [draw_trial(seed) for seed in seeds]
        outcomes = list(pool.map(lambda trial: play(trial, place / str(trial.seed)), trials))
    failed = [outcome for outcome in outcomes if outcome.failure]
    for outcome in failed:
        again = f"python -m benchmarks.heal --seed {outcome.trial.seed}"
        print(f"FAILED {outcome.trial}: {outcome.failure}\n  batches: {outcome.states}\n  again: {again}")
    if options.json:
        print(json.dumps(_sums(outcomes)))
    else:
        _print_table(outcomes)
    if not failed:
        shutil.rmtree(place)
    return int(bool(failed))


def _sums(outcomes: list[Outcome]) -> dict[str, Any]:
    seconds = sorted(outcome.seconds for outcome in outcomes)
    return {
        "trials": len(outcomes),
        "healed": sum(not outcome.failure for outcome in outcomes),
        "paid_twice": sum(outcome.paid_twice for outcome in outcomes),
        "creates": sum(outcome.creates for outcome in outcomes),
        "failed_batches": sum(outcome.states.count("failed") for outcome in outcomes),
        "seconds_median": round(statistics.median(seconds), 1),
        "seconds_max": round(seconds[-1], 1),
    }


def _print_table(outcomes: list[Outcome]) -> None:
    print("| create | trials | healed by itself | rows paid twice | creates | of them failed | s, median | s, most |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind in (*KINDS, "all"):
        chosen = [outcome for outcome in outcomes if kind in (outcome.trial.kind, "all")]
        if chosen:
            print("| " + " | ".join(map(str, (kind, *_sums(chosen).values()))) + " |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
