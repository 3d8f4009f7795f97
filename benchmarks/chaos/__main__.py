"""The command line of the chaos run: seeds in, a line per run and a table out, exit code 1 if any run failed."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.chaos.plan import DATABASE, FULL, Kind, draw_plan
from benchmarks.chaos.run import Outcome, Size, run
from benchmarks.chaos.stage import BATCH_S


def main() -> int:
    """Run the seeds that are asked for; return the exit code."""
    options = _parser().parse_args()
    seeds = [options.seed] if options.seed is not None else range(1, options.runs + 1)
    troubles = dict(FULL)
    if options.ledger == "postgres":
        troubles[Kind.KILL_DATABASE] = DATABASE
    outcomes = []
    for seed in seeds:
        folder = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
        size = Size(batches=options.batches)
        outcome = run(seed, draw_plan(seed, troubles), folder, ledger=options.ledger, size=size, batch_s=BATCH_S)
        outcomes.append(outcome)
        print(_line(outcome), flush=True)
        if outcome.failure:
            again = f"python -m benchmarks.chaos --seed {seed} --ledger {options.ledger} --batches {options.batches}"
            print(f"  FAILED: {outcome.failure}\n  again: {again}\n  logs: {folder / 'logs'}", flush=True)
        elif not options.keep:
            shutil.rmtree(folder)
    _print_table(outcomes)
    return int(any(outcome.failure for outcome in outcomes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description="A job under kills and freezes.")
    parser.add_argument("--runs", type=int, default=20, help="how many seeds, from 1 (default: 20)")
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument("--ledger", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--keep", action="store_true", help="keep the folders of runs that went well, too")
    return parser


def _line(outcome: Outcome) -> str:
    events = ", ".join(f"{kind} {count}" for kind, count in sorted(outcome.events.items()))
    return (
        f"seed {outcome.seed}: {outcome.seconds:.0f} s; {events}; creates frozen {outcome.frozen_creates}; "
        f"held {outcome.held}, of these the provider had {outcome.adopted}; chunks {outcome.chunks}, "
        f"creates {outcome.creates}, paid twice {outcome.paid_twice}"
    )


def _print_table(outcomes: list[Outcome]) -> None:
    total: Counter[str] = sum((outcome.events for outcome in outcomes), Counter())
    seconds = sorted(outcome.seconds for outcome in outcomes)
    rows: dict[str, object] = {
        "runs": len(outcomes),
        "exact": sum(not outcome.failure for outcome in outcomes),
        "seconds, least / median / most": " / ".join(f"{seconds[place]:.0f}" for place in (0, len(seconds) // 2, -1)),
        **{str(kind): total[kind] for kind in Kind if total[kind]},
        "creates frozen on the wire": sum(outcome.frozen_creates for outcome in outcomes),
        "held, and resolved by a person": sum(outcome.held for outcome in outcomes),
        "chunks": sum(outcome.chunks for outcome in outcomes),
        "provider's creates": sum(outcome.creates for outcome in outcomes),
        "rows paid twice": sum(outcome.paid_twice for outcome in outcomes),
    }
    print()
    for name, value in rows.items():
        print(f"{name:<34}{value!s:>16}")


if __name__ == "__main__":
    sys.exit(main())
