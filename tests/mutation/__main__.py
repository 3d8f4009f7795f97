"""Break production code in one place at a time and say what no test has noticed.

    python -m tests.mutation run                                   every mutant of the domain and of the batches' steps
    python -m tests.mutation run --module orchestrator/domain/money.py
    python -m tests.mutation run --sample 60 --seed 7 --json       some of them, chosen by the seed
    python -m tests.mutation list --module orchestrator/domain/money.py

Mutants that change nothing that anybody can see stand in equivalent.toml, each with a reason, and are passed over.
It ends with 1 where fewer than --at-least percent were caught, or where the table is out of date.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.mutation import equivalents
from tests.mutation.operators import Mutant, mutants
from tests.mutation.plan import ROOT, asked, modules

AT_LEAST = 95.0


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("run", "list"))
    parser.add_argument("--module", action="append", choices=modules(), default=[])
    parser.add_argument("--sample", type=int, help="try so many only, chosen by the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--bound", type=float, default=120.0, help="seconds that one run of tests may take")
    parser.add_argument("--at-least", type=float, default=AT_LEAST, help="percent that must be caught")
    parser.add_argument("--own", action="store_true", help="ask only the tests that bear the module's name")
    parser.add_argument("--verbose", action="store_true", help="say of each mutant which tests have caught it")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    everything = [mutant for path in modules() for mutant in mutants(path, (ROOT / path).read_text(encoding="utf-8"))]
    chosen = [mutant for mutant in everything if not options.module or mutant.path in options.module]
    if options.command == "list":
        for mutant in chosen:
            _say(f"{mutant.line:4} {mutant.name}")
        return 0
    return _run(chosen, everything, options)


def _run(chosen: list[Mutant], everything: list[Mutant], options: argparse.Namespace) -> int:
    from tests.mutation import running  # it must be the first to import what tests import

    reasons = equivalents.read()
    stale = sorted(reasons.keys() - {mutant.name for mutant in everything})
    for name in stale:
        _say(f"in the table of equivalent mutants, but not in the code: {name}", sys.stderr)
    meant = [mutant for mutant in chosen if mutant.name not in reasons]
    if options.sample is not None and options.sample < len(meant):
        meant = random.Random(options.seed).sample(meant, options.sample)
    running.prepare()
    sound = sorted({asked(mutant.path, own=options.own)[-1] for mutant in meant})  # the last has all of them
    for tests in sound:
        if os.waitstatus_to_exitcode(os.waitpid(running.fork(None, tests), 0)[1]):
            _say(f"these tests fail as it is: {' '.join(tests)}", sys.stderr)
            return 1
    tried, caught = Counter[str](), Counter[str]()
    plan = [(mutant, asked(mutant.path, own=options.own)) for mutant in meant]
    for one in running.try_all(plan, processes=options.processes, bound_s=options.bound):
        tried[one.mutant.path] += 1
        caught[one.mutant.path] += one.caught
        if options.verbose:
            _say(f"{sum(tried.values())}/{len(meant)} {one.how or 'survived'}: {one.mutant.name}", sys.stderr)
        if not one.caught:
            _survived(one.mutant, sys.stderr)
    for path in sorted(tried):
        _tell(options, {"module": path, "tried": tried[path], "caught": caught[path]})
    total, killed = sum(tried.values()), sum(caught.values())
    percent = round(100 * killed / total, 1) if total else 0.0
    passed_over = sum(mutant.name in reasons for mutant in chosen)
    figures = {"mutants": total, "caught": killed, "percent": percent, "equivalent": passed_over, "stale": len(stale)}
    _tell(options, figures)
    return 0 if total and percent >= options.at_least and not stale else 1


def _survived(mutant: Mutant, stream: Any) -> None:
    before = (ROOT / mutant.path).read_text(encoding="utf-8").splitlines()
    lines: Sequence[str] = list(difflib.unified_diff(before, mutant.source.splitlines(), lineterm="", n=0))[2:]
    _say("\n".join([f"survived: {mutant.name}", *lines]), stream)


def _tell(options: argparse.Namespace, figures: dict[str, Any]) -> None:
    _say(json.dumps(figures) if options.json else "  ".join(f"{name} {value}" for name, value in figures.items()))


def _say(words: str, stream: Any = None) -> None:
    print(words, file=stream or sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main())
