"""The heavy measurements of docs/guarantees.md, one after the other: what each printed last, and whether it failed.

    python -m benchmarks.torture                  all of them, some 30 minutes on two cores
    python -m benchmarks.torture --only T5        one; several: --only T5 --only T12
    python -m benchmarks.torture --list           the commands

A measurement fails by its own exit code. Figures are printed beside their targets, for people to compare.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
FIRST_SEEDS: Final = 1_000_000_000  # the first of the fresh seeds is below this
LINES_SHOWN: Final = 8
PYTEST: Final = "pytest -q -p no:cacheprovider -n 2 --dist worksteal"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measurement; `{seed}` in its command is a fresh number."""

    id: str
    what: str
    target: str
    command: str


MEASUREMENTS: Final = (
    Measurement(
        "T1",
        "seeded simulation: crashes, pauses, faults, power loss",
        "no seed fails",
        "python -m tests.simulation run --seeds 60 --first {seed}",
    ),
    Measurement(
        "T2",
        "every crash and every pair of crashes of two workers on one chunk",
        "no schedule fails",
        "python -m tests.simulation exhaust --class a1 --class b1 --points 22",
    ),
    Measurement(
        "T3",
        "broken protocols in the simulation",
        "each is caught within 500 seeds",
        "python -m tests.simulation mutants --seeds 500",
    ),
    Measurement(
        "T4",
        "kill -9 of a real process at points of its work",
        "no trial fails",
        "python -m tests.kills points --trials 100 --seed {seed}",
    ),
    Measurement(
        "T5",
        "kill -9, EIO and ENOSPC at the n-th system call",
        "no trial fails",
        "python -m tests.kills syscalls --every 2 --errors-every 20",
    ),
    Measurement(
        "T6", "a fleet that is killed, frozen and cut off", "every job exact", "python -m benchmarks.chaos --runs 1"
    ),
    Measurement("T8", "every endpoint under every fault of a provider", "no cell fails", f"{PYTEST} tests/matrix"),
    Measurement(
        "T9",
        "300,000 mutated result files",
        "no exception, no wrong row",
        "python -m tests.fuzz --files 300000 --seed {seed} --processes 2",
    ),
    Measurement(
        "T10",
        "ledger and steps against a model, by Hypothesis",
        "no promise breaks",
        f"STATEFUL_EXAMPLES=300 STATEFUL_RULES=50 {PYTEST} -o timeout=0 tests/fuzz/test_machine.py",
    ),
    Measurement(
        "T11",
        "a full disk and a power loss while the output is made",
        "no trial fails",
        "python -m tests.kills disk --every 20 --sizes 20",
    ),
    Measurement(
        "T12",
        "readers while finish runs and is killed",
        "0 partial, 0 wrong",
        "python -m tests.kills readers --seed {seed}",
    ),
    Measurement(
        "T13",
        "a month of virtual time with 1,000 batches in flight",
        "0 wrong, 0 paid twice, as many objects at the end as at the beginning",
        "python -m benchmarks.load soak --days 30 --in-flight 1000",
    ),
    Measurement(
        "T14",
        "1,000,000 chunks in the ledger",
        "entered in 30 s, due p99 5 ms, 500 handed out a second, none twice",
        "python -m benchmarks.load ledger --chunks 1000000",
    ),
    Measurement(
        "T15",
        "1,500 batches in flight for a virtual day, 12 calls a minute",
        "at most 5 % of calls refused, stalest 2 intervals, 500 MB",
        "python -m benchmarks.load in-flight --batches 1500",
    ),
    Measurement(
        "T16",
        "10,000,000 rows collected and finished",
        "0 wrong, peak flat and at most 1 GiB, 50,000 rows finished a core second",
        "python -m benchmarks.load rows --rows 10000000",
    ),
    Measurement(
        "T17",
        "recovery after everything was killed",
        "first step within 5 s, 1,000 creates settled within 60 s",
        "python -m tests.kills recovery",
    ),
    Measurement(
        "T22",
        "determinism of the simulation",
        "no seed differs from itself",
        "python -m tests.simulation determinism --seeds 100 --first {seed}",
    ),
    Measurement(
        "B1",
        "lost creates on the wire, in OpenAI's dialect",
        "100 of 100 heal, 0 paid twice",
        "python -m benchmarks.heal",
    ),
)


def run(one: Measurement, seed: int) -> bool:
    """Run a measurement, print what it said last, and return whether it ended with 0."""
    words, variables = shlex.split(one.command.format(seed=seed)), {"CI": "true"}
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    program = [sys.executable] if words[0] == "python" else [sys.executable, "-m", words[0]]
    print(f"{one.id}  {one.what}\n    {one.command.format(seed=seed)}", flush=True)
    began = time.monotonic()
    done = subprocess.run(
        [*program, *words[1:]],
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    for line in done.stdout.strip().splitlines()[-LINES_SHOWN:]:
        print(f"    {line}")
    ending = "ok" if done.returncode == 0 else f"FAILED, exit code {done.returncode}"
    print(f"    {ending} after {time.monotonic() - began:.0f} s; target: {one.target}\n", flush=True)
    return done.returncode == 0


def main(words: Sequence[str] | None = None) -> int:
    """Run what is asked for; return 1 where something failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.torture", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ids = [one.id for one in MEASUREMENTS]
    parser.add_argument("--only", action="append", default=[], choices=ids, help="this one; may be given again")
    parser.add_argument("--list", action="store_true", help="print the commands, and run nothing")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(FIRST_SEEDS), help="default: a fresh one")
    options = parser.parse_args(words)
    chosen = [one for one in MEASUREMENTS if not options.only or one.id in options.only]
    if options.list:
        for one in chosen:
            print(f"{one.id:<4} {one.what}\n       {one.command}")
        return 0
    failed = [one.id for one in chosen if not run(one, options.seed)]
    print(f"{len(chosen) - len(failed)} of {len(chosen)} without a failure" + (f"; failed: {failed}" if failed else ""))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
