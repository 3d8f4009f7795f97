"""Replay a seed and print its trace: `python -m tests.simulation SEED --provider b1`.

With `--to SEED` all seeds of a range are run, and only those that fail are told.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from orchestrator.domain.errors import OrchestratorError
from tests.simulation.world import simulate


def main() -> int:
    """Run what the command line says; return 1 where a seed has failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--provider", choices=("b1", "c"), required=True)
    parser.add_argument("--to", type=int, help="run all seeds from SEED up to this one, and only say which fail")
    options = parser.parse_args()
    if options.to is None:
        report = simulate(options.seed, options.provider, keep_trace=True)
        _say("\n".join(report.trace or ()))
        _say(f"digest {report.digest}, {report.turns} turns, {report.crashes} crashes, {report.batches} batches")
        return 0
    failed, started = 0, time.monotonic()
    for seed in range(options.seed, options.to):
        try:
            simulate(seed, options.provider)
        except (AssertionError, OrchestratorError) as error:
            failed += 1
            last = traceback.extract_tb(error.__traceback__)[-1]
            _say(f"seed {seed}: {type(error).__name__}: {error} ({last.name}:{last.lineno})")
    count = options.to - options.seed
    _say(f"{failed} of {count} seeds failed, {count / (time.monotonic() - started):.1f} seeds/s")
    return 1 if failed else 0


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")


if __name__ == "__main__":
    sys.exit(main())
