"""The simulation on the command line: many seeds, one seed again, and what else `make torture` asks of it.

    run          seeds of each class, on several processes        --seeds 20000 --class b1 --json
    replay       one seed, with its trace                         replay b1 17 [--faults late:3,jump:1] [--mutant NAME]
    shrink       a failing seed, down to the faults that matter   shrink b1 17
    exhaust      every crash and every pair of crashes            --class b1 [--whole] [--negative]
    mutants      every broken protocol, until it is caught        --seeds 500
    determinism  every seed twice                                 --seeds 200

It ends with 0 where everything held, with 1 where something did not.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from tests.fakes.classes import CLASSES
from tests.fakes.dice import fault_of
from tests.simulation import campaign, exhaust
from tests.simulation.mutants import MUTANTS
from tests.simulation.shrink import CAUGHT, shrink
from tests.simulation.variant import PRODUCTION, Variant
from tests.simulation.world import simulate

FAILURES_SHOWN = 10


def main() -> int:
    """Run what the command line says."""
    options = _parser().parse_args()
    work = {
        "run": _run,
        "replay": _replay,
        "shrink": _shrink,
        "exhaust": _exhaust,
        "mutants": _mutants,
        "determinism": _determinism,
    }[options.command]
    return work(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "exhaust", "mutants", "determinism"):
        command = commands.add_parser(name)
        command.add_argument("--class", dest="classes", action="append", choices=tuple(CLASSES), default=[])
        command.add_argument("--seeds", type=int, default={"mutants": 500, "determinism": 200}.get(name, 1_000))
        command.add_argument("--first", type=int, default=0, help="the first seed")
        command.add_argument("--processes", type=int, default=2)
        command.add_argument("--json", action="store_true")
        if name == "exhaust":
            command.add_argument("--points", type=int, default=exhaust.POINTS_MAX)
            command.add_argument(
                "--whole", action="store_true", help="single losses of power, from the plan to the seal"
            )
            command.add_argument("--negative", action="store_true", help="a protocol that lists at once: it must fail")
    for name in ("replay", "shrink"):
        command = commands.add_parser(name)
        command.add_argument("provider", choices=tuple(CLASSES))
        command.add_argument("seed", type=int)
        command.add_argument("--mutant", default="", help="the broken protocol under which it fails")
        if name == "replay":
            command.add_argument("--faults", help="these faults and no others, as `shrink` prints them")
    return parser


def _run(options: argparse.Namespace) -> int:
    failed = 0
    for figures in campaign.campaign(
        campaign.classes_of(options.classes), options.first, options.seeds, processes=options.processes
    ):
        failed += len(figures.failed)
        _tell(
            options, figures.told() | {"failed": len(figures.failed), "first_failed": figures.failed[:FAILURES_SHOWN]}
        )
        for seed, _words in figures.failed[:1]:
            _say(f"shrink it: python -m tests.simulation shrink {figures.provider} {seed}", sys.stderr)
    return 1 if failed else 0


def _replay(options: argparse.Namespace) -> int:
    only = None if options.faults is None else [fault_of(text) for text in options.faults.split(",") if text]
    try:
        report = simulate(options.seed, options.provider, variant=_variant(options), only=only, keep_trace=True)
    except CAUGHT as error:
        _say(f"{type(error).__name__}: {error}")
        return 1
    _say("\n".join(report.trace or ()))
    _say(f"digest {report.digest}, {report.permits} turns, {report.crashes} crashes, {report.batches} batches")
    return 0


def _shrink(options: argparse.Namespace) -> int:
    found = shrink(options.seed, options.provider, variant=_variant(options))
    if found is None:
        _say("nothing fails")
        return 0
    _say(f"{found.words}\n{len(found.faults)} of {found.was} faults matter ({found.runs} runs)")
    _say(found.command + (f" --mutant '{options.mutant}'" if options.mutant else ""))
    return 1


def _exhaust(options: argparse.Namespace) -> int:
    failed = 0
    for provider in campaign.classes_of(options.classes):
        tally, began_s = exhaust.Tally(), time.monotonic()
        given = list[exhaust.Block]()
        for outcome in exhaust.OUTCOMES:
            points = exhaust.points_of(provider, outcome) if options.whole else options.points
            crashes = list(exhaust.schedules(points, pairs=not options.whole))
            blocks = (crashes[at : at + 100] for at in range(0, len(crashes), 100))
            given += [(provider, outcome, block, options.whole, options.negative) for block in blocks]
        for some in campaign.spread(exhaust.run_block, given, options.processes):
            tally.add(some)
        _tell(options, {"provider": provider} | tally.told() | {"seconds": round(time.monotonic() - began_s, 1)})
        failed += not tally.failed if options.negative else len(tally.failed)
    return 1 if failed else 0


def _mutants(options: argparse.Namespace) -> int:
    survived = 0
    for provider, name, seed in campaign.kill_mutants(options.seeds, processes=options.processes):
        survived += seed is None
        _tell(options, {"provider": provider, "mutant": name, "first_bad_seed": seed})
    return 1 if survived else 0


def _determinism(options: argparse.Namespace) -> int:
    unlike = 0
    classes = campaign.classes_of(options.classes)
    for provider, seeds in campaign.determinism(classes, options.seeds // len(classes), processes=options.processes):
        unlike += len(seeds)
        if seeds:
            _say(f"{provider}: other traces the second time: {seeds}", sys.stderr)
    _tell(options, {"seeds": options.seeds // len(classes) * len(classes), "unlike_themselves": unlike})
    return 1 if unlike else 0


def _variant(options: argparse.Namespace) -> Variant:
    named = {mutant.variant.name: mutant.variant for mutant in MUTANTS}
    return named[options.mutant] if options.mutant else PRODUCTION


def _tell(options: argparse.Namespace, figures: dict[str, Any]) -> None:
    _say(json.dumps(figures) if options.json else "  ".join(f"{name} {value}" for name, value in figures.items()))


def _say(words: str, stream: Any = None) -> None:
    print(words, file=stream or sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main())
